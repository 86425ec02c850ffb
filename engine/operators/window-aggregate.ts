import { type Batch, KeyExtractor, keyGroupOf, seek } from '../../base/columnar/index.js';
import type { LaneTable, TimerQueue } from '../../statestore/index.js';
import type { Aggregate } from './aggregate.js';
import { type Operator, type OperatorContext, type Output, TIMERS_PER_STEP } from './operator.js';

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
  #hashes = new Uint32Array(0);
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
    const { keyGroups, counters } = this.#context as OperatorContext;
    const table = this.#table as LaneTable;
    const timers = this.#timers as TimerQueue;
    const extractor = this.#extractor as KeyExtractor;
    if (this.#hashes.length < batch.rows) this.#hashes = new Uint32Array(batch.rows);
    const hashes = this.#hashes;
    extractor.hashes(batch, hashes);
    const time = batch.column(batch.schema.indexOf(this.#time.column));
    const view = batch.rowView();
    const size = this.#sizeMs;
    const minus = this.#time.minusMs;
    for (let row = 0; row < batch.rows; row++) {
      const at = time.get(row) as number | null;
      if (at === null) continue;
      const start = Math.floor((at - minus) / size) * size;
      if (start + size - 1 <= this.#watermark) {
        counters.lateDropped++;
        continue;
      }
      const hash = hashes[row] as number;
      const group = keyGroupOf(hash, keyGroups);
      const key = extractor.encode(batch, row);
      const slot = table.upsert(group, hash, key, start);
      if (table.created) timers.add(start + size - 1, group, hash, key, start);
      seek(view, row);
      let lane = slot;
      const values = table.values;
      for (const [, aggregate] of this.#aggregates) {
        aggregate.add(values, lane, view as never);
        lane += aggregate.lanes;
      }
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
