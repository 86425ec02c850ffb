import {
  type Batch,
  type ColumnType,
  decodeRow,
  encodeKeyValues,
  encodeRow,
  KeyExtractor,
  keyGroupOf,
  seek,
} from '../../base/columnar/index.js';
import type { ByteTable, LaneTable, TimerQueue } from '../../statestore/index.js';
import { type KeyVisitor, type Operator, type OperatorContext, type Output, TIMERS_PER_STEP } from './operator.js';
import type { TimeAttribute } from './window-aggregate.js';

export interface TopRowsOptions {
  readonly keys: readonly string[];
  readonly time: TimeAttribute;
  readonly limit: number;
  readonly by: string;
  readonly order: 'desc' | 'asc';
  /** Columns that decide between rows of equal rank, ascending. */
  readonly ties: readonly string[];
}

interface Ranked {
  readonly rank: Uint8Array;
  readonly row: Uint8Array;
}

/**
 * The best `limit` rows of each (key, event time), emitted best first when that time has passed.
 * State: one value per group, the rows kept so far in order: u32 count, then per row u32 rank length, u32 row length,
 * rank bytes (order-preserving, best first), row bytes. Beside it two lanes per full group: 1, and the ranking
 * value of the worst row kept. Most rows of a full group are plainly worse and are turned away by one comparison there (profiled:
 * decoding the kept rows for each of them was a quarter of the main job's CPU).
 */
export class TopRows implements Operator {
  readonly #options: TopRowsOptions;
  #context: OperatorContext | undefined;
  #output: Output | undefined;
  #table: ByteTable | undefined;
  #gate: LaneTable | undefined;
  #timers: TimerQueue | undefined;
  #extractor: KeyExtractor | undefined;
  #hashes = new Uint32Array(0);
  #tieTypes: ColumnType[] = [];
  #byType: ColumnType = 'float64';
  #watermark = Number.NEGATIVE_INFINITY;
  readonly #sub = new Uint8Array(8);
  readonly #subView = new DataView(this.#sub.buffer);

  constructor(options: TopRowsOptions) {
    this.#options = options;
  }

  open(context: OperatorContext, output: Output): void {
    this.#context = context;
    this.#output = output;
    this.#table = context.state.byteTable(`${context.statePrefix}top`);
    this.#gate = context.state.laneTable(`${context.statePrefix}top-gate`, 2);
    this.#timers = context.state.timers(`${context.statePrefix}top-times`);
    const schema = context.output;
    this.#extractor = new KeyExtractor(schema, this.#options.keys);
    const typeOf = (name: string) => (schema.columns[schema.indexOf(name)] as (typeof schema.columns)[0]).type;
    this.#byType = typeOf(this.#options.by);
    this.#tieTypes = this.#options.ties.map(typeOf);
    this.#watermark = context.watermark;
  }

