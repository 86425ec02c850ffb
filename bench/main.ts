#!/usr/bin/env node
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { benchCommand } from './command.js';
import type { Report } from './report.js';
import { runSuite } from './run-suite.js';
import { SUITES, type SuiteEntry } from './suites.js';
import { wholeProcess } from './whole-process.js';

/** `npm run bench`: see README.md. */
const INTERRUPTED = 130;

/** In a process of its own, so that what one suite taught the compiler does not slow the next. */
async function runApart(entry: SuiteEntry, quick: boolean): Promise<Report> {
  const args = [entry.name, '--json', ...(quick ? ['--quick'] : [])];
  return JSON.parse(await wholeProcess(fileURLToPath(import.meta.url), args)) as Report;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(INTERRUPTED));

const err = (text: string) => void process.stderr.write(text);
process.exitCode = await benchCommand({
  argv: process.argv.slice(2),
  suites: SUITES,
  run: (entry, quick, alone) =>
    alone ? runSuite(entry, { quick, progress: (line) => err(`${line}\n`) }) : runApart(entry, quick),
  out: (text) => void process.stdout.write(text),
  err,
  when: `${new Date().toISOString().slice(0, 10)}, load average before it ${(loadavg()[0] as number).toFixed(1)}`,
});
