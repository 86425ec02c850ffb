#!/usr/bin/env node
import { Command } from 'commander';
import { addCheckpointsCommand } from './checkpoints-command.js';
import { addDaemonCommand } from './daemon-command.js';
import { addRunCommand } from './run-command.js';
import { addStateCommand } from './state-command.js';
import { strictUsage } from './usage.js';
import { VERSION } from './version.js';

// Millrace pins the SDK of its S3 store: what later versions will require is no news to whoever runs this one.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

/** The `millrace` command. */
const program = strictUsage(new Command('millrace'))
  .description('A stateful stream-and-batch engine: exactly once, past killed workers.')
  .version(VERSION, '--version', 'print the version')
  .helpOption('--help', 'print this help')
  .helpCommand(false);
addRunCommand(program);
addDaemonCommand(program);
addCheckpointsCommand(program);
addStateCommand(program);
await program.parseAsync();
