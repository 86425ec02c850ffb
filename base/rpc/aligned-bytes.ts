const SLAB_BYTES = 16 * 1024;
const SLAB_SHARE_BYTES_MAX = 2 * 1024;
const RECYCLED_BYTES_MIN = SLAB_BYTES;
const FREE_BYTES_MAX = 8 * 1024 * 1024;

/** Uninitialised memory of its own, starting at byte 0 of its ArrayBuffer. */
export function ownBytes(capacity: number, length = capacity): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(capacity).buffer, 0, length);
}

/** A copy in memory of its own that starts 8-aligned in its ArrayBuffer. */
export function alignedCopy(bytes: Uint8Array): Uint8Array {
  const copy = ownBytes(bytes.length);
  copy.set(bytes);
  return copy;
}

/**
 * Hands out uninitialised memory for received frames, every piece 8-aligned in its ArrayBuffer so that Arrow batches
 * inside are read in place. Small pieces share a slab (one allocation for many frames); none overlaps another.
 */
export class AlignedBytes {
  #slab = new ArrayBuffer(0);
  #used = 0;
  readonly #free: ArrayBuffer[] = [];
  #freeBytes = 0;

  allocate(length: number): Uint8Array {
    if (length > RECYCLED_BYTES_MIN) return this.#recycled(length) ?? ownBytes(Math.ceil(length / 4096) * 4096, length);
    if (length > SLAB_SHARE_BYTES_MAX) return ownBytes(length);
    if (this.#used + length > this.#slab.byteLength) {
      this.#slab = new ArrayBuffer(SLAB_BYTES);
      this.#used = 0;
    }
    const piece = new Uint8Array(this.#slab, this.#used, length);
    this.#used += (length + 7) & ~7;
    return piece;
  }

  /** Takes the memory behind `bytes` back, when it was large enough to have memory of its own. */
  recycle(bytes: Uint8Array): void {
    const { buffer } = bytes;
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength <= RECYCLED_BYTES_MIN) return;
    if (this.#freeBytes + buffer.byteLength > FREE_BYTES_MAX) return;
    this.#free.push(buffer);
    this.#freeBytes += buffer.byteLength;
  }

  /** Fresh memory costs page faults and, being outside the heap, full collections: more than the copy into it. */
  #recycled(length: number): Uint8Array | undefined {
    const buffer = this.#free.pop();
    if (buffer === undefined) return undefined;
    this.#freeBytes -= buffer.byteLength;
    // One that does not fit is let go: sizes change rarely.
    return buffer.byteLength >= length ? new Uint8Array(buffer, 0, length) : undefined;
  }
}
