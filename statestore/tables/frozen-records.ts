import type { ChangeList } from './change-lists.js';
import {
  depthIn,
  FREE,
  META,
  OLD,
  REMOVED,
  type RecordBytes,
  type RecordLayout,
  STAMP_MASK,
  STAMP_SHIFT,
} from './record-layout.js';

/*
 * A table's entries as they were at a barrier, read by another thread while the task goes on changing them.
 *
 * The task closes its generation, which takes no time, and hands over where its records lie. The writer copies those that
 * belong to the snapshot (`gather`). The task, before it changes a record for the first time after the barrier, puts what the
 * record held into a log (`SavedRecords.save`): that is the moment when the record's stamp becomes a newer generation's, so that
 * it costs nothing on later changes. When it is through, the writer says GATHERED, then looks how long the log is, and takes the
 * log's word over its own for each record in there. From GATHERED on the task saves no more, and only memory that never changes
 * in place is still read: long keys and values in their heaps (`ByteHeap`), until the write is finished.
 *
 *     task      T1 log[..] = record    T2 store COUNT    T3 load GATHERED    T4 change the record
 *     writer    W1 copy records        W2 store GATHERED    W3 load COUNT    W4 read log[..]
 *
 * Why this is right by the memory model of ECMAScript (not only on a processor that keeps loads in order). T2, T3, W2, W3 are
 * Atomics, hence sequentially consistent: one total order holds them all. T1, T4, W1, W4 are plain, W1 races with T4. Take a
 * change T4 of a record that the snapshot holds, the first one since the barrier, with its own T1 to T3.
 * - T3 loads 1: it reads from W2, so W2 synchronizes with T3, and W1 happens before T4. A read cannot see a write that it happens
 *   before: the copy is what was there before T4, that is, at the barrier.
 * - T3 loads 0: T3 comes before W2 in the total order, hence T2 before W3. So W3 loads a count that includes this record,
 *   from T2 or a later store of the task's; that synchronizes, and T1 happens before W4: the log's copy is whole, and the writer
 *   does not use its own, whatever W1 saw of T4.
 * Later changes of the same record come after T4 on the task's thread: the same holds for them. Where nothing was changed, W1 reads
 * what the task wrote before it posted the message that brought the records here, which happens before all the writer does.
 * A word is never torn (aligned 32 bits of an Int32Array); what W1 saw of records that are in the log is thrown away unread, so
 * that no length or offset of a half-changed record is ever followed.
 *
 * Records are replaced by larger ones when a small table grows, or when its layout changes: the task then changes the new ones
 * only, and the old, which the writer holds, stay as they are.
 */

const COUNT = 0;
const GATHERED = 1;
const header = 2;
/** Records that are looked at between two turns of a writer that shares its thread. */
const slice = 1024;
/** Records that are brought into the processor's cache together; a multiple of 8. */
const fetchedAtOnce = 64;

/** What a writer needs to find a table's records as they were. Plain data over shared memory: it can be posted to another thread. */
export interface FrozenRecords {
  readonly layout: RecordLayout;
  /** The task goes on changing them. */
  readonly words: Int32Array;
  /** Ids that existed were below. */
  readonly limit: number;
  readonly keys: Uint8Array;
  /** The owner's heap, if it has one. */
  readonly values: Uint8Array | undefined;
  readonly full: boolean;
  /** Of the generation that the barrier closed. */
  readonly stamp: number;
  /** Records belong to the snapshot whose last change was less than so many generations before that. */
  readonly span: number;
  /** Removed ones, whose birth was less than so many generations before, are in no segment. */
  readonly unknownSpan: number;
  /** Those among which to look; undefined: all. */
  readonly lists: readonly ChangeList[] | undefined;
  readonly log: Int32Array;
}

/** Entries of one table, copied: nobody changes them any more. */
export interface GatheredRecords extends RecordBytes {
  readonly count: number;
  readonly values: Uint8Array | undefined;
}

/** The task's end: saves records before they are changed, until the writer has gathered. */
export class SavedRecords {
  readonly #frozen: FrozenRecords;
  #count = 0;

  constructor(frozen: FrozenRecords) {
    this.#frozen = frozen;
  }

  /** Words of a log with room for so many records, each saved at most once. */
  static wordsFor(records: number, layout: RecordLayout): number {
    return header + records * (layout.stride + 1);
  }

  /** Makes a log of a write that is finished a new one. */
  static clear(log: Int32Array): void {
    log[COUNT] = 0;
    log[GATHERED] = 0;
  }

