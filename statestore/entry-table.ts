import { assert } from '../base/index.js';
import { ByteHeap } from './byte-heap.js';
import type { Generations } from './generations.js';
import { grownInt32, sharedInt32 } from './shared-arrays.js';

// Words of a record. Keys of up to 12 bytes live in the record itself, longer ones in the heap.
const HASH = 0;
/** key group (16 bits) | flags (8) | inline length, 255 = in the heap (8) */
const META = 1;
const KEY = 2;
const KEY_OFFSET = 2;
const KEY_LENGTH = 3;
/** How many of the identity's bytes are the key; the rest is the sub key. */
const SPLIT = 5;
const STAMP = 6;
const BORN = 7;
const HEADER_WORDS = 8;

const REMOVED = 1 << 16;
const LISTED = 1 << 17;
const FREE = 1 << 18;
/** Key group and inline length. */
const IDENTITY = 0xff00ffff | 0;
const IN_HEAP = 255;
const inlineMax = 12;

const capacityMin = 16;
const noEntry = -1;

/** Where bytes of an entry stand; filled in by `locate`, so that comparing allocates nothing. */
export interface KeyLocation {
  bytes: Uint8Array;
  start: number;
  /** End of the key, start of the sub key. */
  split: number;
  end: number;
}

/**
 * The set of entries of one table: identity (key group, key, sub key, up to two float64) -> a small integer, the entry's id,
 * stable for its life; owners keep values in arrays of their own, by id.
 *
 *     index    [mixed hash | id + 1] ...        open addressing, linear probing, deletion by shifting back
 *     records  [8 words | 0, 1 or 2 float64] by id, freed ones chained
 *     heap     keys longer than 12 bytes
 *     dirty    ids of entries whose last change is not saved (or was when last settled): each at most once
 *
 * A removed entry that a segment may hold stays as a tombstone until its removal is saved; others leave no trace.
 */
export class EntryTable {
  readonly doublesPerEntry: number;
  readonly #generations: Generations;
  readonly #stride: number;
  #capacity = capacityMin;
  #words: Int32Array;
  #doubles: Float64Array;
  #recordBytes: Uint8Array;
  #index = sharedInt32(capacityMin * 4);
  #mask = capacityMin * 2 - 1;
  #heap = new ByteHeap();
  #keyBytes = 0;
  /** Ids below this one have been used. */
  #limit = 0;
  #firstFree = noEntry;
  #occupied = 0;
  #live = 0;
  #dirty = sharedInt32(capacityMin);
  #dirtyCount = 0;
  readonly #scratch = newLocation();
  readonly #mixDouble = new Float64Array(1);
  readonly #mixWords = new Int32Array(this.#mixDouble.buffer);

  constructor(generations: Generations, doublesPerEntry: 0 | 1 | 2) {
    this.#generations = generations;
    this.doublesPerEntry = doublesPerEntry;
    this.#stride = HEADER_WORDS + 2 * doublesPerEntry;
    this.#words = sharedInt32(this.#stride * capacityMin);
    this.#doubles = new Float64Array(this.#words.buffer);
    this.#recordBytes = new Uint8Array(this.#words.buffer);
  }

  /** Owners' arrays need room for this many ids; look again after `insert`. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Ids are below this. */
  get limit(): number {
    return this.#limit;
  }

  /** Entries that are not tombstones. */
  get live(): number {
    return this.#live;
  }

  /** At most this many entries are dirty. */
  get dirtyCount(): number {
    return this.#dirtyCount;
  }

  /** Key and sub key bytes of entries, tombstones included. */
  get keyBytes(): number {
    return this.#keyBytes;
  }

