import { KEY, type RecordLayout } from './record-layout.js';

/** Records chained by their key words. */
class Chain {
  first = 0;
  last = 0;

  push(id: number, words: Int32Array, { stride }: RecordLayout): void {
    words[id * stride + KEY] = this.first;
    if (this.first === 0) this.last = id;
    this.first = id;
  }

  pop(words: Int32Array, { stride }: RecordLayout): number {
    const id = this.first;
    if (id !== 0) this.first = words[id * stride + KEY] as number;
    return id;
  }

  /** Takes all of another chain. */
  append(other: Chain, words: Int32Array, { stride }: RecordLayout): void {
    if (other.first === 0) return;
    if (this.first === 0) this.first = other.first;
    else words[this.last * stride + KEY] = other.first;
    this.last = other.last;
    other.first = 0;
  }
}

/**
 * The records of a table that are free. One that was given back in a generation that is not settled yet stands in a list of changes,
 * which it must not do twice: such a record is good for an entry that changes, but not for one that lies beneath.
 */
export class FreeRecords {
  readonly #settled = new Chain();
  /** Given back up to `#until`. */
  readonly #waiting = new Chain();
  #until = 0;
  /** Given back later. */
  readonly #recent = new Chain();

  /** @returns 0 when there is none. */
  take(words: Int32Array, layout: RecordLayout): number {
    return this.#recent.pop(words, layout) || this.takeSettled(words, layout) || this.#waiting.pop(words, layout);
  }

  /** One whose last change is settled, or 0. */
  takeSettled(words: Int32Array, layout: RecordLayout): number {
    return this.#settled.pop(words, layout);
  }

  give(id: number, isSettled: boolean, words: Int32Array, layout: RecordLayout): void {
    (isSettled ? this.#settled : this.#recent).push(id, words, layout);
  }

  /** Generations up to `settled` are; `current` is being changed. */
  settle(settled: number, current: number, words: Int32Array, layout: RecordLayout): void {
    if (this.#until > settled) return;
    this.#settled.append(this.#waiting, words, layout);
    this.#waiting.append(this.#recent, words, layout);
    this.#until = current;
  }
}
