import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runAnyScenario } from './run-any-scenario.js';
import { runScenario, type ScenarioReport } from './run-scenario.js';
import { runShuffleScenario } from './run-shuffle-scenario.js';
import { drawAnyScenario, drawScenario } from './scenario.js';
import { drawShuffleScenario } from './shuffle-scenario.js';

const SEEDS = 200;
/** The same ones in every run of the tests; `npm run chaos -- --sim --seeds 200` draws others. */
const FIRST = 20_000;

function listen(handler: (error: unknown) => void): () => void {
  process.on('unhandledRejection', handler);
  return () => void process.off('unhandledRejection', handler);
}

function told({ seed, violation }: ScenarioReport): string {
  return `${violation?.message}\nto see it again: npm run chaos -- --sim --seed ${seed}`;
}

describe('the real cluster in the simulator', () => {
  it(`keeps its promises on ${SEEDS} seeds`, { timeout: 280_000 }, async (t) => {
    const sum = {
      runs: 0,
      restarts: 0,
      checkpoints: 0,
      checkpointsAborted: 0,
      faults: 0,
      lines: 0,
      buffers: 0,
      events: 0,
    };
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const report = await runAnyScenario(drawAnyScenario(seed), { onUnhandled: listen });
      ok(report.ok, told(report));
      for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += report[key];
    }
    t.diagnostic(JSON.stringify(sum));
    // A simulator in which nothing happens would pass as well.
    ok(sum.runs > SEEDS + 10, `only ${sum.runs} runs`);
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
    for (const seed of [8, 9, 10]) {
      const once = await runShuffleScenario(drawShuffleScenario(seed));
      ok(once.ok, told(once));
      deepEqual(await runShuffleScenario(drawShuffleScenario(seed)), once);
    }
  });

  // Its readers waited for ever: over the wire `finished` was said before END was stored, and then its connection was cut.
  it('a slot that loses the daemon as its task finishes loses no END', { timeout: 60_000 }, async () => {
    const drawn = drawScenario(1, { job: 'flights', shuffle: 'wire' });
    const shape = { ...drawn.shape, rows: 200, rowsPerSecond: 600, keys: 9, windows: 5 };
    const base = {
      ...drawn,
      shape,
      workers: 1,
      slots: 2,
      slotWaitMs: 8000,
      sourceBatchRows: 20,
      checkpointIntervalMs: 100,
    };
    for (let atMs = 350; atMs < 560; atMs += 10) {
      const faults = [
        { atMs, fault: 'pauseWorker', pick: 0, forMs: 40, amount: 0 },
        { atMs: atMs + 20, fault: 'cutSlot', pick: atMs / 10, forMs: 0, amount: 0.9 },
      ] as const;
      const report = await runScenario({ ...base, faults, calmMs: atMs + 100, deadlineMs: atMs + 30_000 });
      ok(report.ok, report.violation?.message);
    }
  });

  // Its tasks failed for ever on a connection that was gone, or the slot never registered again.
  it('a slot that loses one of its connections comes back', { timeout: 60_000 }, async () => {
    for (const amount of [0.1, 0.9]) {
      const drawn = drawScenario(5, { job: 'windows' });
      const faults = [{ atMs: 500, fault: 'cutSlot', pick: 0, forMs: 0, amount }] as const;
      const report = await runScenario({ ...drawn, workers: 1, slots: 1, slotWaitMs: 8000, faults });
      ok(report.ok, report.violation?.message);
      equal(report.restarts, 1);
    }
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
