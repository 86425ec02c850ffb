import type { ColumnSpec, Duration, Schema } from '../engine/index.js';
import { drawn, type Production } from './job-production.js';
import { columnsOf, compareValues, groupsOf, type PlainValue, type PlainValues, typeOf } from './plain-flow.js';

/** Floats are no keys: they are never met twice. */
const KEYS = ['utf8', 'timestamp', 'int32', 'int64', 'bool'] as const;
const JOINED_ROWS_MAX = 3000;

/** A column that stays: its name, its new name, its type. */
type Kept = readonly [string, string, ColumnSpec];

function keptSchema(kept: readonly Kept[]): Schema {
  return Object.fromEntries(kept.map(([, name, spec]) => [name, spec]));
}

function keptValues(kept: readonly Kept[], row: PlainValues): PlainValues {
  return Object.fromEntries(kept.map(([column, name]) => [name, row[column] ?? null]));
}

/** A whole number made of any value. */
function numberOf(value: PlainValue | undefined): number {
  if (typeof value === 'number') return Math.trunc(value);
  if (typeof value === 'string') return value.length + value.charCodeAt(value.length - 1);
  return value === true ? 1 : value === false ? 2 : 0;
}

export interface FilterParams {
  readonly column: string;
  readonly modulus: number;
  readonly rest: number;
}

function keeps({ column, modulus, rest }: FilterParams, row: PlainValues): boolean {
  return Math.abs(numberOf(row[column]) % modulus) !== rest;
}

export const filter: Production<FilterParams> = {
  weight: 2,
  inputs: 1,
  draw({ random, pick }, { schema }) {
    const modulus = 2 + random.below(6);
    return { column: pick(Object.keys(schema)), modulus, rest: random.below(modulus) };
  },
  build: (params, _shape, _j, stream) => stream.filter((row) => keeps(params, row)),
  plain: (params, _shape, flow) => ({ ...flow, rows: flow.rows.filter(({ values }) => keeps(params, values)) }),
};

export interface MapParams {
  readonly kept: readonly Kept[];
  readonly made: { readonly column: string; readonly from: string; readonly text: boolean; readonly factor: number };
}

function mappedSchema({ kept, made }: MapParams): Schema {
  return { ...keptSchema(kept), [made.column]: made.text ? 'utf8' : 'int32' };
}

function mapped({ kept, made }: MapParams, row: PlainValues): PlainValues {
  const from = row[made.from] ?? null;
  const value = made.text ? `${from}"ü${made.factor}` : (numberOf(from) * made.factor + 1) % 997;
  return { ...keptValues(kept, row), [made.column]: value };
}

/** Some columns stay, some under another name; one is made of another. Event time stays where its column does. */
export const map: Production<MapParams> = {
  weight: 2,
  inputs: 1,
  draw({ random, fresh, pick }, { schema, time }) {
    const kept = Object.entries(schema)
      .filter(([column]) => random.chance(column === time?.column ? 0.95 : 0.8))
      .map(([column, spec]): Kept => {
        const renamed = column !== time?.column && random.chance(0.2);
        return [column, renamed ? fresh() : column, spec];
      });
    const made = { column: fresh(), from: pick(Object.keys(schema)), text: random.chance(0.3) };
    return { kept, made: { ...made, factor: random.below(9) } };
  },
  build: (params, _shape, _j, stream) =>
    drawn(stream.map(mappedSchema(params), (row) => mapped(params, row) as typeof row)),
  plain(params, _shape, { time, whole, rows }) {
    const { kept, made } = params;
    const staysWhole = kept.filter(([column]) => whole.has(column)).map(([, name]) => name);
    return {
      schema: mappedSchema(params),
      time: kept.some(([column]) => column === time?.column) ? time : undefined,
      whole: new Set(made.text ? staysWhole : [...staysWhole, made.column]),
      rows: rows.map(({ values, late }) => ({ values: mapped(params, values), late })),
    };
  },
};

export interface TopParams {
  readonly keys: readonly string[];
  readonly limit: number;
  readonly by: string;
  readonly order: 'asc' | 'desc';
  /** All other columns: rows of which none is better are equal. */
  readonly ties: readonly string[];
}

