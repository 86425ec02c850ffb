import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk, systemClock, systemRandom } from '../../base/index.js';
import { openBlobStore, readPins } from '../../checkpoint/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { FlightsResult } from './flights-demo.js';
import type { RunResult } from './run-job.js';
import { TestPlace, until } from './spawned-run.test.support.js';

const ROWS = 240_000;
/** So slow that the runs which are stopped are far from their end, however busy the machine is. */
const RATE = 15_000;
const KEYS = 1_000;
/** Far less than there are windows open. */
const TIERED = ['--state-store', 'tiered', '--state-memory-bytes', '65536', '--checkpoint-interval-ms', '200'];
/** What tasks say that start from a completed checkpoint as their host has it. */
const ON_LOCAL_STATE = /"checkpoint":(?!0,)\d+,"segments":[1-9]\d*,"isLocal":true,"msg":"on state of this host"/;
const ON_STORED_STATE = /"checkpoint":(?!0,)\d+,"segments":[1-9]\d*,"isLocal":false,"msg":"on state of this host"/;

/** Flips a bit in the middle of every segment that a host has. @returns how many there are. */
function flipped(hostState: string): number {
  const files = readdirSync(hostState, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /segments.[0-9a-f]+$/.test(name),
  );
  for (const name of files) {
    const bytes = readFileSync(join(hostState, name));
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] as number) ^ 4;
    writeFileSync(join(hostState, name), bytes);
  }
  return files.length;
}

describe('state that is larger than memory', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const job = writeCountingJob(place.path('job.ts'));

  it('is restored from its host past a killed worker, with the right output', async () => {
    const rows = ['--rows', '200000', '--rate', '40000'];
    const run = place.start('start', [...rows, ...TIERED, '--log-level', 'debug', '--json']);
    equal(await run.ended, 0, run.stderr.slice(-2000));
    const result = run.result<FlightsResult>();
    deepEqual([result.rows, result.kills, result.sha256], [200_000, 1, result.expectedSha256]);
    ok(result.restarts >= 1);
    match(run.stderr, ON_LOCAL_STATE);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  it('is there again when the job goes on, and a store in memory can go on from it too', async () => {
    const [out, stateDir] = [place.path('out'), place.path('state')];
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `keys=${KEYS}`, `out=${out}`].flatMap((p) => ['--param', p]);
    const start = (store: readonly string[]) =>
      place.run(job, '--workers', '1', '--state-dir', stateDir, ...store, '--log-level', 'debug', ...params);
    const inMemory = ['--checkpoint-interval-ms', '200'];
    for (const [i, store] of [TIERED, TIERED, TIERED, inMemory].entries()) {
      const damaged = i === 2 ? flipped(join(stateDir, 'host-state')) : 0;
      const run = start(store);
      let completed = 0;
      await until(
        () => {
          completed = run.stderr.split('"what":"checkpointCompleted"').length - 1;
          return completed >= 2 || !run.running;
        },
        60_000,
        () => run.stderr.slice(-2000),
      );
      ok(run.running, run.stderr.slice(-2000));
      // The first one starts from nothing, the last one reads checkpoints.
      if (i === 1) match(run.stderr, ON_LOCAL_STATE);
      // What a host has is a copy: it is fetched anew.
      if (i === 2) match(run.stderr, /the checksum of the block at/, `${damaged} files`);
      run.signal('SIGINT');
      equal(await run.ended, 130, run.stderr.slice(-2000));
      ok(existsSync(join(stateDir, 'host-state', 'v1', 'base')));
    }
    // As on a host that never had any of it: tasks go on at once, from the checkpoint where it is stored.
    rmSync(join(stateDir, 'host-state'), { recursive: true });
    const last = start(TIERED);
    equal(await last.ended, 0, last.stderr.slice(-2000));
    match(last.stderr, ON_STORED_STATE);
    ok(existsSync(join(stateDir, 'host-state', 'v1', 'base')));
    const surroundings = { disk: nodeDisk(), random: systemRandom(), clock: systemClock() };
    deepEqual(await readPins(await openBlobStore(join(stateDir, 'checkpoints'), surroundings)), []);
    ok((last.result<RunResult>().resumedFrom as number) >= 6);
    const lines = await readJsonLines(nodeDisk(), out);
    const { duplicates, missing, unexpected } = compareLines(lines, expectedCounts(ROWS, KEYS));
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
    deepEqual(place.leftovers(), []);
  });
});
