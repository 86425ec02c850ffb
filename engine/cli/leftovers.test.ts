import { deepEqual, doesNotMatch, equal, match } from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, describe, it } from 'node:test';
import { seededRandom } from '../../base/index.js';
import { FLIGHTS_JOB, pause, type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

/** A run lasts longer than any of these moments. */
const MOMENT_MS_MAX = 4000;
const STOP_MS_MAX = 15_000;
const ORPHANS_MS_MAX = 15_000;
const STACK_TRACE = /^\s+at .+:\d+:\d+\)?$/m;

describe('a run that ends early', () => {
  const seed = Number(process.env.MILLRACE_SEED ?? randomInt(2 ** 31));
  const random = seededRandom(seed);
  const place = new TestPlace();
  after(() => place.remove());

  /** By turns the job of `npm start` and a user's run of it; both far longer than the test waits. */
  function start(index: number): SpawnedRun {
    const shm = ['--shm-dir', place.shm, '--checkpoint-interval-ms', '200'];
    if (index % 2 === 0) return place.start('start', [...shm, '--rate', '100000']);
    const shuffle = index % 4 === 1 ? 'mapped' : 'wire';
    const params = ['rate=100000', `out=${place.path(`out-${index}`)}`].flatMap((param) => ['--param', param]);
    return place.start('millrace', ['run', FLIGHTS_JOB, ...shm, '--shuffle', shuffle, ...params]);
  }

  async function stopped(signal: 'SIGINT' | 'SIGTERM', index: number): Promise<void> {
    const run = start(index);
    const afterMs = random.below(MOMENT_MS_MAX);
    await pause(afterMs);
    run.signal(signal);
    const sentMs = performance.now();
    const code = await run.ended;
    const tookMs = Math.round(performance.now() - sentMs);
    const what = `${signal} after ${afterMs} ms (run ${index}, seed ${seed}), ended after ${tookMs} ms: ${run.stderr}`;
    deepEqual(place.processes(), [], what);
    deepEqual(place.leftovers(), [], what);
    doesNotMatch(run.stderr, STACK_TRACE, what);
    equal(tookMs < STOP_MS_MAX, true, what);
    // A signal that comes before the first line of our code runs ends node as it ends any program.
    if (code === signal && run.stderr === '') return;
    equal(code, 130, what);
    match(run.stderr, new RegExp(`${signal}: stopped; nothing is left running`), what);
  }

  it('by Ctrl-C leaves no process, no folder and no stack trace', async (t) => {
    t.diagnostic(`seed ${seed}`);
    for (let index = 0; index < 6; index++) await stopped('SIGINT', index);
  });

  it('by SIGTERM leaves no process, no folder and no stack trace', async () => {
    for (let index = 0; index < 2; index++) await stopped('SIGTERM', index);
  });

  it('by SIGKILL leaves no process after a moment, and no folder after the next start', async (t) => {
    t.diagnostic(`seed ${seed}`);
    for (let index = 0; index < 5; index++) {
      const run = start(index);
      const afterMs = random.below(MOMENT_MS_MAX);
      await pause(afterMs);
      run.signal('SIGKILL');
      await run.ended;
      const what = `SIGKILL after ${afterMs} ms (run ${index}, seed ${seed})`;
      await until(
        () => place.processes().length === 0,
        ORPHANS_MS_MAX,
        () => `${what}: ${JSON.stringify(place.processes())}`,
      );
      // Any start cleans up first, even one that then finds nothing to run.
      equal(await place.run('no-such-job.ts').ended, 2, what);
      deepEqual(place.leftovers(), [], what);
    }
  });
});