export const top: Production<TopParams> = {
  weight: 2,
  inputs: 1,
  draw({ random, pick }, flow) {
    const keys = columnsOf(flow, ...KEYS);
    const numbers = columnsOf(flow, 'int32', 'int64', 'float64');
    if (flow.time === undefined || keys.length === 0 || numbers.length === 0) return undefined;
    const by = pick(numbers);
    const ties = Object.keys(flow.schema).filter((column) => column !== by);
    // The rows of one window, most often: of an instant there are few.
    const key = keys.includes('windowStart') && random.chance(0.7) ? 'windowStart' : pick(keys);
    return { keys: [key], limit: 1 + random.below(4), by, order: pick(['asc', 'desc']), ties };
  },
  build: ({ keys, limit, ...options }, _shape, _j, stream) =>
    stream.keyBy(...(keys as [string, ...string[]])).top(limit, options),
  plain({ keys, limit, by, order, ties }, _shape, flow) {
    const sign = order === 'asc' ? 1 : -1;
    const rows = groupsOf(flow, keys, (at) => at).flatMap((group) =>
      group.rows
        .sort((a, b) => {
          const first = sign * compareValues(a[by], b[by]);
          return ties.reduce((found, tie) => found || compareValues(a[tie], b[tie]), first);
        })
        .slice(0, limit),
    );
    return { ...flow, rows: rows.map((values) => ({ values, late: false })) };
  },
};

export interface JoinParams {
  readonly column: string;
  readonly tableColumn: string;
  /** Of the table, under names that the stream does not have. */
  readonly kept: readonly Kept[];
}

/** A stream with a table that every subtask holds. */
export const join: Production<JoinParams> = {
  weight: 3,
  inputs: 2,
  draw({ random, fresh, pick }, flow, table) {
    const pairs = columnsOf(flow, ...KEYS).flatMap((column) =>
      columnsOf(table, typeOf(flow.schema[column])).map((tableColumn) => ({ column, tableColumn })),
    );
    const matching = pairs.filter((pair) => joined(pair, flow.rows, table.rows, 1).length > 0);
    const pair = pick(matching.length === 0 || random.chance(0.05) ? pairs : matching);
    if (pair === undefined || joined(pair, flow.rows, table.rows).length > JOINED_ROWS_MAX) return undefined;
    const kept = Object.entries(table.schema).map(
      ([column, spec]): Kept => [column, column in flow.schema ? fresh() : column, spec],
    );
    const renamed = kept.find(([column]) => column === pair.tableColumn) as Kept;
    return { column: pair.column, tableColumn: renamed[1], kept };
  },
  build({ column, tableColumn, kept }, _shape, _j, stream, table) {
    const isRenamed = kept.some(([from, to]) => from !== to);
    const entries = isRenamed
      ? drawn(table.map(keptSchema(kept), (row) => keptValues(kept, row) as typeof row))
      : table;
    return drawn(stream.join(entries.broadcast(), column, tableColumn));
  },
  plain({ column, tableColumn, kept }, _shape, flow, table) {
    const others = kept.filter(([, name]) => name !== tableColumn);
    const pair = { column, tableColumn: kept.find(([, name]) => name === tableColumn)?.[0] ?? '' };
    return {
      schema: { ...flow.schema, ...keptSchema(others) },
      time: flow.time,
      whole: new Set([...flow.whole, ...others.filter(([from]) => table.whole.has(from)).map(([, name]) => name)]),
      rows: joined(pair, flow.rows, table.rows).map(([row, entry]) => ({
        values: { ...row.values, ...keptValues(others, entry.values) },
        late: row.late,
      })),
    };
  },
};

/** Pairs of rows that match; at most `limit` where it says so. */
function joined<R extends { readonly values: PlainValues }>(
  { column, tableColumn }: { readonly column: string; readonly tableColumn: string },
  rows: readonly R[],
  table: readonly R[],
  limit = Number.POSITIVE_INFINITY,
): [R, R][] {
  const pairs: [R, R][] = [];
  const entries = new Map<unknown, R[]>();
  for (const entry of table) {
    const value = entry.values[tableColumn] ?? null;
    if (value === null) continue;
    const list = entries.get(value);
    if (list === undefined) entries.set(value, [entry]);
    else list.push(entry);
  }
  for (const row of rows) {
    for (const entry of entries.get(row.values[column]) ?? []) pairs.push([row, entry]);
    if (pairs.length >= limit) break;
  }
  return pairs;
}

export interface EdgeParams {
  readonly bufferTimeout: Duration;
  readonly maxLag: number;
}

/** Rows are passed on at once or held for long, and their writer waits early for its readers. */
export const edge: Production<EdgeParams> = {
  weight: 1,
  inputs: 1,
  draw: ({ random, pick }) => ({
    bufferTimeout: pick(['0ms', '3ms', '700ms'] as const),
    maxLag: 1 << random.below(16),
  }),
  build: (params, _shape, _j, stream) => stream.edge(params),
  plain: (_params, _shape, flow) => flow,
};
