import { seededRandom } from '../base/index.js';
import { type ColumnSpec, rows, type Schema } from '../engine/index.js';
import { interleavedRows } from './interleaved-rows.js';
import { drawn, type Production } from './job-production.js';
import type { PlainRow, PlainValues } from './plain-flow.js';
import type { JobShape } from './simulated-job.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const START_MS = Date.UTC(2001, 0);
/** No window is longer: what is late is late for all of them. */
export const WINDOW_HOURS_MAX = 2;
/** A source's batches have fewer rows: so many rows later, event time has moved on. */
const BATCH_ROWS_MAX = 61;

export interface SourceParams {
  readonly salt: number;
  /** Of the shape's rows. */
  readonly share: number;
  readonly subtasksMax: number;
  /** Its subtasks go through event time together, or one after another. */
  readonly interleaved: boolean;
  readonly paced: boolean;
  /** Keys are taken as the power of a uniform draw: 1 for all as often, more for some far more often. */
  readonly skew: number;
  /** 0: its rows have no event time. */
  readonly outOfOrderMinutes: number;
  /** Some rows come when every window they belong to has closed. One subtask only: elsewhere lateness is a race. */
  readonly late: boolean;
  /** Names of its columns: time, key, number, value, value or null, flag. */
  readonly columns: readonly [string, string, string, string, string, string];
}

const SPECS = ['timestamp', 'utf8', 'int32', 'int32', 'int32?', 'bool'] as const;

function schemaOf(columns: readonly string[], specs: readonly ColumnSpec[]): Schema {
  return Object.fromEntries(columns.map((column, i) => [column, specs[i] as ColumnSpec]));
}

function rowsOf({ share }: SourceParams, shape: JobShape): number {
  return Math.round(shape.rows * share);
}

function rowAt(params: SourceParams, shape: JobShape): (i: number) => PlainRow {
  const { salt, skew, outOfOrderMinutes, columns } = params;
  const rowMs = (shape.windows * HOUR_MS) / Math.max(1, rowsOf(params, shape));
  const outOfOrderMs = outOfOrderMinutes * MINUTE_MS;
  const lateMs = Math.ceil(BATCH_ROWS_MAX * rowMs + WINDOW_HOURS_MAX * HOUR_MS + 3 * outOfOrderMs);
  const [time, key, number, value, maybe, flag] = columns;
  return (i) => {
    const random = seededRandom(Math.imul(shape.dataSeed + salt + i, 0x9e3779b1));
    const late = params.late && i > BATCH_ROWS_MAX && i % 15 === 14;
    const inOrder = START_MS + Math.floor(i * rowMs) + (outOfOrderMs === 0 ? 0 : random.below(outOfOrderMs));
    const values: PlainValues = {
      [time]: late ? inOrder - lateMs : inOrder,
      [key]: `K${Math.floor(shape.keys * random.float() ** skew)}`,
      [number]: i,
      [value]: random.below(100) - 30,
      [maybe]: random.chance(0.2) ? null : random.below(10),
      [flag]: random.chance(0.3),
    };
    return { values, late };
  };
}

/** A bounded stream of events. */
export const source: Production<SourceParams> = {
  weight: 0,
  inputs: 0,
  draw({ random, fresh, pick }) {
    const subtasksMax = pick([1, 1, 2, 3, 64]);
    const outOfOrderMinutes = pick([1, 1, 5, 20, 0]);
    return {
      salt: random.below(2 ** 30),
      // Nothing at all is a stream too.
      share: random.chance(0.03) ? 0 : pick([0.1, 0.5, 1, 1]),
      subtasksMax,
      interleaved: random.chance(0.7),
      paced: random.chance(0.8),
      skew: pick([1, 1, 3, 8]),
      outOfOrderMinutes,
      late: subtasksMax === 1 && outOfOrderMinutes > 0 && random.chance(0.6),
      columns: [fresh(), fresh(), fresh(), fresh(), fresh(), fresh()],
    };
  },
  build(params, shape, j) {
    const { columns, outOfOrderMinutes, interleaved, subtasksMax, paced, share } = params;
    const schema = schemaOf(columns, SPECS);
    const at = rowAt(params, shape);
    const count = rowsOf(params, shape);
    const values = (i: number) => at(i).values as never;
    const connector = interleaved ? interleavedRows(schema, values, count) : rows(schema, values, { count });
    const rate = paced ? Math.ceil(shape.rowsPerSecond * share) : 0;
    const stream = j.from({ ...connector, parallelismMax: subtasksMax }, { rate });
    if (outOfOrderMinutes === 0) return stream;
    // The columns are not known to the compiler.
    return stream.eventTime(columns[0] as never, { outOfOrder: `${outOfOrderMinutes}m` });
  },
  plain(params, shape) {
    const { columns, outOfOrderMinutes } = params;
    const at = rowAt(params, shape);
    const [time, , number, value, maybe] = columns;
    return {
      schema: schemaOf(columns, SPECS),
      time: outOfOrderMinutes === 0 ? undefined : { column: time, minusMs: 0 },
      whole: new Set([number, value, maybe]),
      rows: Array.from({ length: rowsOf(params, shape) }, (_, i) => at(i)),
    };
  },
};

export interface TableParams {
  readonly salt: number;
  readonly entries: number;
  /** Names of its columns: key, name, number or null. */
  readonly columns: readonly [string, string, string];
}

const TABLE_SPECS = ['utf8', 'utf8', 'int32?'] as const;

function entriesOf({ salt, entries, columns }: TableParams, { dataSeed, keys }: JobShape): PlainValues[] {
  const random = seededRandom(dataSeed ^ salt);
  const [key, name, number] = columns;
  return Array.from({ length: entries }, (_, i) => ({
    [key]: `K${random.below(keys + 2)}`,
    [name]: `Place "${i}"`,
    [number]: random.chance(0.3) ? null : random.below(50),
  }));
}

/** A small table to join with: some keys are in it twice, some not at all. */
export const table: Production<TableParams> = {
  weight: 0,
  inputs: 0,
  draw({ random, fresh }) {
    return { salt: random.u32(), entries: random.below(30), columns: [fresh(), fresh(), fresh()] };
  },
  build(params, shape, j) {
    const entries = entriesOf(params, shape);
    return drawn(j.from(rows(schemaOf(params.columns, TABLE_SPECS), entries as never)));
  },
  plain(params, shape) {
    return {
      schema: schemaOf(params.columns, TABLE_SPECS),
      time: undefined,
      whole: new Set([params.columns[2]]),
      rows: entriesOf(params, shape).map((values) => ({ values, late: false })),
    };
  },
};
