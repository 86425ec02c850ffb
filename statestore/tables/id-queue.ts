const idsMin = 64;

/** A queue of ids, in a ring. */
export class IdQueue {
  #ring = new Int32Array(idsMin);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get byteLength(): number {
    return this.#ring.byteLength;
  }

  push(id: number): void {
    if (this.#length === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#length++) & (this.#ring.length - 1)] = id;
  }

  /** The oldest one; there must be one. */
  shift(): number {
    const id = this.#ring[this.#head] as number;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#length--;
    return id;
  }

  #grow(): void {
    const ring = new Int32Array(this.#ring.length * 2);
    ring.set(this.#ring.subarray(this.#head));
    ring.set(this.#ring.subarray(0, this.#head), this.#ring.length - this.#head);
    this.#ring = ring;
    this.#head = 0;
  }
}
