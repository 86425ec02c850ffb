import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JobScheduler } from './job-scheduler.js';
import { handlingsPerRow, jobOf, type VertexPlan, vertexPlans } from './random-job.test.support.js';
import { FAULTS, type Fault, SimulatedWorld } from './simulated-world.test.support.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

const STEPS_MAX = 60_000;
/** Tables joined with tables multiply rows; a run has about this many to move. */
const ROWS_HANDLED_MAX = 2500;

const faults: fc.Arbitrary<Fault[]> = fc.array(fc.record({ at: fc.nat(4000), kind: fc.constantFrom(...FAULTS) }), {
  maxLength: 8,
});

interface Run {
  readonly plans: readonly VertexPlan[];
  readonly seed: number;
  readonly faults?: readonly Fault[];
  readonly sourceRows?: number;
  readonly spareSlots?: number;
}

function worldOf(run: Run, before?: SimulatedWorld): SimulatedWorld {
  const { plans, seed, faults = [], sourceRows = 12, spareSlots = 0 } = run;
  const graph = jobOf(plans);
  const jobId = before === undefined ? 'first' : 'second';
  const scheduler = new JobScheduler({
    graph,
    jobId,
    epoch: before === undefined ? 1 : 2,
    meta: '',
    restartsMax: Number.MAX_SAFE_INTEGER,
    checkpointTimeoutMs: 1000,
    latest: before?.judge.head,
    compaction: { deltasMax: 2, overlayMax: 0.3, outputBytesMin: 1, outputBytesMax: 100 },
  });
  const rows = Math.min(sourceRows, Math.floor(ROWS_HANDLED_MAX / handlingsPerRow(graph)));
  const kept = before === undefined ? {} : { before };
  return new SimulatedWorld({ graph, scheduler, jobId, seed, faults, sourceRows: rows, spareSlots, ...kept });
}

test('any job, any order of answers, any faults: the invariants hold and the job ends with each row committed once', () => {
  let restarts = 0;
  let published = 0;
  let compactions = 0;
  fc.assert(
    fc.property(vertexPlans, fc.integer(), faults, fc.nat(200), fc.nat(1), (plans, seed, plan, rows, spare) => {
      const world = worldOf({ plans, seed, faults: plan, sourceRows: rows, spareSlots: spare });
      world.run(STEPS_MAX);
      restarts += world.judge.restarts;
      published += world.judge.published;
      compactions += world.compactions;
    }),
    { numRuns: 150 },
  );
  // A simulation in which nothing happens proves nothing.
  assert.ok(restarts > 60, `only ${restarts} restarts`);
  assert.ok(published > 300, `only ${published} checkpoints`);
  assert.ok(compactions > 100, `only ${compactions} merges`);
});

test('without faults nothing restarts', () => {
  fc.assert(
    fc.property(vertexPlans, fc.integer(), (plans, seed) => {
      const world = worldOf({ plans, seed });
      world.run(STEPS_MAX);
      assert.equal(world.judge.restarts, 0);
    }),
    { numRuns: 60 },
  );
});

test('a leader that dies anywhere is followed by one that goes on from HEAD', () => {
  let resumed = 0;
  let partlyFinished = 0;
  fc.assert(
    fc.property(
      vertexPlans,
      fc.integer(),
      fc.nat(100),
      faults,
      fc.nat(200),
      (plans, seed, percent, plan, sourceRows) => {
        const whole = worldOf({ plans, seed, sourceRows });
        whole.run(STEPS_MAX);
        const first = worldOf({ plans, seed, sourceRows });
        first.crashAfter((whole.steps * percent) / 100);
        const saved = first.judge.head?.tasks ?? [];
        if (saved.length > 0) resumed++;
        if (saved.some(({ finished }) => finished) && saved.some(({ finished }) => !finished)) partlyFinished++;
        worldOf({ plans, seed: seed + 1, faults: plan, sourceRows }, first).run(STEPS_MAX);
      },
    ),
    { numRuns: 120 },
  );
  assert.ok(resumed > 20, `only ${resumed} resumed from a checkpoint`);
  assert.ok(partlyFinished > 3, `only ${partlyFinished} of them with finished tasks`);
});