  batch(_input: number, batch: Batch): void {
    const { keyGroups, counters, output: schema } = this.#context as OperatorContext;
    const extractor = this.#extractor as KeyExtractor;
    const table = this.#table as ByteTable;
    const timers = this.#timers as TimerQueue;
    if (this.#hashes.length < batch.rows) this.#hashes = new Uint32Array(batch.rows);
    extractor.hashes(batch, this.#hashes);
    const time = batch.column(batch.schema.indexOf(this.#options.time.column));
    const view = batch.rowView() as unknown as Record<string, number | string | boolean | null>;
    for (let i = 0; i < batch.rows; i++) {
      const value = time.get(i) as number | null;
      if (value === null) continue;
      const at = value - this.#options.time.minusMs;
      if (at <= this.#watermark) {
        counters.lateDropped++;
        continue;
      }
      seek(view as never, i);
      const hash = this.#hashes[i] as number;
      const group = keyGroupOf(hash, keyGroups);
      const key = extractor.encode(batch, i);
      const by = view[this.#options.by];
      if (this.#turnedAway(group, hash, key, at, by)) continue;
      this.#subView.setFloat64(0, at);
      const saved = table.get(group, hash, key, this.#sub);
      const kept = saved === undefined ? [] : decodeRanked(saved);
      const rank = this.#rank(view);
      const last = kept.at(-1);
      if (kept.length >= this.#options.limit && last !== undefined && compareBytes(rank, last.rank) >= 0) continue;
      const ranked = { rank, row: encodeRow(schema, view as never) };
      let place = kept.length;
      while (place > 0 && compareBytes((kept[place - 1] as Ranked).rank, rank) > 0) place--;
      kept.splice(place, 0, ranked);
      if (kept.length > this.#options.limit) kept.pop();
      table.put(group, hash, key, this.#sub, encodeRanked(kept));
      if (kept.length === this.#options.limit) this.#raiseGate(group, hash, key, at, kept[kept.length - 1] as Ranked);
      if (saved === undefined) timers.add(at, group, hash, key, at);
    }
  }

  keysOf(_input: number, batch: Batch, visit: KeyVisitor): void {
    const { keyGroups } = this.#context as OperatorContext;
    const extractor = this.#extractor as KeyExtractor;
    if (this.#hashes.length < batch.rows) this.#hashes = new Uint32Array(batch.rows);
    extractor.hashes(batch, this.#hashes);
    for (let row = 0; row < batch.rows; row++) {
      visit(keyGroupOf(this.#hashes[row] as number, keyGroups), extractor.encode(batch, row));
    }
  }

  keysDue(timeMs: number, visit: KeyVisitor): void {
    for (const { keyGroup, key } of (this.#timers as TimerQueue).due(timeMs, TIMERS_PER_STEP)) visit(keyGroup, key);
  }

  watermark(timeMs: number): boolean {
    const table = this.#table as ByteTable;
    const timers = this.#timers as TimerQueue;
    const gate = this.#gate as LaneTable;
    const output = this.#output as Output;
    const { output: schema } = this.#context as OperatorContext;
    for (let rows = 0; rows < TIMERS_PER_STEP; ) {
      const timer = timers.pop(timeMs);
      if (timer === undefined) {
        this.#watermark = timeMs;
        return true;
      }
      this.#subView.setFloat64(0, timer.namespace);
      const saved = table.get(timer.keyGroup, timer.hash, timer.key, this.#sub);
      table.remove(timer.keyGroup, timer.hash, timer.key, this.#sub);
      const slot = gate.find(timer.keyGroup, timer.hash, timer.key, timer.namespace);
      if (slot !== -1) gate.remove(slot);
      for (const { row } of saved === undefined ? [] : decodeRanked(saved)) {
        output.row(decodeRow(schema, row));
        rows++;
      }
    }
    return false;
  }

  /** True when the group is full and this ranking value is worse than the worst kept; equal values are for the ties to decide. */
  #turnedAway(group: number, hash: number, key: Uint8Array, at: number, by: unknown): boolean {
    if (typeof by !== 'number' || Number.isNaN(by)) return false;
    const gate = this.#gate as LaneTable;
    const slot = gate.find(group, hash, key, at);
    if (slot === -1 || gate.values[slot] !== 1) return false;
    const worst = gate.values[slot + 1] as number;
    return this.#options.order === 'desc' ? by < worst : by > worst;
  }

  /** Remembers the ranking value of a full group's worst row; one that is no number lets every row past. */
  #raiseGate(group: number, hash: number, key: Uint8Array, at: number, worst: Ranked): void {
    const gate = this.#gate as LaneTable;
    const schema = (this.#context as OperatorContext).output;
    const by = (decodeRow(schema, worst.row) as Readonly<Record<string, unknown>>)[this.#options.by];
    const slot = gate.upsert(group, hash, key, at);
    const comparable = typeof by === 'number' && !Number.isNaN(by);
    gate.values[slot] = comparable ? 1 : 0;
    gate.values[slot + 1] = comparable ? by : 0;
  }

  /** Bytes that sort best first: the ranking column (inverted when the largest is best), then ties ascending. */
  #rank(view: Record<string, number | string | boolean | null>): Uint8Array {
    const by = encodeKeyValues([this.#byType], [view[this.#options.by] as number]);
    const ties = encodeKeyValues(
      this.#tieTypes,
      this.#options.ties.map((name) => view[name] as number | string),
    );
    const rank = new Uint8Array(by.length + ties.length);
    for (let i = 0; i < by.length; i++)
      rank[i] = this.#options.order === 'desc' ? 255 - (by[i] as number) : (by[i] as number);
    rank.set(ties, by.length);
    return rank;
  }
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const order = (a[i] as number) - (b[i] as number);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function encodeRanked(rows: readonly Ranked[]): Uint8Array {
  const total = rows.reduce((bytes, { rank, row }) => bytes + 8 + rank.length + row.length, 4);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, rows.length);
  let at = 4;
  for (const { rank, row } of rows) {
    view.setUint32(at, rank.length);
    view.setUint32(at + 4, row.length);
    bytes.set(rank, at + 8);
    bytes.set(row, at + 8 + rank.length);
    at += 8 + rank.length + row.length;
  }
  return bytes;
}

function decodeRanked(bytes: Uint8Array): Ranked[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rows: Ranked[] = [];
  let at = 4;
  for (let i = view.getUint32(0); i > 0; i--) {
    const rankEnd = at + 8 + view.getUint32(at);
    const rowEnd = rankEnd + view.getUint32(at + 4);
    rows.push({ rank: bytes.slice(at + 8, rankEnd), row: bytes.slice(rankEnd, rowEnd) });
    at = rowEnd;
  }
  return rows;
}
