import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { count, max, mean, min, share, sum } from './aggregate.js';
import { TIMERS_PER_STEP } from './operator.js';
import { type HarnessOptions, OperatorHarness, type Saved, sortedRows } from './operator-harness.test.support.js';
import { WindowAggregate } from './window-aggregate.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

const SIZE = 10;
const INPUT = { k: 'utf8?', n: 'int32', t: 'timestamp?', v: 'int32?' } as const;
type Row = {
  readonly k: string | null;
  readonly n: number;
  readonly t: number | null;
  readonly v: number | null;
};
type Fired = Record<string, unknown>;

function windows(minusMs = 0): HarnessOptions {
  const aggregates = {
    rows: count(),
    total: sum('v'),
    mean: mean('v'),
    most: max('v'),
    least: min('v'),
    high: share<Row>((row) => row.v !== null && row.v > 5),
  };
  return {
    create: () =>
      new WindowAggregate({
        keys: ['k', 'n'],
        time: { column: 't', minusMs },
        sizeMs: SIZE,
        aggregates: aggregates as never,
      }),
    inputs: [INPUT],
    output: {
      k: 'utf8?',
      n: 'int32',
      windowStart: 'timestamp',
      windowEnd: 'timestamp',
      rows: 'int64',
      total: 'float64',
      mean: 'float64?',
      most: 'float64?',
      least: 'float64?',
      high: 'float64',
    },
  };
}

/** The same in the plainest way: all rows of open windows, worked out when they close. */
class Model {
  #rows: { readonly start: number; readonly row: Row }[] = [];
  #watermark = Number.NEGATIVE_INFINITY;
  late = 0;

  clone(): Model {
    const copy = new Model();
    copy.#rows = [...this.#rows];
    copy.#watermark = this.#watermark;
    copy.late = 0; // counted by the attempt
    return copy;
  }

  add(row: Row): void {
    if (row.t === null) return;
    const start = Math.floor(row.t / SIZE) * SIZE;
    if (start + SIZE - 1 <= this.#watermark) this.late++;
    else this.#rows.push({ start, row });
  }

  advance(timeMs: number): Fired[] {
    this.#watermark = Math.max(this.#watermark, timeMs);
    const due = this.#rows.filter(({ start }) => start + SIZE - 1 <= this.#watermark);
    this.#rows = this.#rows.filter((row) => !due.includes(row));
    const groups = new Map<string, typeof due>();
    for (const entry of due) {
      const key = JSON.stringify([entry.row.k, entry.row.n, entry.start]);
      groups.set(key, [...(groups.get(key) ?? []), entry]);
    }
    return [...groups.values()].map((group) => {
      const { start, row } = group[0] as (typeof due)[0];
      const values = group.flatMap(({ row: { v } }) => (v === null ? [] : [v]));
      const total = values.reduce((a, b) => a + b, 0);
      const ifAny = (value: number) => (values.length === 0 ? null : value);
      return {
        k: row.k,
        n: row.n,
        windowStart: start,
        windowEnd: start + SIZE,
        rows: group.length,
        total,
        mean: ifAny(total / values.length),
        most: ifAny(Math.max(...values)),
        least: ifAny(Math.min(...values)),
        high: values.filter((v) => v > 5).length / group.length,
      };
    });
  }
}

const row: fc.Arbitrary<Row> = fc.record({
  k: fc.constantFrom('a', 'b', '', 'ab', null),
  n: fc.nat(2),
  t: fc.option(fc.integer({ min: -30, max: 90 }), { freq: 9 }),
  v: fc.option(fc.integer({ min: -5, max: 12 }), { freq: 3 }),
});

const action = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('rows' as const), rows: fc.array(row, { maxLength: 8 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.nat(25) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('checkpoint' as const, 'abandon' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
);

test('windows agree with the plain way, with late rows, and after a crash at any point', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
      const options = windows();
      let saved: { readonly of: Saved; readonly model: Model; readonly time: number } | undefined;
      let harness = new OperatorHarness(options);
      let model = new Model();
      let time = -40;
      actions.forEach((step, id) => {
        switch (step.do) {
          case 'rows':
            harness.batch(step.rows);
            for (const one of step.rows) model.add(one);
            break;
          case 'advance':
            time += step.by;
            harness.advance(time);
            assert.deepEqual(sortedRows(harness.takeRows()), sortedRows(model.advance(time)));
            break;
          case 'checkpoint':
            saved = { of: harness.checkpoint(id + 1), model: model.clone(), time };
            break;
          case 'abandon':
            harness.abandon(id + 1);
            break;
          case 'crash':
            harness = new OperatorHarness(options, saved?.of);
            model = saved?.model.clone() ?? new Model();
            time = saved?.time ?? -40;
            break;
        }
        assert.equal(harness.counters.lateDropped, model.late);
      });
      harness.advance(Number.MAX_SAFE_INTEGER);
      assert.deepEqual(sortedRows(harness.takeRows()), sortedRows(model.advance(Number.MAX_SAFE_INTEGER)));
      assert.equal(harness.state.stats().entries, 0, 'closed windows leave nothing behind');
    }),
    { numRuns: 300 },
  );
});

test('more windows than fit one step fire over several, each once, in one order for every order of arrival', () => {
  const rows = Array.from({ length: 2 * TIMERS_PER_STEP + 5 }, (_, n): Row => ({ k: 'x', n, t: 3, v: n }));
  const fired = [rows, [...rows].reverse()].map((order) => {
    const harness = new OperatorHarness(windows());
    harness.batch(order);
    assert.equal(harness.advanceOnce(9), false);
    assert.equal(harness.takeRows().length, TIMERS_PER_STEP);
    assert.equal(harness.advance(9), 2);
    return harness.takeRows();
  });
  assert.equal(fired[0]?.length, TIMERS_PER_STEP + 5);
  assert.deepEqual(fired[0], fired[1]);
});

test('a snapshot amid the firing of many windows loses none and repeats none', () => {
  const options = windows();
  const rows = Array.from({ length: TIMERS_PER_STEP + 100 }, (_, n): Row => ({ k: null, n, t: 3, v: 1 }));
  const harness = new OperatorHarness(options);
  harness.batch(rows);
  const before = harness.checkpoint(1);
  harness.advanceOnce(9);
  const first = harness.takeRows();
  const restored = new OperatorHarness(options, { ...harness.checkpoint(2), watermark: before.watermark });
  restored.advance(9);
  const all = [...first, ...restored.takeRows()];
  assert.equal(new Set(all.map(({ n }) => n)).size, rows.length);
  assert.equal(all.length, rows.length);
});

test('the end of a window is the last instant of it when its rows are windowed again', () => {
  const harness = new OperatorHarness(windows(1));
  harness.batch([
    { k: 'a', n: 0, t: 10, v: 1 },
    { k: 'a', n: 0, t: 11, v: 1 },
  ]);
  harness.advance(100);
  assert.deepEqual(
    harness.takeRows().map(({ windowStart, rows }) => [windowStart, rows]),
    [
      [0, 1],
      [10, 1],
    ],
  );
});
