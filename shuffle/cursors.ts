import type { SharedMemory, SharedRegion } from '../base/index.js';
import { layoutUnknown } from './shuffle-errors.js';

/**
 * How far each consumer of a writer's partitions is, and who sleeps: the only memory a consumer writes to.
 *
 *     words: magic | version | cursors | partitions | writer's doorbell | attention | any release wakes the writer (0/1)
 *     from byte 64, per partition: lost (0/1) | degraded (0/1)
 *     then per (subpartition, consumer), 64 bytes each:
 *         long [generation | seq low 32 bits] | reader's doorbell | seq that the writer waits for, low 32 bits (0: none)
 *         | seq that the reader wants to be rung for, low 32 bits
 *
 * Attaching raises the generation, so that a replaced consumer's late release changes nothing: its compare-and-swap
 * fails. A doorbell word is 0 while its owner is awake. A writer that sleeps says how far a consumer must come before
 * it is worth a ring: one ring a buffer cost more than moving the buffer.
 */
export class Cursors {
  readonly region: SharedRegion;
  readonly #firstWord: number;

  private constructor(region: SharedRegion) {
    const { words } = region;
    if (words[0] !== MAGIC || words[1] !== VERSION) throw layoutUnknown(region.name, 'it does not hold cursors');
    this.region = region;
    this.#firstWord = cursorsByte(words[3] as number) / 4;
  }

  static async create(memory: SharedMemory, number: number, cursors: number, partitions: number): Promise<Cursors> {
    const region = await memory.create(cursorsRegion(number), cursorsByte(partitions) + cursors * CURSOR_BYTES);
    region.words.set([0, VERSION, cursors, partitions]);
    Atomics.store(region.words, 0, MAGIC);
    return new Cursors(region);
  }

  static async open(memory: SharedMemory, number: number): Promise<Cursors> {
    return new Cursors(await memory.open(cursorsRegion(number), 'write'));
  }

