import type { Records } from './records.js';

/**
 * Which entries of a table to let go of: a hand goes round over the records; those that were used since it came by last stay for
 * another round (CLOCK). One bit a record says so, in words of its own: records of reads are not written to.
 */
export class SecondChance {
  readonly #records: Records;
  #used = new Int32Array(32);
  #next = 1;

  constructor(records: Records) {
    this.#records = records;
  }

  get byteLength(): number {
    return this.#used.byteLength;
  }

  /** An entry was used. */
  mark(id: number): void {
    const at = id >> 5;
    if (at >= this.#used.length) this.#grow(at + 1);
    this.#used[at] = (this.#used[at] as number) | (1 << (id & 31));
  }

  /** Looks at so many records, at most at each once; `forget` is called for those that go. @returns how many. */
  run(examine: number, forget: (id: number) => void): number {
    const records = this.#records;
    if (records.isSaving) return 0;
    let forgotten = 0;
    for (let left = Math.min(examine, records.limit - 1); left > 0; left--) {
      if (this.#next >= records.limit) this.#next = 1;
      const id = this.#next++;
      if (!records.isForgettable(id)) continue;
      const at = id >> 5;
      const bit = 1 << (id & 31);
      const word = this.#used[at];
      if (word !== undefined && (word & bit) !== 0) {
        this.#used[at] = word & ~bit;
        continue;
      }
      forget(id);
      forgotten++;
    }
    return forgotten;
  }

  #grow(words: number): void {
    const used = new Int32Array(Math.max(words, this.#used.length * 2));
    used.set(this.#used);
    this.#used = used;
  }
}
