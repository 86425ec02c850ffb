import { ChangeLists } from './change-lists.js';
import { FreeRecords } from './free-records.js';
import { type FrozenRecords, SavedRecords } from './frozen-records.js';
import type { Generations } from './generations.js';
import { GrowingBuffer } from './growing-buffer.js';
import {
  depthIn,
  FREE,
  META,
  OLD,
  QUEUED,
  REMOVED,
  type RecordLayout,
  STAMP_MASK,
  STAMP_SHIFT,
  stampBits,
  UNSTAMPED,
} from './record-layout.js';

/** A full snapshot holds all records there are: none is older than this. */
const fullSpan = 6144;
/** Each record is looked at once in so many generations, and given a new stamp when its own is older than that. */
const renewEvery = 1024;
/** When nothing has been completed for so many generations, what is saved can no longer be told from what is not. */
const completedAgeMax = 4096;
/** In words. */
const keptLogMin = 64 * 1024;

/**
 * The records of one table, by id: memory, which are free, and when each changed. Ids stay what they are until they are
 * released; 0 is nobody's.
 *
 * The one rule: `touch` comes before any change of a record. It stamps it with the current generation, names it in the list of
 * those that changed, and saves what it held for a snapshot that is being written (`frozen-records.ts`).
 */
export class Records {
  layout: RecordLayout;
  /** Look again after `take` and `relayout`. */
  words: Int32Array;
  bytes: Uint8Array;
  doubles: Float64Array;
  /** Ids that were ever in use are below. */
  limit = 1;
  readonly #generations: Generations;
  #memory = new GrowingBuffer();
  readonly #free = new FreeRecords();
  readonly #lists = new ChangeLists();
  /** For snapshots whose writers have not copied all they need. */
  #saving: SavedRecords[] = [];
  #log: Int32Array = new Int32Array(0);
  #renewed = 0;
  #renewNext = 1;

  constructor(generations: Generations, layout: RecordLayout) {
    this.#generations = generations;
    this.layout = layout;
    this.words = new Int32Array(0);
    this.bytes = new Uint8Array(0);
    this.doubles = new Float64Array(0);
    this.relayout(layout);
  }

  /** Bytes of all this holds. */
  get byteLength(): number {
    return this.#memory.byteLength + this.#lists.byteLength + this.#log.byteLength;
  }

  /** Of these, in records, in use or not. */
  get recordBytes(): number {
    return this.#memory.byteLength;
  }

  /** At most so many changes are not saved. */
  get changes(): number {
    return this.#lists.count;
  }

