import { Batch, BatchBuilder, compileSchema, type RowOf, type Schema, seek, toRow } from '../../base/columnar/index.js';
import { silentLogger, systemClock } from '../../base/index.js';
import {
  MemoryStateStore,
  type StateSegment,
  type StateStore,
  type StateWriter,
  writeAtOnce,
} from '../../statestore/index.js';
import type { Operator, OperatorCounters, Output } from './operator.js';

const KEY_GROUPS = 128;

export interface HarnessOptions {
  readonly create: () => Operator;
  readonly inputs: readonly Schema[];
  readonly output: Schema;
}

/** What a complete checkpoint keeps of an operator. */
export interface Saved {
  readonly segments: readonly Uint8Array[];
  readonly watermark: number;
}

/** One operator with a real state store, driven by rows; keeps what it emits. */
export class OperatorHarness {
  readonly counters: OperatorCounters = { lateDropped: 0 };
  readonly state: StateStore;
  readonly #options: HarnessOptions;
  readonly #operator: Operator;
  readonly #kept: Uint8Array[];
  #emitted: Record<string, unknown>[] = [];
  #watermarks: number[] = [];
  #watermark: number;
  #segment: StateSegment | undefined;

  constructor(options: HarnessOptions, from: Saved = { segments: [], watermark: Number.NEGATIVE_INFINITY }) {
    this.#options = options;
    const writer: StateWriter = {
      write: async (frozen) => {
        this.#segment = writeAtOnce(frozen);
        return this.#segment;
      },
    };
    this.state = new MemoryStateStore({ first: 0, last: KEY_GROUPS - 1 }, { writer });
    this.#operator = options.create();
    this.#watermark = from.watermark;
    this.#kept = [...from.segments];
    if (from.segments.length > 0) this.state.restore(from.segments);
    const output: Output = {
      row: (row) => void this.#emitted.push(plain(options.output, row)),
      batch: (batch) => void this.#emitted.push(...rowsOf(batch)),
      watermark: (timeMs) => void this.#watermarks.push(timeMs),
    };
    this.#operator.open(
      {
        subtask: 0,
        parallelism: 1,
        statePrefix: 'n0/',
        state: this.state,
        keyGroups: KEY_GROUPS,
        clock: systemClock(),
        logger: silentLogger(),
        inputs: options.inputs.map((schema) => compileSchema(schema)),
        output: compileSchema(options.output),
        counters: this.counters,
        watermark: from.watermark,
      },
      output,
    );
  }

  batch<S extends Schema>(rows: readonly RowOf<S>[], input = 0): void {
    if (rows.length === 0) return;
    const schema = compileSchema(this.#options.inputs[input] as Schema);
    const builder = new BatchBuilder(schema, { rowsMax: rows.length, bytesMax: 2 ** 24 });
    for (const row of rows) builder.append(row as never);
    const bytes = builder.finish();
    this.#operator.batch(input, Batch.decode(schema, bytes));
    bytes.fill(0xee); // a batch is not valid after the call: who kept a view would see this
  }

  /** Returns how many steps it took. */
  advance(timeMs: number): number {
    let steps = 1;
    while (this.#operator.watermark?.(timeMs) === false) steps++;
    this.#watermark = Math.max(this.#watermark, timeMs);
    return steps;
  }

  /** One step of `advance`. */
  advanceOnce(timeMs: number): boolean {
    return this.#operator.watermark?.(timeMs) ?? true;
  }

  takeRows(): Record<string, unknown>[] {
    const rows = this.#emitted;
    this.#emitted = [];
    return rows;
  }

  takeWatermarks(): number[] {
    const watermarks = this.#watermarks;
    this.#watermarks = [];
    return watermarks;
  }

  /** A checkpoint that completes. */
  checkpoint(id: number): Saved {
    this.state.snapshot(id);
    const segment = this.#segment as StateSegment;
    if (segment.full) this.#kept.length = 0;
    this.#kept.push(segment.bytes.slice());
    this.state.completed(id);
    return { segments: [...this.#kept], watermark: this.#watermark };
  }

  /** A checkpoint that does not. */
  abandon(id: number): void {
    this.state.snapshot(id);
    this.state.aborted(id);
  }
}

function plain(schema: Schema, row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.keys(schema).map((name) => [name, row[name]]));
}

function rowsOf(batch: Batch): Record<string, unknown>[] {
  const view = batch.rowView();
  return Array.from({ length: batch.rows }, (_, row) => {
    seek(view, row);
    return toRow(view) as Record<string, unknown>;
  });
}

/** Rows in one order, for comparisons where the order is free. */
export function sortedRows(rows: readonly Record<string, unknown>[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort();
}
