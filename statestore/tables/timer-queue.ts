import { recordComparator } from '../segment/entry-order.js';
import type { KeyGroupRange, Timer, TimerQueue } from '../spi.js';
import { EntryTable } from './entry-table.js';
import type { FrozenRecords } from './frozen-records.js';
import type { Generations } from './generations.js';
import type { EntryIdentity, KeyedTable } from './keyed-table.js';

const capacityMin = 16;

/**
 * Timers in memory: the set of them is an EntryTable with (time, namespace) in the identity; a binary heap of ids orders
 * them by (time, key group, key bytes, namespace), which is total, so they fire in the same order in every run.
 */
export class MemoryTimerQueue implements TimerQueue, KeyedTable {
  readonly kind = 'timers';
  readonly lanes = 0;
  readonly table: EntryTable;
  readonly #compareKeys: (a: number, b: number) => number;
  /** Ids, a binary heap; beside them their times, so that most comparisons stay in one place; where each id stands. */
  #heap = new Int32Array(capacityMin);
  #times = new Float64Array(capacityMin);
  #positions = new Int32Array(capacityMin);
  #count = 0;

  constructor(generations: Generations, range: KeyGroupRange) {
    this.table = new EntryTable(generations, { range, doubles: 2, payloadWords: 0 });
    this.#compareKeys = recordComparator(this.table);
  }

  get size(): number {
    return this.#count;
  }

  get payloadBytes(): number {
    return this.#count * 16;
  }

  get byteLength(): number {
    return this.table.byteLength + this.#heap.byteLength + this.#times.byteLength + this.#positions.byteLength;
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
    if (id > 0 && !table.isRemoved(id)) return;
    if (id > 0) table.revive(id);
    else id = table.insert(mixed, keyGroup, hash, key, length, length, at, canonical);
    if (id >= this.#positions.length) this.#positions = grown(this.#positions, id + 1);
    if (this.#count === this.#heap.length) {
      this.#heap = grown(this.#heap, this.#count + 1);
      this.#times = grown(this.#times, this.#count + 1);
    }
    this.#rise(this.#count++, id, at);
  }

  remove(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void {
    const length = key.length;
    const at = time + 0;
    const canonical = namespace + 0;
    const mixed = this.table.mix(hash, key, length, length, at, canonical);
    const id = this.table.find(mixed, keyGroup, key, length, length, at, canonical);
    if (id > 0 && !this.table.isRemoved(id)) this.removeId(id);
  }

  pop(upTo: number): Timer | undefined {
    if (this.next > upTo || this.#count === 0) return undefined;
    const id = this.#heap[0] as number;
    const timer = this.#timer(id);
    this.removeId(id);
    return timer;
  }

  due(upTo: number, count: number): Timer[] {
    const timers: Timer[] = [];
    // Positions in the heap, in order: whatever is not among them yet is below one of them.
    const next = this.#count === 0 ? [] : [0];
    while (timers.length < count) {
      const position = next.shift();
      if (position === undefined || (this.#times[position] as number) > upTo) break;
      timers.push(this.#timer(this.#heap[position] as number));
      for (const below of [position * 2 + 1, position * 2 + 2]) {
        if (below >= this.#count) continue;
        const [id, time] = [this.#heap[below] as number, this.#times[below] as number];
        const at = next.findIndex((other) => this.#precedes(id, time, other));
        next.splice(at === -1 ? next.length : at, 0, below);
      }
    }
    return timers;
  }

  #timer(id: number): Timer {
    return {
      time: this.table.doubleOf(id, 0),
      keyGroup: this.table.keyGroupOf(id),
      hash: this.table.hashOf(id),
      key: this.table.keyOf(id),
      namespace: this.table.doubleOf(id, 1),
    };
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

  /** The identity says it all: there is no payload. */
  freeze(full: boolean): FrozenRecords | undefined {
    return this.table.freeze(full, undefined);
  }

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

function grown<A extends Int32Array | Float64Array>(array: A, length: number): A {
  const larger = new (array.constructor as new (length: number) => A)(Math.ceil(length * 1.25) + capacityMin);
  larger.set(array);
  return larger;
}
