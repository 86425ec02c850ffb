import type { ColumnSpec, Schema } from '../engine/index.js';

export type PlainValue = boolean | number | string | null;
export type PlainValues = Readonly<Record<string, PlainValue>>;

/** A row as a plain program holds it. */
export interface PlainRow {
  readonly values: PlainValues;
  /** It comes when its time has long passed: it counts for nothing where rows are grouped by event time. */
  readonly late: boolean;
}

/** All rows of a stream, in any order, and what is known of its columns. */
export interface PlainFlow {
  readonly schema: Schema;
  /** Event time of a row: this column, less `minusMs`. */
  readonly time: { readonly column: string; readonly minusMs: number } | undefined;
  /** Columns of whole numbers: their sums are the same in any order. */
  readonly whole: ReadonlySet<string>;
  readonly rows: readonly PlainRow[];
}

export function typeOf(spec: ColumnSpec | undefined): string {
  return (spec ?? '').replace('?', '');
}

export function columnsOf({ schema }: PlainFlow, ...types: readonly string[]): string[] {
  return Object.keys(schema).filter((column) => types.includes(typeOf(schema[column])));
}

/** Event time of a row that has one and is not late. */
export function timeOf({ time }: PlainFlow, { values, late }: PlainRow): number | undefined {
  if (time === undefined || late) return undefined;
  const at = values[time.column];
  return typeof at === 'number' ? at - time.minusMs : undefined;
}

/** Rows with a time, by their values in these columns. */
export function groupsOf(
  flow: PlainFlow,
  keys: readonly string[],
  timeBy: (timeMs: number) => number,
): { readonly at: number; readonly rows: PlainValues[] }[] {
  const groups = new Map<string, { readonly at: number; readonly rows: PlainValues[] }>();
  for (const row of flow.rows) {
    const time = timeOf(flow, row);
    if (time === undefined) continue;
    const at = timeBy(time);
    const id = JSON.stringify([at, ...keys.map((key) => row.values[key] ?? null)]);
    const group = groups.get(id) ?? { at, rows: [] };
    groups.set(id, group);
    group.rows.push(row.values);
  }
  return [...groups.values()];
}

/** The order of keys: null first, then by value. */
export function compareValues(a: PlainValue | undefined, b: PlainValue | undefined): number {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return a < b ? -1 : 1;
}

/** A row as the JSON lines sink writes it. */
export function lineOf(schema: Schema, values: PlainValues): string {
  const parts = Object.entries(schema).map(([column, spec]) => {
    const value = values[column] ?? null;
    const said = typeOf(spec) === 'timestamp' && typeof value === 'number' ? new Date(value).toISOString() : value;
    return [column, said];
  });
  return JSON.stringify(Object.fromEntries(parts));
}
