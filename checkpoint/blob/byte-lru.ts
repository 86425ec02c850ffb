/** Byte arrays by key, at most `bytesMax` in all; the longest unused go first. Arrays are held, not copied. */
export class ByteLru {
  readonly #entries = new Map<string, Uint8Array>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): Uint8Array | undefined {
    const bytes = this.#entries.get(key);
    if (bytes === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, bytes);
    return bytes;
  }

  /** One array takes at most an eighth of the room, so that one large object does not empty it of all others. */
  fits(bytes: number): boolean {
    return bytes <= this.#bytesMax / 8;
  }

  /** Does nothing with what does not fit. */
  set(key: string, bytes: Uint8Array): void {
    this.delete(key);
    if (!this.fits(bytes.byteLength)) return;
    this.#entries.set(key, bytes);
    this.#bytes += bytes.byteLength;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#bytesMax) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#bytes -= this.#entries.get(key)?.byteLength ?? 0;
    this.#entries.delete(key);
  }

  /** All keys that begin so. */
  deletePrefix(prefix: string): void {
    for (const key of [...this.#entries.keys()]) if (key.startsWith(prefix)) this.delete(key);
  }
}
