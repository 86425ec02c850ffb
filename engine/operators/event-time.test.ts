import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EventTime } from './event-time.js';
import { type HarnessOptions, OperatorHarness, type Saved } from './operator-harness.test.support.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

const SCHEMA = { t: 'timestamp?', n: 'int32' } as const;
const LATE = 5;
const options: HarnessOptions = { create: () => new EventTime('t', LATE), inputs: [SCHEMA], output: SCHEMA };

test('event time trails the largest time seen, passes every row on, and never goes back, restored or not', () => {
  const batch = fc.array(
    fc.record({ t: fc.option(fc.integer({ min: -100, max: 100 })), n: fc.nat(9) }, { noNullPrototype: true }),
    {
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(
      fc.array(fc.record({ rows: batch, next: fc.constantFrom('on', 'save', 'crash') }), { maxLength: 15 }),
      (steps) => {
        let harness = new OperatorHarness(options);
        let saved: { readonly of: Saved; readonly max: number } | undefined;
        let max = Number.NEGATIVE_INFINITY;
        steps.forEach(({ rows, next }, id) => {
          harness.batch(rows);
          assert.deepEqual(harness.takeRows(), rows);
          const newest = Math.max(max, ...rows.flatMap(({ t }) => (t === null ? [] : [t])));
          assert.deepEqual(harness.takeWatermarks(), newest > max ? [newest - LATE - 1] : []);
          max = newest;
          if (next === 'save') saved = { of: harness.checkpoint(id + 1), max };
          if (next !== 'crash') return;
          harness = new OperatorHarness(options, saved?.of);
          max = saved?.max ?? Number.NEGATIVE_INFINITY;
        });
      },
    ),
    { numRuns: 200 },
  );
});
