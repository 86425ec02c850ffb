import { entryComparator } from './entry-order.js';
import { EntryTable } from './entry-table.js';
import type { Generations } from './generations.js';
import type { EntryIdentity, KeyedTable } from './keyed-table.js';
import { grownFloat64, grownInt32, sharedFloat64, sharedInt32 } from './shared-arrays.js';
import type { Timer, TimerQueue } from './spi.js';

/**
 * Timers in memory: the set of them is an EntryTable with (time, namespace) in the identity; a binary heap of ids orders
 * them by (time, key group, key bytes, namespace), which is total, so they fire in the same order in every run.
 */
export class MemoryTimerQueue implements TimerQueue, KeyedTable {
  readonly kind = 'timers';
  readonly lanes = 0;
  readonly hasSubKeys = false;
  readonly table: EntryTable;
  readonly #compareKeys: (a: number, b: number) => number;
  /** Ids, a binary heap; beside them their times, so that most comparisons stay in one place; where each id stands. */
  #heap: Int32Array;
  #times: Float64Array;
  #positions: Int32Array;
  #count = 0;

  constructor(generations: Generations) {
    this.table = new EntryTable(generations, 2);
    this.#compareKeys = entryComparator(this.table);
    this.#heap = sharedInt32(this.table.capacity);
    this.#times = sharedFloat64(this.table.capacity);
    this.#positions = sharedInt32(this.table.capacity);
  }

  get size(): number {
    return this.#count;
  }

  get payloadBytes(): number {
    return this.#count * 16;
  }

  get next(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : (this.#times[0] as number);
  }

  add(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void {
    const table = this.table;
    const length = key.length;
    // -0 and 0 are one number.
    const at = time + 0;
    const canonical = namespace + 0;
    const mixed = table.mix(hash, key, length, length, at, canonical);
    let id = table.find(mixed, keyGroup, key, length, length, at, canonical);
    if (id >= 0 && !table.isRemoved(id)) return;
    if (id >= 0) {
      table.revive(id);
    } else {
      id = table.insert(mixed, keyGroup, hash, key, length, length, at, canonical);
      if (this.#heap.length < table.capacity) {
        this.#heap = grownInt32(this.#heap, table.capacity);
        this.#times = grownFloat64(this.#times, table.capacity);
        this.#positions = grownInt32(this.#positions, table.capacity);
      }
    }
    this.#rise(this.#count++, id, at);
  }

  remove(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void {
    const length = key.length;
    const at = time + 0;
    const canonical = namespace + 0;
    const mixed = this.table.mix(hash, key, length, length, at, canonical);
    const id = this.table.find(mixed, keyGroup, key, length, length, at, canonical);
    if (id >= 0 && !this.table.isRemoved(id)) this.removeId(id);
  }

  pop(upTo: number): Timer | undefined {
    if (this.next > upTo || this.#count === 0) return undefined;
    const id = this.#heap[0] as number;
    const timer = {
      time: this.table.doubleOf(id, 0),
      keyGroup: this.table.keyGroupOf(id),
      hash: this.table.hashOf(id),
      key: this.table.keyOf(id),
      namespace: this.table.doubleOf(id, 1),
    };
    this.removeId(id);
    return timer;
  }

  removeId(id: number): void {
    const position = this.#positions[id] as number;
    const last = this.#heap[--this.#count] as number;
    const time = this.#times[this.#count] as number;
    if (last !== id) {
      if (position > 0 && this.#precedes(last, time, (position - 1) >> 1)) this.#rise(position, last, time);
      else this.#sink(position, last, time);
    }
    this.table.remove(id);
  }

  /** The identity says it all. */
  payloadLength(): number {
    return 0;
  }

  writePayload(): void {}

  restore(identity: EntryIdentity): void {
    this.add(identity.first, identity.keyGroup, identity.hash, identity.key, identity.second);
  }

  restoreRemoval(identity: EntryIdentity): void {
    this.remove(identity.first, identity.keyGroup, identity.hash, identity.key, identity.second);
  }

  /** Whether a timer comes before the one at a position. */
  #precedes(id: number, time: number, position: number): boolean {
    const other = this.#times[position] as number;
    return time !== other ? time < other : this.#precedesAtSameTime(id, this.#heap[position] as number);
  }

  #precedesAtSameTime(a: number, b: number): boolean {
    const groups = this.table.keyGroupOf(a) - this.table.keyGroupOf(b);
    return groups !== 0 ? groups < 0 : this.#compareKeys(a, b) < 0;
  }

  #rise(from: number, id: number, time: number): void {
    let position = from;
    while (position > 0) {
      const above = (position - 1) >> 1;
      if (!this.#precedes(id, time, above)) break;
      this.#place(position, this.#heap[above] as number, this.#times[above] as number);
      position = above;
    }
    this.#place(position, id, time);
  }

  #sink(from: number, id: number, time: number): void {
    let position = from;
    for (;;) {
      let below = position * 2 + 1;
      if (below >= this.#count) break;
      const right = below + 1;
      if (right < this.#count && this.#precedes(this.#heap[right] as number, this.#times[right] as number, below)) {
        below = right;
      }
      if (this.#precedes(id, time, below)) break;
      this.#place(position, this.#heap[below] as number, this.#times[below] as number);
      position = below;
    }
    this.#place(position, id, time);
  }

  #place(position: number, id: number, time: number): void {
    this.#heap[position] = id;
    this.#times[position] = time;
    this.#positions[id] = position;
  }
}
