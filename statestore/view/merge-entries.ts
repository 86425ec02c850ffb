import { compareEntries, type EntrySource } from './entry-source.js';

/**
 * Walks several sources as one: in order, of each key what the newest of them says. What a full source leaves out is gone,
 * whatever older ones say of it.
 */
export class EntryMerge<S extends EntrySource = EntrySource> {
  readonly #all: readonly S[];
  /** A binary heap of those that have an entry which was not shown yet. */
  readonly #heap: S[] = [];
  /** Those at the current key: they move on before the next is shown. The first is the newest. */
  readonly #current: S[];
  readonly #full: readonly S[];
  #fullAge = -1;
  #fullKeyGroup = -1;

  constructor(sources: readonly S[]) {
    this.#all = sources;
    this.#full = sources.filter((source) => source.fullRange !== undefined);
    // As if all had shown an entry before their first.
    this.#current = [...sources];
  }

  /** What counts of the current key. */
  get entry(): S {
    return this.#current[0] as S;
  }

  /** Whether the current key has no value: removed, or left out by a full source that is newer than all that have it. */
  get isRemoved(): boolean {
    const { entry } = this;
    return entry.tombstone || entry.age < this.#oldestThatCounts(entry.keyGroup);
  }

  /** To the next key, removed ones included; false at the end. A promise only where bytes must be waited for. */
  next(): boolean | Promise<boolean> {
    let waiting: Promise<void>[] | undefined;
    for (const source of this.#current) {
      const more = source.advance();
      if (typeof more !== 'boolean') {
        // All at a time: the first entries of many remote segments cost one round trip.
        waiting ??= [];
        waiting.push(this.#pushWhenThere(source, more));
      } else if (more) this.#push(source);
    }
    this.#current.length = 0;
    return waiting === undefined ? this.#take() : Promise.all(waiting).then(() => this.#take());
  }

  close(): void {
    for (const source of this.#all) source.close();
  }

  async #pushWhenThere(source: S, more: Promise<boolean>): Promise<void> {
    if (await more) this.#push(source);
  }

  #take(): boolean {
    const newest = this.#pop();
    if (newest === undefined) return false;
    this.#current.push(newest);
    for (let top = this.#heap[0]; top !== undefined && compareEntries(top, newest) === 0; top = this.#heap[0]) {
      this.#current.push(this.#pop() as S);
    }
    return true;
  }

  #oldestThatCounts(keyGroup: number): number {
    if (keyGroup !== this.#fullKeyGroup) {
      this.#fullKeyGroup = keyGroup;
      this.#fullAge = -1;
      for (const { age, fullRange } of this.#full) {
        const covers = fullRange !== undefined && fullRange.first <= keyGroup && keyGroup <= fullRange.last;
        if (covers && age > this.#fullAge) this.#fullAge = age;
      }
    }
    return this.#fullAge;
  }

  #push(source: S): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!precedes(source, heap[above] as S)) break;
      heap[at] = heap[above] as S;
      at = above;
    }
    heap[at] = source;
  }

  #pop(): S | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let below = at * 2 + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && precedes(heap[below + 1] as S, heap[below] as S)) below++;
      if (precedes(last, heap[below] as S)) break;
      heap[at] = heap[below] as S;
      at = below;
    }
    heap[at] = last;
    return top;
  }
}

/** Smaller, or the same and newer. */
function precedes(a: EntrySource, b: EntrySource): boolean {
  const order = compareEntries(a, b);
  return order < 0 || (order === 0 && a.age > b.age);
}
