#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { EXIT_FAILURE, EXIT_INTERRUPTED, errorLine, exitCodeOf } from './exit.js';
import type { FlightsResult } from './flights-demo.js';
import { onInterrupt } from './interrupt.js';
import { wholeNumber } from './options.js';
import { addClusterOptions, type ClusterFlags } from './run-options.js';
import { strictUsage } from './usage.js';

/** `npm start`: the main job, a kill in the middle, and the proof of its output. */
interface StartFlags extends ClusterFlags {
  readonly rate: number;
  readonly rows: number;
  readonly kill: boolean;
}

const command = addClusterOptions(
  strictUsage(new Command('npm start --'))
    .description(
      'Runs the flights job on a daemon and worker processes, kills a worker half way, and proves the output.',
    )
    .option(
      '--rate <n>',
      'rows a second, an equal share for each source task; 0 for as fast as it goes',
      wholeNumber(0),
      300_000,
    )
    .option('--rows <n>', 'rows to read (the file has 3,000,000)', wholeNumber(1, 3_000_000), 3_000_000)
    .option('--no-kill', 'let every worker live'),
);
command.parse();
const flags = command.opts<StartFlags>();

// Millrace pins the SDK of its S3 store: what later versions will require is no news to whoever runs this one.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

// Not before the options are known to be good.
const { FlightsDemo } = await import('./flights-demo.js');
const demo = new FlightsDemo({
  jobFile: fileURLToPath(new URL('../../../engine/examples/flights.ts', import.meta.url)),
  flags,
});
let interrupted = false;
const restore = onInterrupt(async (signal) => {
  interrupted = true;
  await demo.close();
  process.stderr.write(`\n${signal}: stopped; nothing is left running\n`);
}, EXIT_INTERRUPTED);
try {
  const result = await demo.run();
  if (flags.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = result.ok ? 0 : EXIT_FAILURE;
} catch (thrown) {
  // What an interrupted run dies of is no news.
  if (interrupted) await new Promise(() => {});
  process.stderr.write(`${errorLine(thrown)}\n`);
  if (flags.json === true)
    process.stdout.write(
      `${JSON.stringify({ ok: false, error: errorLine(thrown) } satisfies Partial<FlightsResult>)}\n`,
    );
  process.exitCode = exitCodeOf(thrown);
} finally {
  await demo.close();
  restore();
}
