import { MillraceError } from '../base/index.js';

const bytesMin = 1024;
/** Offsets are kept in 32-bit words. */
const bytesMax = 2 ** 31 - 1;

/**
 * Byte strings one after the other in one growing buffer. Freeing only counts; when most is free, the owner, who knows
 * where its strings are, moves them to a new heap (`isWasteful`, `compacted`).
 */
export class ByteHeap {
  #bytes = new Uint8Array(new SharedArrayBuffer(bytesMin));
  #used = 0;
  #freed = 0;

  /** Read again after each `add`: the heap may have grown. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get capacityBytes(): number {
    return this.#bytes.byteLength;
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
    return this.#freed > 64 * 1024 && this.#freed > this.#used / 2;
  }

  /** An empty heap with room for what is alive here. */
  compacted(): ByteHeap {
    const heap = new ByteHeap();
    if (this.#used - this.#freed > bytesMin) heap.#grow(this.#used - this.#freed);
    return heap;
  }

  #grow(needed: number): void {
    if (needed > bytesMax) {
      throw new MillraceError('unavailable', 'STATE_FULL', 'a state table has more than 2 GiB of keys or values');
    }
    const grown = new Uint8Array(
      new SharedArrayBuffer(Math.min(bytesMax, Math.max(needed, this.#bytes.byteLength * 2))),
    );
    grown.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = grown;
  }
}
