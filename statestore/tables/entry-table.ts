import { assert } from '../../base/index.js';
import type { KeyGroupRange } from '../spi.js';
import { ByteHeap } from './byte-heap.js';
import { EntryIndex } from './entry-index.js';
import type { FrozenRecords } from './frozen-records.js';
import type { Generations } from './generations.js';
import { IdQueue } from './id-queue.js';
import {
  codeIn,
  codeOf,
  doubleAt,
  HASH,
  IDENTITY,
  IN_HEAP,
  identityOf,
  isTaggedCode,
  KEY,
  type KeyLocation,
  keyBytesFor,
  keyGroupAt,
  locateKey,
  META,
  newLocation,
  QUEUED,
  REMOVED,
  type RecordBytes,
  type RecordLayout,
  recordLayout,
} from './record-layout.js';
import { Records } from './records.js';
import { SecondChance } from './second-chance.js';

/** Of each removal and each snapshot: so many tombstones are looked at whether they are still needed. */
const sweptPerRemoval = 2;
const sweptPerSnapshot = 256;

export interface EntryShape {
  readonly range: KeyGroupRange;
  /** float64 in the identity: 0 to 2. */
  readonly doubles: 0 | 1 | 2;
  /** Doubles are stored only once one of them is not 0. */
  readonly mayOmitDoubles?: true;
  readonly payloadWords: number;
  /** Payload is float64. */
  readonly aligned?: true;
  readonly subKeys?: true;
}

/**
 * The set of entries of one table: identity (key group, key, sub key, up to two float64) -> a small integer, the entry's id,
 * stable for its life, 0 for none; owners have some words in each record for their own use.
 *
 *     index    hash -> id
 *     records  by id (`record-layout.ts`)
 *     heap     keys that do not fit into records
 *
 * A removed entry that a segment may hold stays as a tombstone until its removal is saved; others leave no trace.
 */
export class EntryTable implements RecordBytes {
  readonly shape: EntryShape;
  readonly records: Records;
  readonly #generations: Generations;
  readonly index = new EntryIndex();
  #heap = new ByteHeap();
  #keyBytes = 0;
  /** Records in use. */
  #occupied = 0;
  #live = 0;
  readonly #tombstones = new IdQueue();
  /** A key as words, zeroed behind its end. */
  readonly #keyWords = new Int32Array(10);
  readonly #keyWordBytes = new Uint8Array(this.#keyWords.buffer);
  /** Where entries may be let go of. */
  #secondChance: SecondChance | undefined;
  readonly #scratch = newLocation();
  readonly #mixDouble = new Float64Array(1);
  readonly #mixWords = new Int32Array(this.#mixDouble.buffer);

