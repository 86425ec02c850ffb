const SLAB_BYTES = 16 * 1024;
const SLAB_SHARE_BYTES_MAX = 2 * 1024;

/** Uninitialised memory of its own, starting at byte 0 of its ArrayBuffer. */
export function ownBytes(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer, 0, length);
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

  allocate(length: number): Uint8Array {
    if (length > SLAB_SHARE_BYTES_MAX) return ownBytes(length);
    if (this.#used + length > this.#slab.byteLength) {
      this.#slab = new ArrayBuffer(SLAB_BYTES);
      this.#used = 0;
    }
    const piece = new Uint8Array(this.#slab, this.#used, length);
    this.#used += (length + 7) & ~7;
    return piece;
  }
}
