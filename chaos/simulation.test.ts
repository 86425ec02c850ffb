import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemRandom } from '../base/index.js';
import { runScenario, type ScenarioReport } from './run-scenario.js';
import { drawScenario } from './scenario.js';

const SEEDS = 200;

function listen(handler: (error: unknown) => void): () => void {
  process.on('unhandledRejection', handler);
  return () => void process.off('unhandledRejection', handler);
}

function told({ seed, violation }: ScenarioReport): string {
  return `${violation?.message}\nto see it again: npm run chaos -- --sim --seed ${seed}`;
}

describe('the real cluster in the simulator', () => {
  it(`keeps its promises on ${SEEDS} fresh seeds`, { timeout: 280_000 }, async (t) => {
    const first = systemRandom().u32() >>> 1;
    t.diagnostic(`seeds ${first} to ${first + SEEDS - 1}`);
    const sum = { restarts: 0, checkpoints: 0, checkpointsAborted: 0, faults: 0, lines: 0, buffers: 0, events: 0 };
    for (let seed = first; seed < first + SEEDS; seed++) {
      const report = await runScenario(drawScenario(seed), { onUnhandled: listen });
      ok(report.ok, told(report));
      for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += report[key];
    }
    t.diagnostic(JSON.stringify(sum));
    // A simulator in which nothing happens would pass as well.
    ok(sum.restarts > SEEDS / 2, `only ${sum.restarts} restarts`);
    ok(sum.checkpoints > SEEDS * 2, `only ${sum.checkpoints} checkpoints`);
    ok(sum.checkpointsAborted > 10, `only ${sum.checkpointsAborted} checkpoints aborted`);
    ok(sum.lines > SEEDS * 10, `only ${sum.lines} rows of output`);
  });

  it('does the same again from the same seed', { timeout: 60_000 }, async () => {
    for (const shuffle of ['mapped', 'wire'] as const) {
      const scenario = drawScenario(7, { job: 'flights', shuffle });
      const once = await runScenario(scenario);
      ok(once.ok, told(once));
      deepEqual(await runScenario(scenario), once);
    }
  });

  // Waited for END over the wire for ever: `finished` had been said before END was stored.
  it('a worker that dies as its task finishes loses no END', { timeout: 60_000 }, async () => {
    for (let seed = 3130; seed < 3145; seed++) {
      const report = await runScenario(
        drawScenario(seed, { shuffle: 'wire', faults: ['cutSlot', 'pauseWorker', 'failTask'] }),
      );
      ok(report.ok, told(report));
    }
  });

  // Its tasks failed for ever on a connection that was gone, or the slot never registered again.
  it('a slot that loses one of its connections comes back', { timeout: 60_000 }, async () => {
    let restarts = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const report = await runScenario(drawScenario(seed, { faults: ['cutSlot'] }));
      ok(report.ok, told(report));
      restarts += report.restarts;
    }
    ok(restarts > 0);
  });

  it('no reader writes to memory it only reads', { timeout: 60_000 }, async () => {
    const report = await runScenario({
      ...drawScenario(11, { job: 'windows', shuffle: 'mapped' }),
      workers: 1,
      slots: 1,
      guard: true,
    });
    equal(report.violation?.message, undefined);
  });
});
