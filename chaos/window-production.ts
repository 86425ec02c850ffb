import {
  type Aggregate,
  type ColumnSpec,
  count,
  type Duration,
  max,
  mean,
  min,
  type RowOf,
  type Schema,
  share,
  sum,
  tumbling,
} from '../engine/index.js';
import { drawn, type Production } from './job-production.js';
import { columnsOf, groupsOf, type PlainValue, type PlainValues } from './plain-flow.js';
import { WINDOW_HOURS_MAX } from './source-productions.js';

const MINUTE_MS = 60_000;
/** An aggregate: how it is asked for, and what a plain program gives for the values of a group, nulls among them. */
const AGGREGATES: Readonly<
  Record<
    string,
    {
      readonly spec: ColumnSpec;
      of(column: string): Aggregate;
      plain(values: readonly PlainValue[]): PlainValue;
    }
  >
> = {
  count: { spec: 'int64', of: () => count() as Aggregate, plain: (values) => values.length },
  sum: { spec: 'float64', of: sum, plain: (values) => numbers(values).reduce((a, b) => a + b, 0) },
  max: { spec: 'float64?', of: max, plain: (values) => extreme(numbers(values), Math.max) },
  min: { spec: 'float64?', of: min, plain: (values) => extreme(numbers(values), Math.min) },
  mean: {
    spec: 'float64?',
    of: mean,
    plain(values) {
      const found = numbers(values);
      return found.length === 0 ? null : found.reduce((a, b) => a + b, 0) / found.length;
    },
  },
  share: {
    spec: 'float64',
    of: (column) => share((row: PlainValues) => isLarge(row[column])) as Aggregate,
    plain: (values) => values.filter(isLarge).length / values.length,
  },
};

function numbers(values: readonly PlainValue[]): number[] {
  return values.filter((value) => typeof value === 'number');
}

function extreme(values: readonly number[], of: (...values: readonly number[]) => number): number | null {
  return values.length === 0 ? null : of(...values);
}

function isLarge(value: PlainValue | undefined): boolean {
  return typeof value === 'number' && value > 15;
}

export interface WindowParams {
  readonly keys: readonly string[];
  /** With their types in the stream. */
  readonly keySpecs: readonly ColumnSpec[];
  readonly minutes: number;
  /** Name of the result, aggregate, column. */
  readonly aggregates: readonly (readonly [string, string, string])[];
}

/** Keyed windows of event time. */
export const window: Production<WindowParams> = {
  weight: 4,
  inputs: 1,
  draw({ random, fresh, pick }, flow) {
    const keys = columnsOf(flow, 'utf8', 'int32', 'bool', 'timestamp').filter((column) => !column.startsWith('window'));
    // Sums of fractions depend on their order.
    const values = columnsOf(flow, 'int32', 'int64', 'float64').filter((column) => flow.whole.has(column));
    if (flow.time === undefined || keys.length === 0 || values.length === 0) return undefined;
    const texts = keys.filter((column) => flow.schema[column] === 'utf8');
    const first = texts.length > 0 && random.chance(0.7) ? pick(texts) : pick(keys);
    const chosen = [...new Set(random.chance(0.25) ? [first, pick(keys)] : [first])];
    const aggregates = ['count', ...Object.keys(AGGREGATES).filter(() => random.chance(0.4))].map(
      (aggregate) => [fresh(), aggregate, pick(values)] as const,
    );
    const minutes = pick([10, 30, 60, 60, 60 * WINDOW_HOURS_MAX]);
    return { keys: chosen, keySpecs: chosen.map((key) => flow.schema[key] as ColumnSpec), minutes, aggregates };
  },
  build({ keys, minutes, aggregates }, _shape, _j, stream) {
    const asked = aggregates.map(([name, kind, column]) => [name, AGGREGATES[kind]?.of(column)]);
    const windows = stream
      .keyBy(...(keys as [string, ...string[]]))
      .window(tumbling(`${minutes}m` as Duration))
      .aggregate(Object.fromEntries(asked) as Readonly<Record<string, Aggregate<RowOf<Schema>>>>);
    return drawn(windows as never);
  },
  plain({ keys, keySpecs, minutes, aggregates }, _shape, flow) {
    const sizeMs = minutes * MINUTE_MS;
    const schema: Record<string, ColumnSpec> = {};
    keys.forEach((key, i) => {
      schema[key] = keySpecs[i] as ColumnSpec;
    });
    Object.assign(schema, { windowStart: 'timestamp', windowEnd: 'timestamp' });
    const whole = new Set(keys.filter((key) => flow.whole.has(key)));
    for (const [name, kind] of aggregates) {
      schema[name] = AGGREGATES[kind]?.spec as ColumnSpec;
      if (kind !== 'mean' && kind !== 'share') whole.add(name);
    }
    const groups = groupsOf(flow, keys, (at) => Math.floor(at / sizeMs) * sizeMs);
    const rows = groups.map(({ at, rows: inGroup }) => {
      const values: Record<string, PlainValue> = { windowStart: at, windowEnd: at + sizeMs };
      for (const key of keys) values[key] = inGroup[0]?.[key] ?? null;
      for (const [name, kind, column] of aggregates)
        values[name] = AGGREGATES[kind]?.plain(inGroup.map((row) => row[column] ?? null)) ?? null;
      return { values, late: false };
    });
    return { schema: schema as Schema, time: { column: 'windowEnd', minusMs: 1 }, whole, rows };
  },
};