  /** Whether nothing needs to be saved any more. */
  get isGathered(): boolean {
    return Atomics.load(this.#frozen.log, GATHERED) !== 0;
  }

  /** Before the first change of a record in its generation. @returns false when nothing needs to be saved any more. */
  save(id: number, words: Int32Array, base: number): boolean {
    const { layout, log, limit } = this.#frozen;
    if (id < limit && isPart(this.#frozen, words[base + META] as number)) {
      let to = header + this.#count * (layout.stride + 1);
      log[to++] = id;
      for (let from = base; from < base + layout.stride; from++) log[to++] = words[from] as number;
      Atomics.store(log, COUNT, ++this.#count);
    }
    return Atomics.load(log, GATHERED) === 0;
  }
}

/** The writer's end: copies a snapshot's records. The task may run wherever this yields, or all the time on its own thread. */
export function* gather(frozen: FrozenRecords): Generator<void, GatheredRecords> {
  const among = candidates(frozen);
  const copies = new Copies(
    frozen,
    among.reduce((sum, { count }) => sum + count, 0),
  );
  for (const { stamp, ids, count } of among) {
    for (let from = 0; from < count; from += slice) {
      const to = Math.min(count, from + slice);
      if (ids === undefined) for (let id = from + 1; id <= to; id++) copies.copy(id, stamp);
      else copies.copyListed(ids, from, to, stamp);
      yield;
    }
  }
  yield;
  Atomics.store(frozen.log, GATHERED, 1);
  yield;
  const saved = Atomics.load(frozen.log, COUNT);
  if (saved > 0) copies.replace(saved);
  return copies.gathered();
}

interface Candidates {
  /** Only those that changed last in this generation: others are in its list. */
  readonly stamp: number | undefined;
  readonly ids: Int32Array | undefined;
  readonly count: number;
}

function candidates({ lists, limit }: FrozenRecords): Candidates[] {
  if (lists === undefined) return [{ stamp: undefined, ids: undefined, count: limit - 1 }];
  return lists.map(({ generation, ids, count }) => ({ stamp: generation & STAMP_MASK, ids, count }));
}

function isPart(frozen: FrozenRecords, meta: number): boolean {
  return ((frozen.stamp - (meta >>> STAMP_SHIFT)) & STAMP_MASK) < frozen.span;
}

/** Whether a segment says anything of a record. */
function isWorthWriting(frozen: FrozenRecords, meta: number): boolean {
  if ((meta & FREE) !== 0) return false;
  if ((meta & REMOVED) === 0) return true;
  if (frozen.full) return false;
  const depth = depthIn(meta);
  const age = (frozen.stamp - (meta >>> STAMP_SHIFT)) & STAMP_MASK;
  return depth === OLD || age + depth >= frozen.unknownSpan;
}

/** Records side by side, and whose they are. */
class Copies {
  readonly #frozen: FrozenRecords;
  #ids: Int32Array;
  #words: Int32Array;
  #count = 0;
  /** Without it nothing would be fetched. */
  #fetched = 0;

  /** `capacity`: at most so many. */
  constructor(frozen: FrozenRecords, capacity: number) {
    this.#frozen = frozen;
    this.#ids = new Int32Array(capacity);
    this.#words = new Int32Array(capacity * frozen.layout.stride);
  }

  /** A record as it is now, if it belongs to the snapshot; it may be changing meanwhile, which the log then tells. */
  copy(id: number, stamp: number | undefined): void {
    const frozen = this.#frozen;
    const base = id * frozen.layout.stride;
    const meta = frozen.words[base + META] as number;
    if (stamp === undefined ? !isPart(frozen, meta) : meta >>> STAMP_SHIFT !== stamp) return;
    if (isWorthWriting(frozen, meta)) this.#add(id, frozen.words, base);
  }

  /** As `copy` for ids that stand all over the memory: it is waited for many of them at once (as in `batch-lookup.ts`). */
  copyListed(ids: Int32Array, from: number, to: number, stamp: number | undefined): void {
    for (let at = from; at < to; at += fetchedAtOnce) {
      const end = Math.min(to, at + fetchedAtOnce);
      this.#fetched ^= this.#fetch(ids, at, end);
      for (let i = at; i < end; i++) this.copy(ids[i] as number, stamp);
    }
  }

  /** What it reads is of no use: records may be changing. */
  #fetch(ids: Int32Array, from: number, to: number): number {
    const { words, layout } = this.#frozen;
    const { stride } = layout;
    let sum = 0;
    for (let i = from; i < to; i += 8) {
      sum ^=
        (words[(ids[i] as number) * stride + META] as number) ^
        (words[(ids[i + 1] as number) * stride + META] as number) ^
        (words[(ids[i + 2] as number) * stride + META] as number) ^
        (words[(ids[i + 3] as number) * stride + META] as number) ^
        (words[(ids[i + 4] as number) * stride + META] as number) ^
        (words[(ids[i + 5] as number) * stride + META] as number) ^
        (words[(ids[i + 6] as number) * stride + META] as number) ^
        (words[(ids[i + 7] as number) * stride + META] as number);
    }
    return sum;
  }

  /** Drops what was copied of records that are in the log, and takes them from there. */
  replace(saved: number): void {
    const { log, limit, layout } = this.#frozen;
    const { stride } = layout;
    const inLog = new Uint8Array((limit + 7) >> 3);
    for (let i = 0; i < saved; i++) {
      const id = log[header + i * (stride + 1)] as number;
      inLog[id >> 3] = (inLog[id >> 3] as number) | (1 << (id & 7));
    }
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const id = this.#ids[i] as number;
      if (((inLog[id >> 3] as number) & (1 << (id & 7))) !== 0) continue;
      if (kept < i) this.#words.copyWithin(kept * stride, i * stride, (i + 1) * stride);
      kept++;
    }
    this.#count = kept;
    for (let i = 0; i < saved; i++) {
      const from = header + i * (stride + 1);
      const meta = log[from + 1 + META] as number;
      if (isWorthWriting(this.#frozen, meta)) this.#add(log[from] as number, log, from + 1);
    }
  }

  gathered(): GatheredRecords {
    const { layout, keys, values } = this.#frozen;
    const { buffer } = this.#words;
    return {
      layout,
      count: this.#count,
      words: this.#words,
      bytes: new Uint8Array(buffer),
      doubles: new Float64Array(buffer, 0, buffer.byteLength >> 3),
      keys,
      values,
    };
  }

  #add(id: number, source: Int32Array, from: number): void {
    const { stride } = this.#frozen.layout;
    this.#ids[this.#count] = id;
    const to = this.#count++ * stride;
    for (let i = 0; i < stride; i++) this.#words[to + i] = source[from + i] as number;
  }
}