  /** Hash for the index: `hash`, which is the key's, with the sub key `bytes[split .. length)` and the doubles mixed in. */
  mix(hash: number, bytes: Uint8Array, split: number, length: number, first: number, second: number): number {
    let mixed = hash;
    for (let i = split; i < length; i++) mixed = Math.imul(mixed ^ (bytes[i] as number), 0x01000193);
    if (this.doublesPerEntry > 0) {
      this.#mixDouble[0] = first;
      mixed = Math.imul(mixed ^ (this.#mixWords[0] as number), 0x2c1b3c6d) ^ (this.#mixWords[1] as number);
    }
    if (this.doublesPerEntry > 1) {
      this.#mixDouble[0] = second;
      mixed = Math.imul(mixed ^ (this.#mixWords[0] as number), 0x297a2d39) ^ (this.#mixWords[1] as number);
    }
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    return mixed ^ (mixed >>> 15);
  }

  /** The id of an entry, tombstones included, or -1. `mixed` as made by `mix`. The bytes are key and sub key, end to end. */
  find(
    mixed: number,
    keyGroup: number,
    bytes: Uint8Array,
    split: number,
    length: number,
    first: number,
    second: number,
  ): number {
    const index = this.#index;
    const words = this.#words;
    const mask = this.#mask;
    const stride = this.#stride;
    const inline = length <= inlineMax;
    const identity = keyGroup | ((inline ? length : IN_HEAP) << 24);
    let word0 = 0;
    let word1 = 0;
    let word2 = 0;
    if (inline) {
      for (let i = 0; i < length && i < 4; i++) word0 |= (bytes[i] as number) << (i << 3);
      for (let i = 4; i < length && i < 8; i++) word1 |= (bytes[i] as number) << ((i - 4) << 3);
      for (let i = 8; i < length; i++) word2 |= (bytes[i] as number) << ((i - 8) << 3);
    }
    for (let at = mixed & mask; ; at = (at + 1) & mask) {
      const id = (index[at * 2 + 1] as number) - 1;
      if (id < 0) return noEntry;
      if (index[at * 2] !== mixed) continue;
      const base = id * stride;
      if (((words[base + META] as number) & IDENTITY) !== identity || words[base + SPLIT] !== split) continue;
      if (inline) {
        if (words[base + KEY] !== word0 || words[base + KEY + 1] !== word1 || words[base + KEY + 2] !== word2) continue;
      } else if (!this.#sameInHeap(base, bytes, length)) {
        continue;
      }
      if (this.doublesPerEntry > 0 && this.#doubles[(base + HEADER_WORDS) >> 1] !== first) continue;
      if (this.doublesPerEntry > 1 && this.#doubles[((base + HEADER_WORDS) >> 1) + 1] !== second) continue;
      return id;
    }
  }

  /** Adds an entry that `find` did not find; it is live and dirty. @returns its id. */
  insert(
    mixed: number,
    keyGroup: number,
    hash: number,
    bytes: Uint8Array,
    split: number,
    length: number,
    first: number,
    second: number,
  ): number {
    assert(!Number.isNaN(first) && !Number.isNaN(second), 'NaN cannot be part of an identity');
    if ((this.#occupied + 1) * 2 > this.#mask) this.#growIndex();
    const id = this.#takeId();
    const words = this.#words;
    const base = id * this.#stride;
    const inline = length <= inlineMax;
    // A freed record may still stand in the dirty list: then it must not be listed twice.
    const listed = (words[base + META] as number) & LISTED;
    words[base + HASH] = hash;
    words[base + META] = keyGroup | listed | ((inline ? length : IN_HEAP) << 24);
    words[base + KEY] = 0;
    words[base + KEY + 1] = 0;
    words[base + KEY + 2] = 0;
    if (inline) {
      const start = (base + KEY) * 4;
      for (let i = 0; i < length; i++) this.#recordBytes[start + i] = bytes[i] as number;
    } else {
      words[base + KEY_OFFSET] = this.#heap.add(bytes, 0, length);
      words[base + KEY_LENGTH] = length;
    }
    words[base + SPLIT] = split;
    words[base + BORN] = this.#generations.current;
    words[base + STAMP] = this.#generations.current;
    if (this.doublesPerEntry > 0) this.#doubles[(base + HEADER_WORDS) >> 1] = first;
    if (this.doublesPerEntry > 1) this.#doubles[((base + HEADER_WORDS) >> 1) + 1] = second;
    if (listed === 0 && this.#generations.current > 0) this.#list(id, base);
    this.#keyBytes += length;
    this.#live++;
    this.#occupied++;
    this.#link(mixed, id);
    return id;
  }

  /** Marks an entry dirty; call it before each change. */
  touch(id: number): void {
    const base = id * this.#stride;
    if (this.#words[base + STAMP] === this.#generations.current) return;
    this.#words[base + STAMP] = this.#generations.current;
    if (((this.#words[base + META] as number) & LISTED) === 0) this.#list(id, base);
  }

  isRemoved(id: number): boolean {
    return ((this.#words[id * this.#stride + META] as number) & REMOVED) !== 0;
  }

  /** Of ids below `limit`: neither free nor a tombstone. */
  isLive(id: number): boolean {
    return ((this.#words[id * this.#stride + META] as number) & (REMOVED | FREE)) === 0;
  }

  /** Makes a tombstone an entry again. */
  revive(id: number): void {
    this.#words[id * this.#stride + META] = (this.#words[id * this.#stride + META] as number) & ~REMOVED;
    this.#live++;
    this.touch(id);
  }

  /** Removes a live entry: it becomes a tombstone if a segment may hold it, otherwise nothing remains. */
  remove(id: number): void {
    const base = id * this.#stride;
    this.#live--;
    if ((this.#words[base + BORN] as number) > this.#generations.persisted) {
      this.#release(id);
      return;
    }
    this.#words[base + META] = (this.#words[base + META] as number) | REMOVED;
    this.touch(id);
  }

  /** Forgets what is saved: its dirty marks, and tombstones that are needed no more. Costs time per dirty entry. */
  settle(): void {
    const { completed, persisted } = this.#generations;
    let kept = 0;
    for (let i = 0; i < this.#dirtyCount; i++) {
      const id = this.#dirty[i] as number;
      const base = id * this.#stride;
      const meta = this.#words[base + META] as number;
      const saved = (this.#words[base + STAMP] as number) <= completed;
      const removed = (meta & REMOVED) !== 0;
      const needless = removed && (this.#words[base + BORN] as number) > persisted;
      if ((meta & FREE) === 0 && !saved && !needless) {
        this.#dirty[kept++] = id;
        continue;
      }
      if ((meta & FREE) === 0 && removed) this.#release(id);
      this.#words[base + META] = (this.#words[base + META] as number) & ~LISTED;
    }
    this.#dirtyCount = kept;
  }

  /** Ids of all dirty entries, tombstones included; call `settle` first. */
  dirtyIds(): Int32Array {
    return this.#dirty.slice(0, this.#dirtyCount);
  }

  /** Ids of all entries that are not tombstones. */
  liveIds(): Int32Array {
    const ids = new Int32Array(this.#live);
    let count = 0;
    for (let id = 0; id < this.#limit; id++) if (this.isLive(id)) ids[count++] = id;
    return ids;
  }

  keyGroupOf(id: number): number {
    return (this.#words[id * this.#stride + META] as number) & 0xffff;
  }

  hashOf(id: number): number {
    return this.#words[id * this.#stride + HASH] as number;
  }

  /** `which` < doublesPerEntry. */
  doubleOf(id: number, which: number): number {
    return this.#doubles[((id * this.#stride + HEADER_WORDS) >> 1) + which] as number;
  }

  locate(id: number, location: KeyLocation): void {
    const base = id * this.#stride;
    const inlineLength = (this.#words[base + META] as number) >>> 24;
    const inHeap = inlineLength === IN_HEAP;
    location.bytes = inHeap ? this.#heap.bytes : this.#recordBytes;
    location.start = inHeap ? (this.#words[base + KEY_OFFSET] as number) : (base + KEY) * 4;
    location.split = location.start + (this.#words[base + SPLIT] as number);
    location.end = location.start + (inHeap ? (this.#words[base + KEY_LENGTH] as number) : inlineLength);
  }

  hasSub(id: number): boolean {
    const base = id * this.#stride;
    const inlineLength = (this.#words[base + META] as number) >>> 24;
    const length = inlineLength === IN_HEAP ? (this.#words[base + KEY_LENGTH] as number) : inlineLength;
    return length > (this.#words[base + SPLIT] as number);
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

  #sameInHeap(base: number, bytes: Uint8Array, length: number): boolean {
    if (this.#words[base + KEY_LENGTH] !== length) return false;
    const heap = this.#heap.bytes;
    const offset = this.#words[base + KEY_OFFSET] as number;
    for (let i = 0; i < length; i++) if (heap[offset + i] !== bytes[i]) return false;
    return true;
  }

  #list(id: number, base: number): void {
    if (this.#dirtyCount === this.#dirty.length) this.#dirty = grownInt32(this.#dirty, this.#dirty.length * 2);
    this.#dirty[this.#dirtyCount++] = id;
    this.#words[base + META] = (this.#words[base + META] as number) | LISTED;
  }

  #takeId(): number {
    const free = this.#firstFree;
    if (free !== noEntry) {
      this.#firstFree = (this.#words[free * this.#stride + KEY] as number) - 1;
      return free;
    }
    if (this.#limit === this.#capacity) {
      this.#capacity *= 2;
      this.#words = grownInt32(this.#words, this.#capacity * this.#stride);
      this.#doubles = new Float64Array(this.#words.buffer as SharedArrayBuffer);
      this.#recordBytes = new Uint8Array(this.#words.buffer as SharedArrayBuffer);
    }
    return this.#limit++;
  }

  #release(id: number): void {
    this.#unlink(id);
    const at = this.#scratch;
    this.locate(id, at);
    const length = at.end - at.start;
    this.#keyBytes -= length;
    const base = id * this.#stride;
    if (length > inlineMax) this.#heap.free(length);
    const listed = (this.#words[base + META] as number) & LISTED;
    this.#words[base + META] = FREE | listed;
    this.#words[base + KEY] = this.#firstFree + 1;
    this.#firstFree = id;
    this.#occupied--;
    if (this.#heap.isWasteful) this.#compactHeap();
  }

  #compactHeap(): void {
    const heap = this.#heap.compacted();
    for (let id = 0; id < this.#limit; id++) {
      const base = id * this.#stride;
      const meta = this.#words[base + META] as number;
      if ((meta & FREE) !== 0 || meta >>> 24 !== IN_HEAP) continue;
      const offset = this.#words[base + KEY_OFFSET] as number;
      this.#words[base + KEY_OFFSET] = heap.add(this.#heap.bytes, offset, this.#words[base + KEY_LENGTH] as number);
    }
    this.#heap = heap;
  }

  #link(mixed: number, id: number): void {
    let at = mixed & this.#mask;
    while (this.#index[at * 2 + 1] !== 0) at = (at + 1) & this.#mask;
    this.#index[at * 2] = mixed;
    this.#index[at * 2 + 1] = id + 1;
  }

  #growIndex(): void {
    const old = this.#index;
    this.#index = sharedInt32(old.length * 2);
    this.#mask = old.length - 1;
    for (let i = 0; i < old.length; i += 2) {
      if (old[i + 1] !== 0) this.#link(old[i] as number, (old[i + 1] as number) - 1);
    }
  }

  /** Takes an entry out of the index and moves later ones of its run back, so that no gap hides them. */
  #unlink(id: number): void {
    const at = this.#scratch;
    this.locate(id, at);
    const first = this.doublesPerEntry > 0 ? this.doubleOf(id, 0) : 0;
    const second = this.doublesPerEntry > 1 ? this.doubleOf(id, 1) : 0;
    const mixed = this.mix(this.hashOf(id), at.bytes, at.split, at.end, first, second);
    const index = this.#index;
    const mask = this.#mask;
    let hole = mixed & mask;
    while (index[hole * 2 + 1] !== id + 1) hole = (hole + 1) & mask;
    for (let next = (hole + 1) & mask; index[next * 2 + 1] !== 0; next = (next + 1) & mask) {
      const home = (index[next * 2] as number) & mask;
      // Its home lies cyclically within (hole, next]: it can still be found where it is.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      index[hole * 2] = index[next * 2] as number;
      index[hole * 2 + 1] = index[next * 2 + 1] as number;
      hole = next;
    }
    index[hole * 2] = 0;
    index[hole * 2 + 1] = 0;
  }
}

/** An empty location, to be filled in by `locate`. */
export function newLocation(): KeyLocation {
  return { bytes: new Uint8Array(0), start: 0, split: 0, end: 0 };
}