  /** Before each change of a record. @returns whether it is the first one in this generation. */
  touch(id: number): boolean {
    const at = id * this.layout.stride + META;
    const meta = this.words[at] as number;
    if (meta >>> STAMP_SHIFT === this.#generations.stamp) return false;
    if (this.#saving.length > 0) this.#save(id);
    this.words[at] = (meta & UNSTAMPED) | stampBits(this.#generations.stamp, this.#depthNow(meta));
    this.#lists.add(id, this.limit);
    return true;
  }

  /** A record for a new entry: touched, its meta word still to be written (`newMeta`). */
  take(): number {
    const id = this.#free.take(this.words, this.layout);
    if (id !== 0) {
      this.touch(id);
      return id;
    }
    const next = this.limit;
    this.#reserve(next + 1);
    this.limit = next + 1;
    if (!this.#generations.listing) this.#lists.addAll();
    this.#lists.add(next, this.limit);
    return next;
  }

  /**
   * A record for an entry as it lies beneath; its meta word is still to be written (`settledMeta`). Not one that a writer may
   * be about to copy: what it holds belongs to no snapshot.
   */
  takeSettled(): number {
    const id = this.isSaving ? 0 : this.#free.takeSettled(this.words, this.layout);
    if (id !== 0) return id;
    const next = this.limit;
    this.#reserve(next + 1);
    this.limit = next + 1;
    return next;
  }

  /** Meta word of an entry that was born and changed long ago. */
  settledMeta(id: number, identity: number): number {
    const queued = (this.words[id * this.layout.stride + META] as number) & QUEUED;
    return identity | queued | stampBits(this.#generations.settled & STAMP_MASK, OLD);
  }

  /** Meta word of an entry born now. */
  newMeta(id: number, identity: number): number {
    const queued = (this.words[id * this.layout.stride + META] as number) & QUEUED;
    return identity | queued | stampBits(this.#generations.stamp, 0);
  }

  /** Gives a record back: a touched one, or, when nothing is being saved, one that can be forgotten. */
  release(id: number): void {
    const base = id * this.layout.stride;
    const meta = this.words[base + META] as number;
    this.words[base + META] = (meta & ~UNSTAMPED) | (meta & QUEUED) | FREE;
    this.#free.give(id, this.isSettled(id), this.words, this.layout);
  }

  /** Whether no segment that counts, or may still count, holds the entry. */
  isUnknown(id: number): boolean {
    const meta = this.words[id * this.layout.stride + META] as number;
    const depth = depthIn(meta);
    return depth !== OLD && this.#generationOf(meta) - depth > this.#generations.persisted;
  }

  /** Whether the entry's last change is saved, and known to what lies beneath. */
  isSettled(id: number): boolean {
    return this.#generationOf(this.words[id * this.layout.stride + META] as number) <= this.#generations.settled;
  }

  /** Whether an entry lies beneath as it is here. */
  isForgettable(id: number): boolean {
    return this.isLive(id) && this.isSettled(id);
  }

  /** Whether a writer may still copy records as they were at a barrier. */
  get isSaving(): boolean {
    if (this.#saving.length > 0) this.#saving = this.#saving.filter((saved) => !saved.isGathered);
    return this.#saving.length > 0;
  }

  isFree(id: number): boolean {
    return ((this.words[id * this.layout.stride + META] as number) & FREE) !== 0;
  }

  isLive(id: number): boolean {
    return ((this.words[id * this.layout.stride + META] as number) & (REMOVED | FREE)) === 0;
  }

  /**
   * At a barrier, before the generation is closed: what a writer needs. Time does not depend on how much changed.
   * undefined: nothing to write.
   */
  freeze(full: boolean, keys: Uint8Array, values: Uint8Array | undefined): FrozenRecords | undefined {
    const { current, completed, persisted, stamp } = this.#generations;
    this.#renew();
    this.#lists.close(current, this.limit);
    const lists = this.#lists.since(completed);
    const all = full || lists.some((list) => list.all);
    const count = all ? this.limit - 1 : lists.reduce((sum, list) => sum + list.count, 0);
    if (!this.#generations.isWriting) this.#saving = [];
    if (count === 0) return undefined;
    const frozen: FrozenRecords = {
      layout: this.layout,
      words: this.words,
      limit: this.limit,
      keys,
      values,
      full,
      stamp,
      span: full ? fullSpan : Math.min(fullSpan, current - completed),
      unknownSpan: current - persisted,
      lists: all ? undefined : lists,
      log: this.#logFor(count),
    };
    this.#saving.push(new SavedRecords(frozen));
    return frozen;
  }

  /** Forgets lists of what is saved. */
  forget(): void {
    this.#free.settle(this.#generations.settled, this.#generations.current, this.words, this.layout);
    this.#lists.forget(this.#generations.completed, !this.#generations.isWriting);
  }

  /** All there is has been restored: it is saved. */
  restored(): void {
    this.#lists.close(0, this.limit);
    this.forget();
  }

  /** Moves all records into another layout with at least the same parts. Ids stay; what is being written goes on with the old ones. */
  relayout(layout: RecordLayout): void {
    const { layout: old, words, doubles } = this;
    this.layout = layout;
    this.#memory = new GrowingBuffer();
    this.words = new Int32Array(0);
    this.#saving = [];
    this.#reserve(this.limit);
    if (this.limit === 1) {
      this.words[META] = FREE;
      return;
    }
    for (let id = 0; id < this.limit; id++) {
      const from = id * old.stride;
      const to = id * layout.stride;
      for (let i = 0; i < old.doublesAt; i++) this.words[to + i] = words[from + i] as number;
      for (let i = 0; i < old.doubles; i++) {
        this.doubles[((to + layout.doublesAt) >> 1) + i] = doubles[((from + old.doublesAt) >> 1) + i] as number;
      }
      for (let i = 0; i < old.stride - old.payloadAt && layout.payloadAt + i < layout.stride; i++) {
        this.words[to + layout.payloadAt + i] = words[from + old.payloadAt + i] as number;
      }
    }
  }

  #save(id: number): void {
    const base = id * this.layout.stride;
    for (let i = this.#saving.length - 1; i >= 0; i--) {
      if (!(this.#saving[i] as SavedRecords).save(id, this.words, base)) this.#saving.splice(i, 1);
    }
  }

  #generationOf(meta: number): number {
    return this.#generations.current - this.#generations.age(meta >>> STAMP_SHIFT);
  }

  /** How long before now an entry was born. */
  #depthNow(meta: number): number {
    const depth = depthIn(meta);
    const generation = this.#generationOf(meta);
    if (depth === OLD || generation <= this.#generations.completed) return OLD;
    return Math.min(OLD, depth + this.#generations.current - generation);
  }

  #reserve(records: number): void {
    const words = records * this.layout.stride;
    if (words <= this.words.length) return;
    this.#memory.reserve(words * 4);
    const { buffer, byteLength } = this.#memory;
    this.words = new Int32Array(buffer, 0, byteLength >> 2);
    this.bytes = new Uint8Array(buffer, 0, byteLength);
    this.doubles = new Float64Array(buffer, 0, byteLength >> 3);
  }

  /** Kept for the next time, unless it is large: then it is rare, and hardly ever filled. */
  #logFor(records: number): Int32Array {
    const words = SavedRecords.wordsFor(records, this.layout);
    if (this.#log.length < words || this.#generations.isWriting) {
      const log = new Int32Array(new SharedArrayBuffer(words * 4));
      if (words * 8 <= Math.max(keptLogMin, this.words.length)) this.#log = log;
      return log;
    }
    SavedRecords.clear(this.#log);
    return this.#log;
  }

  /**
   * Gives a slice of the records new stamps where theirs are old, before they are a full turn old and look young. What is saved
   * stays so; the rest is said to have changed just now, and is written once more than it had to.
   */
  #renew(): void {
    const generations = this.#generations;
    if (generations.isWriting || this.limit === 1) return;
    const { current, completed, settled } = generations;
    const passed = Math.min(renewEvery, current - this.#renewed);
    this.#renewed = current;
    const tellable = current - settled < completedAgeMax;
    for (let left = Math.ceil((this.limit * passed) / renewEvery); left > 0; left--) {
      if (this.#renewNext >= this.limit) this.#renewNext = 1;
      const at = this.#renewNext++ * this.layout.stride + META;
      const meta = this.words[at] as number;
      if (generations.age(meta >>> STAMP_SHIFT) <= renewEvery) continue;
      const generation = this.#generationOf(meta);
      const renewed = !tellable || generation > completed ? current : generation > settled ? completed : settled;
      this.words[at] = (meta & UNSTAMPED) | stampBits(renewed & STAMP_MASK, OLD);
      if (renewed === current) this.#lists.addAll();
    }
  }
}