  /** Low 32 bits of the next seq that this consumer did not consume. */
  consumedLow(cursor: number): number {
    return Atomics.load(this.region.words, this.#word(cursor));
  }

  /** Raised by every attachment. */
  generation(cursor: number): number {
    return Atomics.load(this.region.words, this.#word(cursor) + 1) >>> 0;
  }

  /** Points the cursor at `seq` under a new generation, which it returns. */
  attach(cursor: number, seq: number): number {
    const { longs } = this.region;
    const index = this.#word(cursor) / 2;
    for (;;) {
      const old = Atomics.load(longs, index);
      const generation = (Number(old >> 32n) + 1) >>> 0;
      if (Atomics.compareExchange(longs, index, old, cursorWord(generation, seq)) === old) return generation;
    }
  }

  /** Moves the cursor from one word to a later one (`cursorWord`); false when a later attachment owns it. */
  advance(cursor: number, expected: bigint, next: bigint): boolean {
    return Atomics.compareExchange(this.region.longs, this.#word(cursor) / 2, expected, next) === expected;
  }

  /** The reader is to be rung once all below `seq` are published. */
  sleep(cursor: number, doorbell: number, seq: number): void {
    const word = this.#word(cursor);
    Atomics.store(this.region.words, word + 4, seq | 0);
    Atomics.store(this.region.words, word + 2, doorbell);
  }

  /** The sleeping reader's doorbell, once; 0 when it is awake. */
  wake(cursor: number): number {
    const { words } = this.region;
    const word = this.#word(cursor) + 2;
    return Atomics.load(words, word) === 0 ? 0 : Atomics.exchange(words, word, 0);
  }

  /** As `wake`, unless the reader wants more than all below `next`. */
  wakeAt(cursor: number, next: number): number {
    const { words } = this.region;
    const word = this.#word(cursor) + 2;
    if (Atomics.load(words, word) === 0 || ((next - Atomics.load(words, word + 2)) | 0) < 0) return 0;
    return Atomics.exchange(words, word, 0);
  }

  /** The writer sleeps until a consumer fulfils a wish or, with `anyRelease`, until any buffer is released. */
  sleepWriter(doorbell: number, anyRelease: boolean): void {
    Atomics.store(this.region.words, 6, anyRelease ? 1 : 0);
    Atomics.store(this.region.words, 4, doorbell);
  }

  /** The sleeping writer's doorbell, once; 0 when it is awake. */
  wakeWriter(): number {
    const { words } = this.region;
    return Atomics.load(words, 4) === 0 ? 0 : Atomics.exchange(words, 4, 0);
  }

  /**
   * As `wakeWriter`, but only when this consumer, having consumed all below `seq`, is the last of its subpartition's
   * (`consumers` cursors from `first`) that the writer waits for.
   */
  wakeWriterAt(cursor: number, seq: number, first: number, consumers: number): number {
    const { words } = this.region;
    if (Atomics.load(words, 4) === 0) return 0;
    if (Atomics.load(words, 6) !== 0) return this.wakeWriter();
    const word = this.#word(cursor) + 3;
    const wished = Atomics.load(words, word);
    if (wished === 0 || ((seq - wished) | 0) < 0) return 0;
    // It may be another wish by now.
    if (Atomics.compareExchange(words, word, wished, 0) !== wished) return 0;
    for (let other = first; other < first + consumers; other++) {
      // One who got there before the writer's doorbell was armed left the wish standing: where it is counts.
      const theirs = Atomics.load(words, this.#word(other) + 3);
      if (theirs !== 0 && ((this.consumedLow(other) - theirs) | 0) < 0) return 0;
    }
    return this.wakeWriter();
  }

  /** The writer, when asleep, is to be woken once this consumer, too, has consumed all below `seq`. */
  wish(cursor: number, seq: number): void {
    Atomics.store(this.region.words, this.#word(cursor) + 3, seq | 0 || 1);
  }

  forgetWish(cursor: number): void {
    Atomics.store(this.region.words, this.#word(cursor) + 3, 0);
  }

  /** Leaves word for the master, who looks when his doorbell rings. */
  callAttention(bit: number): void {
    Atomics.or(this.region.words, 5, bit);
  }

  takeAttention(): number {
    return Atomics.exchange(this.region.words, 5, 0);
  }

  flagLost(partition: number): void {
    Atomics.store(this.region.words, 16 + partition * 2, 1);
    this.callAttention(ATTENTION_LOST);
  }

  takeLost(partition: number): boolean {
    return Atomics.exchange(this.region.words, 16 + partition * 2, 0) !== 0;
  }

  flagDegraded(partition: number): void {
    Atomics.store(this.region.words, 17 + partition * 2, 1);
    this.callAttention(ATTENTION_DEGRADED);
  }

  takeDegraded(partition: number): boolean {
    return Atomics.exchange(this.region.words, 17 + partition * 2, 0) !== 0;
  }

  #word(cursor: number): number {
    return this.#firstWord + cursor * (CURSOR_BYTES / 4);
  }
}

export function cursorsRegion(number: number): string {
  return `shuffle-cursors-${number}`;
}

/** Bits of the attention word. */
export const ATTENTION_PRESSURE = 1;
export const ATTENTION_DEGRADED = 2;
export const ATTENTION_LOST = 4;
/** Kept data is to be moved to disk. */
export const ATTENTION_SPILL = 8;
/** Every partition has its END. */
export const ATTENTION_FINISHED = 16;

/** What stands in a cursor: compared and swapped as a whole. */
export function cursorWord(generation: number, seq: number): bigint {
  return (BigInt(generation) << 32n) | BigInt(seq >>> 0);
}

function cursorsByte(partitions: number): number {
  return Math.ceil((64 + partitions * 8) / 64) * 64;
}

const CURSOR_BYTES = 64;
const MAGIC = 0x4d524355;
const VERSION = 1;
