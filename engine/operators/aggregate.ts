import type { ColumnSpec } from '../../base/columnar/index.js';

/**
 * An aggregate over the rows of a group, kept in `lanes` float64 of a state table. `Row` is the least a row must have,
 * so a misspelt column does not compile.
 */
export interface Aggregate<in Row = never, out Spec extends ColumnSpec = ColumnSpec> {
  readonly type: Spec;
  /** The column it reads, where it reads one by name: checked when the job is described. */
  readonly column?: string;
  readonly lanes: number;
  /** Takes one row into the lanes starting at `at`; lanes start zeroed. */
  readonly add: (lanes: Float64Array, at: number, row: Row) => void;
  readonly result: (lanes: Float64Array, at: number) => number | null;
}

type NumberColumn<C extends string> = { readonly [K in C]: number | null };

/** Number of rows. */
export function count(): Aggregate<unknown, 'int64'> {
  return {
    type: 'int64',
    lanes: 1,
    add(lanes, at) {
      lanes[at] = (lanes[at] as number) + 1;
    },
    result: (lanes, at) => lanes[at] as number,
  };
}

/** Sum of a column, nulls left out; exact for integers up to 2^53. */
export function sum<const C extends string>(column: C): Aggregate<NumberColumn<C>, 'float64'> {
  return {
    type: 'float64',
    column,
    lanes: 1,
    add(lanes, at, row) {
      lanes[at] = (lanes[at] as number) + (row[column] ?? 0);
    },
    result: (lanes, at) => lanes[at] as number,
  };
}

/** Arithmetic mean of a column, nulls left out; null when there is no value. */
export function mean<const C extends string>(column: C): Aggregate<NumberColumn<C>, 'float64?'> {
  return {
    type: 'float64?',
    column,
    lanes: 2,
    add(lanes, at, row) {
      const value = row[column];
      if (value === null) return;
      lanes[at] = (lanes[at] as number) + value;
      lanes[at + 1] = (lanes[at + 1] as number) + 1;
    },
    result: (lanes, at) => ((lanes[at + 1] as number) === 0 ? null : (lanes[at] as number) / (lanes[at + 1] as number)),
  };
}

function extreme<const C extends string>(
  column: C,
  better: (a: number, b: number) => boolean,
): Aggregate<NumberColumn<C>, 'float64?'> {
  return {
    type: 'float64?',
    column,
    lanes: 2,
    add(lanes, at, row) {
      const value = row[column];
      if (value === null) return;
      if ((lanes[at + 1] as number) === 0 || better(value, lanes[at] as number)) lanes[at] = value;
      lanes[at + 1] = 1;
    },
    result: (lanes, at) => ((lanes[at + 1] as number) === 0 ? null : (lanes[at] as number)),
  };
}

/** Largest value of a column; null when there is none. */
export function max<const C extends string>(column: C): Aggregate<NumberColumn<C>, 'float64?'> {
  return extreme(column, (a, b) => a > b);
}

/** Smallest value of a column; null when there is none. */
export function min<const C extends string>(column: C): Aggregate<NumberColumn<C>, 'float64?'> {
  return extreme(column, (a, b) => a < b);
}

/** Share of the rows, 0 to 1, for which the predicate holds. */
export function share<Row>(predicate: (row: Row) => boolean): Aggregate<Row, 'float64'> {
  return {
    type: 'float64',
    lanes: 2,
    add(lanes, at, row) {
      if (predicate(row)) lanes[at] = (lanes[at] as number) + 1;
      lanes[at + 1] = (lanes[at + 1] as number) + 1;
    },
    result: (lanes, at) => (lanes[at] as number) / (lanes[at + 1] as number),
  };
}
