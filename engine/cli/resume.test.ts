import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { RunResult } from './run-job.js';
import { type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

const ROWS = 240_000;
/** Six seconds without a stop. */
const RATE = 40_000;
const COMMIT_MS_MAX = 60_000;

describe('millrace run --state-dir', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const job = writeCountingJob(place.path('job.ts'));
  const stateDir = place.path('state');
  const out = place.path('out');

  function start(...params: readonly string[]): SpawnedRun {
    const all = [`rows=${ROWS}`, `rate=${RATE}`, `out=${out}`, ...params].flatMap((param) => ['--param', param]);
    return place.run(job, '--state-dir', stateDir, '--checkpoint-interval-ms', '200', ...all);
  }

  function committedFiles(): string[] {
    try {
      return readdirSync(out).filter((name) => name.startsWith('part-'));
    } catch {
      return [];
    }
  }

  /** A run that has committed something beyond what was there. */
  async function startUntilItCommits(): Promise<SpawnedRun> {
    const before = committedFiles().length;
    const run = start();
    await until(
      () => committedFiles().length > before || !run.running,
      COMMIT_MS_MAX,
      () => `nothing committed: ${run.stderr}`,
    );
    ok(run.running, `ended before it could be stopped: ${run.stderr}${run.stdout}`);
    return run;
  }

  async function refused(run: SpawnedRun, line: RegExp): Promise<void> {
    equal(await run.ended, 2, run.stderr);
    match(run.stderr, line);
    equal(run.stderr.trimEnd().split('\n').length, 1, run.stderr);
    deepEqual([run.result<RunResult>().ok, run.result<RunResult>().error], [false, run.stderr.trimEnd()]);
  }

  it('goes on after SIGKILL and after Ctrl-C where the last checkpoint was, and nothing is lost or there twice', async () => {
    const first = await startUntilItCommits();
    await refused(
      start(),
      new RegExp(`state directory ${stateDir} is in use by process ${first.pid}; .*\\[STATE_DIR_IN_USE\\]`),
    );
    first.signal('SIGKILL');
    await first.ended;

    const second = await startUntilItCommits();
    second.signal('SIGINT');
    equal(await second.ended, 130, second.stderr);
    match(second.stderr, /SIGINT: stopped; nothing is left running; the same command resumes from checkpoint \d+/);

    const third = start();
    equal(await third.ended, 0, third.stderr);
    const result = third.result<RunResult>();
    ok(result.resumedFrom !== null && result.resumedFrom > 0, JSON.stringify(result));
    deepEqual([result.ok, result.job, result.rows, result.finishedBefore], [true, 'counting', ROWS, false]);
    await outputIsRight();

    const fourth = start();
    equal(await fourth.ended, 0, fourth.stderr);
    const again = fourth.result<RunResult>();
    deepEqual([again.ok, again.rows, again.finishedBefore], [true, ROWS, true]);
    await outputIsRight();
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  it('refuses the state of other parameters, and of another version, and leaves it as it is', async () => {
    const before = stateFiles();
    await refused(
      start('rows=7'),
      new RegExp(`${stateDir} holds .*other parameters of this job; .*\\[STATE_DIR_OTHER_JOB\\]`),
    );
    const info = join(stateDir, 'millrace.json');
    const text = readFileSync(info, 'utf8');
    writeFileSync(info, text.replace('"format":1', '"format":99'));
    await refused(start(), new RegExp(`${stateDir} was left by another version .*format 99.*\\[STATE_DIR_VERSION\\]`));
    writeFileSync(info, text);
    deepEqual(stateFiles(), before);
  });

  async function outputIsRight(): Promise<void> {
    const { duplicates, missing, unexpected } = compareLines(
      await readJsonLines(nodeDisk(), out),
      expectedCounts(ROWS),
    );
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
    deepEqual(readdirSync(join(out, '.pending')), [], 'files that are no output');
  }

  function stateFiles(): string[] {
    return readdirSync(stateDir, { recursive: true, encoding: 'utf8' }).sort();
  }
});
