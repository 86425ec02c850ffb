import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type HarnessOptions, OperatorHarness, type Saved } from './operator-harness.test.support.js';
import { TopRows } from './top-rows.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

const SCHEMA = { g: 'utf8', t: 'timestamp?', by: 'float64?', tie: 'utf8', seen: 'int32' } as const;
type Row = {
  readonly g: string;
  readonly t: number | null;
  readonly by: number | null;
  readonly tie: string;
  readonly seen: number;
};

function top(limit: number, order: 'desc' | 'asc'): HarnessOptions {
  const options = { keys: ['g'], time: { column: 't', minusMs: 0 }, limit, by: 'by', order, ties: ['tie'] } as const;
  return { create: () => new TopRows(options), inputs: [SCHEMA], output: SCHEMA };
}

/** All rows, ordered and cut when their time has passed. Null ranks below every number. */
class Model {
  readonly #limit: number;
  readonly #sign: number;
  #rows: Row[] = [];
  #watermark = Number.NEGATIVE_INFINITY;

  constructor(limit: number, order: 'desc' | 'asc') {
    this.#limit = limit;
    this.#sign = order === 'desc' ? -1 : 1;
  }

  clone(): Model {
    const copy = new Model(this.#limit, this.#sign === -1 ? 'desc' : 'asc');
    copy.#rows = [...this.#rows];
    copy.#watermark = this.#watermark;
    return copy;
  }

  add(row: Row): void {
    if (row.t !== null && row.t > this.#watermark) this.#rows.push(row);
  }

  advance(timeMs: number): Map<string, Row[]> {
    this.#watermark = timeMs;
    const groups = new Map<string, Row[]>();
    for (const row of this.#rows) {
      if ((row.t as number) > timeMs) continue;
      const key = `${row.t} ${row.g}`;
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    this.#rows = this.#rows.filter(({ t }) => (t as number) > timeMs);
    for (const [key, rows] of groups) {
      const ranked = rows.sort(
        (a, b) => this.#sign * compare(a.by, b.by) || (a.tie < b.tie ? -1 : a.tie > b.tie ? 1 : a.seen - b.seen),
      );
      groups.set(key, ranked.slice(0, this.#limit));
    }
    return groups;
  }
}

function compare(a: number | null, b: number | null): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Consecutive rows of a group; a group that comes in two pieces is a defect. */
function grouped(rows: readonly Record<string, unknown>[]): Map<string, unknown[]> {
  const groups = new Map<string, unknown[]>();
  let last: string | undefined;
  for (const row of rows) {
    const key = `${row.t} ${row.g}`;
    assert.ok(key === last || !groups.has(key), `the rows of ${key} are not together`);
    groups.set(key, [...(groups.get(key) ?? []), row]);
    last = key;
  }
  return groups;
}

const ordered = (groups: ReadonlyMap<string, readonly unknown[]>) => [...groups].sort(([a], [b]) => (a < b ? -1 : 1));

const row = fc.record({
  g: fc.constantFrom('x', 'y', ''),
  t: fc.option(fc.integer({ min: 0, max: 4 }), { freq: 12 }),
  by: fc.option(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(0.5, -0.5, 1e300, Infinity, -Infinity)), {
    freq: 6,
  }),
  tie: fc.constantFrom('a', 'b', 'ab', '', 'é'),
});

const action = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('rows' as const), rows: fc.array(row, { maxLength: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('checkpoint' as const, 'abandon' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
);

test('the best rows of each group and time, best first, agree with sorting them all, and after a crash at any point', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom('desc' as const, 'asc' as const),
      fc.array(action, { maxLength: 30 }),
      (limit, order, actions) => {
        const options = top(limit, order);
        let harness = new OperatorHarness(options);
        let model = new Model(limit, order);
        let saved: { readonly of: Saved; readonly model: Model; readonly time: number } | undefined;
        let time = -1;
        let seen = 0;
        const advance = (to: number) => {
          harness.advance(to);
          assert.deepEqual(ordered(grouped(harness.takeRows())), ordered(model.advance(to)));
        };
        actions.forEach((step, id) => {
          switch (step.do) {
            case 'rows': {
              const rows = step.rows.map((one): Row => ({ ...one, seen: seen++ }));
              harness.batch(rows);
              for (const one of rows) model.add(one);
              break;
            }
            case 'advance':
              time += step.by;
              advance(time);
              break;
            case 'checkpoint':
              saved = { of: harness.checkpoint(id + 1), model: model.clone(), time };
              break;
            case 'abandon':
              harness.abandon(id + 1);
              break;
            case 'crash':
              harness = new OperatorHarness(options, saved?.of);
              model = saved?.model.clone() ?? new Model(limit, order);
              time = saved?.time ?? -1;
              break;
          }
        });
        advance(Number.MAX_SAFE_INTEGER);
        assert.equal(harness.state.stats().entries, 0, 'groups that are out leave nothing behind');
      },
    ),
    { numRuns: 300 },
  );
});