  constructor(generations: Generations, shape: EntryShape) {
    this.#generations = generations;
    this.shape = shape;
    this.records = new Records(generations, this.#layoutFor(8, shape.mayOmitDoubles ? 0 : shape.doubles));
  }

  get layout(): RecordLayout {
    return this.records.layout;
  }

  get words(): Int32Array {
    return this.records.words;
  }

  get bytes(): Uint8Array {
    return this.records.bytes;
  }

  get doubles(): Float64Array {
    return this.records.doubles;
  }

  get keys(): Uint8Array {
    return this.#heap.bytes;
  }

  /** Of the current generation. */
  get stamp(): number {
    return this.#generations.stamp;
  }

  /** Ids are below this. */
  get limit(): number {
    return this.records.limit;
  }

  /** Entries that are not tombstones. */
  get live(): number {
    return this.#live;
  }

  /** Key and sub key bytes of entries, tombstones included. */
  get keyBytes(): number {
    return this.#keyBytes;
  }

  /** At most so many entries are dirty. */
  get changes(): number {
    return this.records.changes;
  }

  /** Bytes of memory. */
  get byteLength(): number {
    return this.records.byteLength + this.index.byteLength + this.#heap.capacityBytes + this.#tombstones.byteLength;
  }

  /** Of what is in it: it grows no further when as much is let go of as comes in. */
  get usedBytes(): number {
    const { layout, records } = this;
    const kept = records.byteLength - records.recordBytes + (this.#secondChance?.byteLength ?? 0);
    return this.#occupied * layout.stride * 4 + kept + this.index.byteLength + this.#heap.usedBytes;
  }

  /** Hash for the index: `hash`, which is the key's, with the sub key `bytes[from .. to)` and the doubles mixed in. */
  mix(hash: number, bytes: Uint8Array, from: number, to: number, first: number, second: number): number {
    let mixed = hash;
    for (let i = from; i < to; i++) mixed = Math.imul(mixed ^ (bytes[i] as number), 0x01000193);
    if (first !== 0) mixed = this.#mixIn(mixed, first, 0x2c1b3c6d);
    if (second !== 0) mixed = this.#mixIn(mixed, second, 0x297a2d39);
    return mixHash(mixed);
  }

  /** The id of an entry, tombstones included, or 0. `mixed` as made by `mix`. The bytes are key and sub key, end to end. */
  find(
    mixed: number,
    keyGroup: number,
    bytes: Uint8Array,
    split: number,
    length: number,
    first: number,
    second: number,
  ): number {
    const { layout, words } = this.records;
    const { cells, cellCount, tagMask, idBits } = this.index;
    const { stride, keyBytes } = layout;
    const code = codeOf(layout, bytes, length);
    const group = layout.groupAt < 0 ? keyGroup - layout.range.first : 0;
    if (group < 0 || group > 127) return 0;
    const identity = identityOf(group, code);
    const key = this.#keyWords;
    if (code !== IN_HEAP) this.#toWords(bytes, length, isTaggedCode(code), keyBytes);
    const word0 = key[0] as number;
    const word1 = key[1] as number;
    const tag = mixed << idBits;
    for (let at = ((mixed >>> 0) * this.index.scale) | 0; ; at = at + 1 === cellCount ? 0 : at + 1) {
      const cell = cells[at] as number;
      if (cell === 0) return 0;
      if (((cell ^ tag) & tagMask) !== 0) continue;
      const id = cell & ~tagMask;
      const base = id * stride;
      if (((words[base + META] as number) & IDENTITY) !== identity) continue;
      if (code === IN_HEAP) {
        if (!this.#sameInHeap(base, bytes, length)) continue;
      } else if (words[base + KEY] !== word0 || words[base + KEY + 1] !== word1) {
        continue;
      } else if (keyBytes > 8 && !this.#sameWords(base, keyBytes)) {
        continue;
      }
      if (this.shape.doubles > 0 && !this.#sameDoubles(base, first, second)) continue;
      if (layout.splitAt >= 0 && words[base + layout.splitAt] !== split) continue;
      if (layout.groupAt >= 0 && words[base + layout.groupAt] !== keyGroup) continue;
      if (this.#secondChance !== undefined) this.#secondChance.mark(id);
      return id;
    }
  }

  /**
   * Adds an entry that `find` did not find; it is live and touched, its payload whatever. `settled`: not touched, it lies beneath.
   * @returns its id.
   */
  insert(
    mixed: number,
    keyGroup: number,
    hash: number,
    bytes: Uint8Array,
    split: number,
    length: number,
    first: number,
    second: number,
    settled = false,
  ): number {
    const { range, doubles } = this.shape;
    assert(keyGroup >= range.first && keyGroup <= range.last, `key group ${keyGroup} is not the table's`);
    assert(!Number.isNaN(first) && !Number.isNaN(second), 'NaN cannot be part of an identity');
    if (this.limit === 1) this.records.relayout(this.#layoutFor(keyBytesFor(bytes, length), this.layout.doubles));
    if (this.layout.doubles < doubles && first !== 0) this.storeDoubles();
    if (this.index.isFull(this.limit)) this.#rebuildIndex();
    const id = settled ? this.records.takeSettled() : this.records.take();
    const { layout, words } = this.records;
    const base = id * layout.stride;
    const code = codeOf(layout, bytes, length);
    words[base + HASH] = hash;
    const identity = identityOf(layout.groupAt < 0 ? keyGroup - range.first : 0, code);
    words[base + META] = settled ? this.records.settledMeta(id, identity) : this.records.newMeta(id, identity);
    if (code === IN_HEAP) {
      words[base + KEY] = this.#heap.add(bytes, 0, length);
      words[base + KEY + 1] = length;
    } else {
      this.#toWords(bytes, length, isTaggedCode(code), layout.keyBytes);
      for (let i = 0; i < layout.keyBytes / 4; i++) words[base + KEY + i] = this.#keyWords[i] as number;
    }
    const at = (base + layout.doublesAt) >> 1;
    if (layout.doubles > 0) this.records.doubles[at] = first;
    if (layout.doubles > 1) this.records.doubles[at + 1] = second;
    if (layout.splitAt >= 0) words[base + layout.splitAt] = split;
    if (layout.groupAt >= 0) words[base + layout.groupAt] = keyGroup;
    this.#keyBytes += length;
    this.#live++;
    this.#occupied++;
    this.index.add(mixed, id);
    return id;
  }

  /** From now on doubles that are not 0 can be part of an identity. Records move. */
  storeDoubles(): void {
    if (this.layout.doubles < this.shape.doubles) {
      this.records.relayout(this.#layoutFor(this.layout.keyBytes, this.shape.doubles));
    }
  }

  /** Marks an entry dirty; call it before each change. @returns whether it is the first one in this generation. */
  touch(id: number): boolean {
    if (this.#secondChance !== undefined) this.#secondChance.mark(id);
    return this.records.touch(id);
  }

  isRemoved(id: number): boolean {
    return ((this.words[id * this.layout.stride + META] as number) & REMOVED) !== 0;
  }

  /** Of ids below `limit`: neither free nor a tombstone. */
  isLive(id: number): boolean {
    return this.records.isLive(id);
  }

  /** Makes a tombstone an entry again. */
  revive(id: number): void {
    this.touch(id);
    const at = id * this.layout.stride + META;
    this.words[at] = (this.words[at] as number) & ~REMOVED;
    this.#live++;
  }

  /** Removes a live entry: it becomes a tombstone if a segment may hold it, otherwise nothing remains. */
  remove(id: number): void {
    this.touch(id);
    this.#live--;
    if (this.records.isUnknown(id)) this.#release(id);
    else {
      const at = id * this.layout.stride + META;
      const meta = this.words[at] as number;
      if ((meta & QUEUED) === 0) this.#tombstones.push(id);
      this.words[at] = meta | REMOVED | QUEUED;
    }
    this.#sweep(sweptPerRemoval);
  }

  /** From now on it is known which entries are used: some will be let go of. */
  trackUse(): void {
    this.#secondChance = new SecondChance(this.records);
  }

  /** Looks at so many entries, and calls `forget` for those to let go of, which must call this table's `forget`. @returns how many. */
  choose(examine: number, forget: (id: number) => void): number {
    return this.#secondChance?.run(examine, forget) ?? 0;
  }

  /** Lets go of an entry that lies beneath. */
  forget(id: number): void {
    this.#live--;
    this.#release(id);
  }

  /** What was restored is saved. */
  restored(): void {
    this.records.restored();
  }

  /** Forgets some of what is saved. */
  settle(): void {
    this.records.forget();
    this.#sweep(sweptPerSnapshot);
  }

  /** See `Records.freeze`. */
  freeze(full: boolean, values: Uint8Array | undefined): FrozenRecords | undefined {
    this.#sweep(sweptPerSnapshot);
    return this.records.freeze(full, this.#heap.bytes, values);
  }

  keyGroupOf(id: number): number {
    return keyGroupAt(this, id * this.layout.stride);
  }

  hashOf(id: number): number {
    return this.words[id * this.layout.stride + HASH] as number;
  }

  /** `which` < 2; 0 where there is none. */
  doubleOf(id: number, which: number): number {
    return doubleAt(this, id * this.layout.stride, which);
  }

  locate(id: number, at: KeyLocation): void {
    locateKey(this, id * this.layout.stride, at);
  }

  hasSub(id: number): boolean {
    const at = this.#scratch;
    this.locate(id, at);
    return at.end > at.split;
  }

  /** A copy of the key, without the sub key. */
  keyOf(id: number): Uint8Array {
    const at = this.#scratch;
    this.locate(id, at);
    return at.bytes.slice(at.start, at.split);
  }

  /** A copy of the sub key. */
  subOf(id: number): Uint8Array {
    const at = this.#scratch;
    this.locate(id, at);
    return at.bytes.slice(at.split, at.end);
  }

  #layoutFor(keyBytes: number, doubles: number): RecordLayout {
    const { payloadWords, aligned, subKeys, range } = this.shape;
    return recordLayout({
      keyBytes,
      doubles,
      payloadWords,
      aligned: aligned === true,
      subKeys: subKeys === true,
      range,
    });
  }

  #mixIn(mixed: number, double: number, factor: number): number {
    this.#mixDouble[0] = double;
    return Math.imul(mixed ^ (this.#mixWords[0] as number), factor) ^ (this.#mixWords[1] as number);
  }

  #toWords(bytes: Uint8Array, length: number, tagged: boolean, keyBytes: number): void {
    const key = this.#keyWords;
    const skipped = tagged ? 1 : 0;
    if (keyBytes > 8) {
      key.fill(0, 0, keyBytes / 4);
      for (let i = 0; i < length; i++) this.#keyWordBytes[i] = bytes[i] as number;
      return;
    }
    const middle = Math.min(length, 4 + skipped);
    let word0 = 0;
    let word1 = 0;
    for (let i = skipped; i < middle; i++) word0 |= (bytes[i] as number) << ((i - skipped) << 3);
    for (let i = middle; i < length; i++) word1 |= (bytes[i] as number) << ((i - middle) << 3);
    key[0] = word0;
    key[1] = word1;
  }

  #sameWords(base: number, keyBytes: number): boolean {
    for (let i = 2; i < keyBytes / 4; i++) if (this.words[base + KEY + i] !== this.#keyWords[i]) return false;
    return true;
  }

  #sameInHeap(base: number, bytes: Uint8Array, length: number): boolean {
    if (this.words[base + KEY + 1] !== length) return false;
    const heap = this.#heap.bytes;
    const offset = this.words[base + KEY] as number;
    for (let i = 0; i < length; i++) if (heap[offset + i] !== bytes[i]) return false;
    return true;
  }

  #sameDoubles(base: number, first: number, second: number): boolean {
    return doubleAt(this, base, 0) === first && doubleAt(this, base, 1) === second;
  }

  /** Releases tombstones that are saved, or that no segment needs any more. */
  #sweep(count: number): void {
    for (let left = Math.min(count, this.#tombstones.length); left > 0; left--) {
      const id = this.#tombstones.shift();
      const at = id * this.layout.stride + META;
      const meta = this.words[at] as number;
      const needed = (meta & REMOVED) !== 0 && !this.records.isSettled(id) && !this.records.isUnknown(id);
      if (needed) {
        this.#tombstones.push(id);
        continue;
      }
      if ((meta & REMOVED) !== 0) {
        this.touch(id);
        this.words[at] = (this.words[at] as number) & ~QUEUED;
        this.#release(id);
      } else {
        this.words[at] = meta & ~QUEUED;
      }
    }
  }

  /** Of a touched record, or of one to forget. */
  #release(id: number): void {
    this.index.remove(this.#mixOf(id), id);
    const at = this.#scratch;
    this.locate(id, at);
    const length = at.end - at.start;
    const inHeap = codeIn(this.words[id * this.layout.stride + META] as number) === IN_HEAP;
    this.#keyBytes -= length;
    this.#occupied--;
    this.records.release(id);
    if (!inHeap) return;
    this.#heap.free(length);
    if (this.#heap.isWasteful && !this.#generations.isWriting) this.#compactHeap();
  }

  #compactHeap(): void {
    const heap = this.#heap.compacted();
    const { words, layout } = this.records;
    for (let id = 1; id < this.limit; id++) {
      const base = id * layout.stride;
      if (codeIn(words[base + META] as number) !== IN_HEAP) continue;
      words[base + KEY] = heap.add(this.#heap.bytes, words[base + KEY] as number, words[base + KEY + 1] as number);
    }
    this.#heap = heap;
  }

  #rebuildIndex(): void {
    this.index.clear(this.#occupied, this.limit);
    for (let id = 1; id < this.limit; id++) if (!this.records.isFree(id)) this.index.add(this.#mixOf(id), id);
  }

  #mixOf(id: number): number {
    const at = this.#scratch;
    if (this.layout.splitAt >= 0) this.locate(id, at);
    else at.split = at.end;
    return this.mix(this.hashOf(id), at.bytes, at.split, at.end, this.doubleOf(id, 0), this.doubleOf(id, 1));
  }
}

/** The last step of `EntryTable.mix`. */
export function mixHash(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad);
  return mixed ^ (mixed >>> 15);
}
