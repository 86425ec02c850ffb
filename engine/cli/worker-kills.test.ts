import { deepEqual, equal, ok } from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, describe, it } from 'node:test';
import { nodeDisk, type Random, seededRandom } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/flights-check.js';
import { expectedOfFlights } from './expected-flights.test.support.js';
import type { RunResult } from './run-command.js';
import { FLIGHTS_JOB, killIfThere, pause, TestPlace } from './spawned-run.test.support.js';

const KILLS_MIN = 20;
/** In one run, so that the limit of restarts without a checkpoint in between is not what is tested. */
const KILLS_PER_RUN = 6;
const GAP_MS_MAX = 1500;
const ROWS = 120_000;
/** Split over four source tasks, of which the first has all of so few rows: about five seconds without a kill. */
const RATE = 100_000;

const CLUSTERS = [
  ['--shuffle', 'mapped', '--workers', '2', '--slots', '2'],
  ['--shuffle', 'wire', '--workers', '2', '--slots', '2'],
  ['--shuffle', 'mapped', '--workers', '3', '--slots', '1'],
] as const;

describe('killing workers', () => {
  const place = new TestPlace();
  after(() => place.remove());

  it(`at ${KILLS_MIN} random moments or more never changes the output`, async (t) => {
    const seed = Number(process.env.MILLRACE_SEED ?? randomInt(2 ** 31));
    t.diagnostic(`replay with MILLRACE_SEED=${seed} (real time: it comes close, not more)`);
    const random = seededRandom(seed);
    const expected = await expectedOfFlights(ROWS);
    let kills = 0;
    for (let run = 0; kills < KILLS_MIN; run++) {
      ok(run < 12, `only ${kills} kills in ${run} runs`);
      kills += await killedRun(run, random, expected.lines);
    }
    t.diagnostic(`${kills} kills`);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  /** How many workers were killed. */
  async function killedRun(index: number, random: Random, expected: readonly string[]): Promise<number> {
    const out = place.path(`out-${index}`);
    const cluster = CLUSTERS[index % CLUSTERS.length] as readonly string[];
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `out=${out}`].flatMap((param) => ['--param', param]);
    const run = place.run(FLIGHTS_JOB, ...cluster, ...params, '--checkpoint-interval-ms', '100');
    const killedAfterMs: number[] = [];
    const startMs = performance.now();
    while (run.running && killedAfterMs.length < KILLS_PER_RUN) {
      await pause(random.below(GAP_MS_MAX));
      const workers = place.workers();
      const victim = workers[random.below(Math.max(1, workers.length))];
      if (victim === undefined) continue;
      killIfThere(victim.pid);
      killedAfterMs.push(Math.round(performance.now() - startMs));
    }
    const what = `run ${index} (${cluster.join(' ')}), kills after ${killedAfterMs.join(', ')} ms`;
    equal(await run.ended, 0, `${what}: ${run.stderr}${run.stdout}`);
    const { duplicates, missing, unexpected } = compareLines(await readJsonLines(nodeDisk(), out), expected);
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 }, what);
    const result = run.result<RunResult>();
    equal(result.rows, ROWS, what);
    return killedAfterMs.length;
  }
});
