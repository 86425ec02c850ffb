import { deepEqual, equal, ok } from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { nodeDisk, type Random, seededRandom } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedOfFlights } from './expected-flights.test.support.js';
import type { RunResult } from './run-job.js';
import { FLIGHTS_JOB, killIfThere, pause, TestPlace, until } from './spawned-run.test.support.js';

const KILLS_MIN = 20;
/** In one run, so that the limit of restarts without a checkpoint in between is not what is tested. */
const KILLS_PER_RUN = 5;
const GAP_MS_MAX = 800;
/** Of the kills that come after new output was committed, so that there is a checkpoint to come back to; the others may hit a start or a recovery. */
const AFTER_COMMIT_SHARE = 0.7;
const COMMIT_MS_MAX = 60_000;
const ROWS = 300_000;
/** Split over four source tasks, of which the first has all of so few rows: twelve seconds without a kill, so that a slow machine has time for several. */
const RATE = 100_000;

const CLUSTERS = [
  ['--shuffle', 'mapped', '--workers', '2', '--slots', '2'],
  ['--shuffle', 'wire', '--workers', '2', '--slots', '2'],
  ['--shuffle', 'mapped', '--workers', '3', '--slots', '1'],
] as const;

function committedFiles(folder: string): number {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('part-')).length : 0;
}

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

  /** How many workers were killed while there was work to lose. */
  async function killedRun(index: number, random: Random, expected: readonly string[]): Promise<number> {
    const out = place.path(`out-${index}`);
    const cluster = CLUSTERS[index % CLUSTERS.length] as readonly string[];
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `out=${out}`].flatMap((param) => ['--param', param]);
    const run = place.run(FLIGHTS_JOB, ...cluster, ...params, '--checkpoint-interval-ms', '100');
    const killedAfterMs: number[] = [];
    const startMs = performance.now();
    let committed = 0;
    while (run.running && killedAfterMs.length < KILLS_PER_RUN) {
      if (random.chance(AFTER_COMMIT_SHARE)) {
        const moreIsThere = () => !run.running || committedFiles(out) > committed;
        await until(moreIsThere, COMMIT_MS_MAX, () => `run ${index} commits nothing: ${run.stderr}`);
      }
      await pause(random.below(GAP_MS_MAX));
      const workers = place.workers();
      const victim = workers[random.below(Math.max(1, workers.length))];
      if (victim === undefined) continue;
      committed = committedFiles(out);
      killIfThere(victim.pid);
      killedAfterMs.push(Math.round(performance.now() - startMs));
    }
    const what = `run ${index} (${cluster.join(' ')}), kills after ${killedAfterMs.join(', ')} ms`;
    equal(await run.ended, 0, `${what}: ${run.stderr}${run.stdout}`);
    const { duplicates, missing, unexpected } = compareLines(await readJsonLines(nodeDisk(), out), expected);
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 }, what);
    const result = run.result<RunResult>();
    equal(result.rows, ROWS, what);
    // On a machine that is busy all kills of a run may come when its rows are through, where nothing is left to restart:
    // they prove nothing, and count for nothing. If no kill ever counts, the test fails for want of kills.
    if (result.restarts === 0) return 0;
    ok(result.checkpoints > 1, `${what}: ${run.stdout}`);
    return killedAfterMs.length;
  }
});
