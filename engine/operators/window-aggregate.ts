import { type Batch, KeyExtractor, KeyRows, type RowView, seek } from '../../base/columnar/index.js';
import type { LaneTable, TimerQueue } from '../../statestore/index.js';
import type { Aggregate } from './aggregate.js';
import { type KeyVisitor, type Operator, type OperatorContext, type Output, TIMERS_PER_STEP } from './operator.js';

/** Event time of a row: a column, less `minusMs` (1 for the end of a window, whose rows belong to the instant before it). */
export interface TimeAttribute {
  readonly column: string;
  readonly minusMs: number;
}

/**
 * Keyed tumbling event-time windows. State: one lane-table entry per open (key, window), one timer at the window's last
 * millisecond. A row whose window has closed is counted in `lateDropped` and left out.
 */
export class WindowAggregate implements Operator {
  readonly #keys: readonly string[];
  readonly #time: TimeAttribute;
  readonly #sizeMs: number;
  readonly #aggregates: readonly (readonly [string, Aggregate])[];
  #context: OperatorContext | undefined;
  #output: Output | undefined;
  #table: LaneTable | undefined;
  #timers: TimerQueue | undefined;
  #extractor: KeyExtractor | undefined;
  readonly #rows = new KeyRows();
  /** Of each row: where its window begins, where its lanes are, whether they are new. */
  #starts = new Float64Array(0);
  #slots = new Int32Array(0);
  #created = new Uint8Array(0);
  #watermark = Number.NEGATIVE_INFINITY;

  constructor(options: {
    readonly keys: readonly string[];
    readonly time: TimeAttribute;
    readonly sizeMs: number;
    readonly aggregates: Readonly<Record<string, Aggregate>>;
  }) {
    this.#keys = options.keys;
    this.#time = options.time;
    this.#sizeMs = options.sizeMs;
    this.#aggregates = Object.entries(options.aggregates);
  }

  open(context: OperatorContext, output: Output): void {
    this.#context = context;
    this.#output = output;
    const lanes = this.#aggregates.reduce((total, [, aggregate]) => total + aggregate.lanes, 0);
    this.#table = context.state.laneTable(`${context.statePrefix}windows`, lanes);
    this.#timers = context.state.timers(`${context.statePrefix}window-ends`);
    this.#extractor = new KeyExtractor(context.inputs[0] as (typeof context.inputs)[0], this.#keys);
    this.#watermark = context.watermark;
  }

  batch(_input: number, batch: Batch): void {
    const { keyGroups } = this.#context as OperatorContext;
    const rows = this.#rows;
    (this.#extractor as KeyExtractor).rows(batch, keyGroups, rows);
    if (this.#starts.length < batch.rows) {
      this.#starts = new Float64Array(batch.rows);
      this.#slots = new Int32Array(batch.rows);
      this.#created = new Uint8Array(batch.rows);
    }
    if (this.#place(batch)) this.#addAll(batch);
    else this.#addSome(batch);
  }

  keysOf(_input: number, batch: Batch, visit: KeyVisitor): void {
    const { keyGroups } = this.#context as OperatorContext;
    const rows = this.#rows;
    (this.#extractor as KeyExtractor).rows(batch, keyGroups, rows);
    for (let row = 0; row < batch.rows; row++) {
      visit(rows.keyGroups[row] as number, rows.keys.subarray(rows.offsets[row], rows.offsets[row + 1]));
    }
  }

  keysDue(timeMs: number, visit: KeyVisitor): void {
    for (const { keyGroup, key } of (this.#timers as TimerQueue).due(timeMs, TIMERS_PER_STEP)) visit(keyGroup, key);
  }

  /** Finds each row's window; NaN where it has none, or it has closed. @returns whether all rows have one. */
  #place(batch: Batch): boolean {
    const time = batch.column(batch.schema.indexOf(this.#time.column));
    const starts = this.#starts;
    const size = this.#sizeMs;
    const minus = this.#time.minusMs;
    let left = 0;
    let late = 0;
    for (let row = 0; row < batch.rows; row++) {
      const at = time.get(row) as number | null;
      const start = at === null ? Number.NaN : Math.floor((at - minus) / size) * size;
      const isLate = start + size - 1 <= this.#watermark;
      if (isLate) late++;
      if (isLate || at === null) left++;
      starts[row] = isLate ? Number.NaN : start;
    }
    (this.#context as OperatorContext).counters.lateDropped += late;
    return left === 0;
  }

  /** Of a batch of which every row has a window. */
  #addAll(batch: Batch): void {
    const { rows, keyGroups, hashes, keys, offsets, keyLength, view } = this.#rows;
    const keyed = { rows, keyGroups, hashes, keys, offsets, keyLength, view, namespaces: this.#starts };
    (this.#table as LaneTable).upsertAll(keyed, this.#slots, this.#created);
    for (let row = 0; row < rows; row++) if (this.#created[row] === 1) this.#addTimer(row);
    const { values } = this.#table as LaneTable;
    const at = batch.rowView();
    for (let row = 0; row < rows; row++) {
      seek(at, row);
      this.#aggregate(values, this.#slots[row] as number, at);
    }
  }

  /** Row by row: those without a window must leave nothing in the state. */
  #addSome(batch: Batch): void {
    const table = this.#table as LaneTable;
    const { rows, keyGroups, hashes, keys, offsets } = this.#rows;
    const at = batch.rowView();
    for (let row = 0; row < rows; row++) {
      const start = this.#starts[row] as number;
      if (Number.isNaN(start)) continue;
      const key = keys.subarray(offsets[row], offsets[row + 1]);
      const slot = table.upsert(keyGroups[row] as number, hashes[row] as number, key, start);
      if (table.created) this.#addTimer(row);
      seek(at, row);
      this.#aggregate(table.values, slot, at);
    }
  }

  #addTimer(row: number): void {
    const { keyGroups, hashes, keys, offsets } = this.#rows;
    const start = this.#starts[row] as number;
    const key = keys.subarray(offsets[row], offsets[row + 1]);
    const end = start + this.#sizeMs - 1;
    (this.#timers as TimerQueue).add(end, keyGroups[row] as number, hashes[row] as number, key, start);
  }

  #aggregate(values: Float64Array, slot: number, row: RowView): void {
    let lane = slot;
    for (const [, aggregate] of this.#aggregates) {
      aggregate.add(values, lane, row as never);
      lane += aggregate.lanes;
    }
  }

  watermark(timeMs: number): boolean {
    const table = this.#table as LaneTable;
    const timers = this.#timers as TimerQueue;
    const output = this.#output as Output;
    const extractor = this.#extractor as KeyExtractor;
    const row: Record<string, unknown> = {};
    for (let fired = 0; fired < TIMERS_PER_STEP; fired++) {
      const timer = timers.pop(timeMs);
      if (timer === undefined) {
        this.#watermark = timeMs;
        return true;
      }
      const slot = table.find(timer.keyGroup, timer.hash, timer.key, timer.namespace);
      const key = extractor.decode(timer.key);
      for (let i = 0; i < this.#keys.length; i++) row[this.#keys[i] as string] = key[i];
      row.windowStart = timer.namespace;
      row.windowEnd = timer.namespace + this.#sizeMs;
      let lane = slot;
      for (const [name, aggregate] of this.#aggregates) {
        row[name] = aggregate.result(table.values, lane);
        lane += aggregate.lanes;
      }
      table.remove(slot);
      output.row(row);
    }
    return false;
  }
}
