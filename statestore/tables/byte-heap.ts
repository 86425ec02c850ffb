import { MillraceError } from '../../base/index.js';
import { GrowingBuffer } from './growing-buffer.js';

/** Offsets are kept in 32-bit words. */
const bytesMax = 2 ** 31 - 1;
/** Less garbage than this is left alone. */
const garbageMin = 64 * 1024;

/**
 * Byte strings one after the other in one growing buffer. What is freed is not used again: bytes that were added stay as
 * they are, for whoever reads them in another thread. Freeing only counts; when most is free, the owner, who knows where
 * its strings are, moves them to a new heap (`isWasteful`, `compacted`).
 */
export class ByteHeap {
  readonly #memory = new GrowingBuffer();
  #bytes = new Uint8Array(this.#memory.buffer);
  #used = 0;
  #freed = 0;

  /** Read again after each `add`: the heap may have grown. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get capacityBytes(): number {
    return this.#memory.byteLength;
  }

  /** @returns the offset of a copy. @throws MillraceError `STATE_FULL` (unavailable) beyond 2 GiB. */
  add(source: Uint8Array, from: number, length: number): number {
    const offset = this.#used;
    const end = offset + length;
    if (end > this.#bytes.byteLength) this.#grow(end);
    if (length < 64) for (let i = 0; i < length; i++) this.#bytes[offset + i] = source[from + i] as number;
    else this.#bytes.set(source.subarray(from, from + length), offset);
    this.#used = end;
    return offset;
  }

  free(length: number): void {
    this.#freed += length;
  }

  get isWasteful(): boolean {
    return this.#freed > garbageMin && this.#freed > this.#used / 2;
  }

  /** Of what is alive, with the garbage that there is on average. */
  get usedBytes(): number {
    return (this.#used - this.#freed) * 1.5;
  }

  /** An empty heap with room for what is alive here. */
  compacted(): ByteHeap {
    const heap = new ByteHeap();
    heap.#grow(this.#used - this.#freed);
    return heap;
  }

  #grow(bytes: number): void {
    if (bytes > bytesMax) {
      throw new MillraceError('unavailable', 'STATE_FULL', 'a state table has more than 2 GiB of keys or values');
    }
    this.#memory.reserve(bytes);
    this.#bytes = new Uint8Array(this.#memory.buffer, 0, this.#memory.byteLength);
  }
}
