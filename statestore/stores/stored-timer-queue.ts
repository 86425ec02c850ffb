import { compareBytes } from '../../checkpoint/index.js';
import type { Timer, TimerQueue } from '../spi.js';
import { doubleOfSub, doublesAsSub, hashOf, payloadOf, type StoredState } from './stored-state.js';

/** A timer as the index has it: (time, key group, key) as bytes in this order, then the namespace. */
interface Ordered {
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  readonly hash: number;
}

/** Timers that are read at once. */
const headMax = 256;
const timeBytes = 8;
const groupBytes = 2;
const none = new Uint8Array(0);

/**
 * TimerQueue in an `EntryStorage`: each timer stands there twice, by its key, as segments have it, and by its time, in an index of
 * which the first ones are in memory.
 */
export class StoredTimerQueue implements TimerQueue {
  readonly #state: StoredState;
  /** Never in a segment; all of it in one key group. */
  readonly #index: StoredState;
  /** The first ones, in order. */
  #head: Ordered[] = [];
  /** Whether there are no others. */
  #isAll = true;

  constructor(state: StoredState, index: StoredState) {
    this.#state = state;
    this.#index = index;
  }

  get size(): number {
    return this.#state.size;
  }

  get next(): number {
    const first = this.#first();
    return first === undefined ? Number.POSITIVE_INFINITY : doubleOfSub(first.key, 0);
  }

  add(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void {
    const sub = doublesAsSub(time, namespace);
    if (this.#state.payload(keyGroup, key, sub) !== undefined) return;
    this.#state.put(keyGroup, hash, key, sub, none);
    this.restored(time, keyGroup, hash, key, namespace);
  }

  /** A timer that is in the state already. */
  restored(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void {
    const ordered = { key: indexKey(time, keyGroup, key), sub: doublesAsSub(namespace), hash };
    this.#index.store(this.#index.range.first, ordered.key, ordered.sub, payloadOf(hash, none));
    const at = this.#placeOf(ordered);
    if (at === this.#head.length && !this.#isAll) return;
    this.#head.splice(at, 0, ordered);
    if (this.#head.length <= 2 * headMax) return;
    this.#head.length = headMax;
    this.#isAll = false;
  }

  remove(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void {
    if (!this.#state.remove(keyGroup, hash, key, doublesAsSub(time, namespace))) return;
    this.removed(time, keyGroup, key, namespace);
  }

  /** A timer that is not in the state any more. */
  removed(time: number, keyGroup: number, key: Uint8Array, namespace: number): void {
    const ordered = { key: indexKey(time, keyGroup, key), sub: doublesAsSub(namespace), hash: 0 };
    this.#index.drop(this.#index.range.first, ordered.key, ordered.sub);
    const at = this.#placeOf(ordered);
    const found = this.#head[at];
    if (found !== undefined && compare(found, ordered) === 0) this.#head.splice(at, 1);
  }

  pop(upTo: number): Timer | undefined {
    const first = this.#first();
    if (first === undefined) return undefined;
    const timer = timerOf(first);
    if (timer.time > upTo) return undefined;
    this.remove(timer.time, timer.keyGroup, timer.hash, timer.key, timer.namespace);
    return timer;
  }

  due(upTo: number, count: number): Timer[] {
    const timers: Timer[] = [];
    if (count > 0 && this.next <= upTo) {
      for (const { key, sub, payload } of this.#index.walk(this.#index.range.first)) {
        const timer = timerOf({ key, sub, hash: hashOf(payload) });
        if (timer.time > upTo || timers.push(timer) === count) break;
      }
    }
    return timers;
  }

  #first(): Ordered | undefined {
    if (this.#head.length > 0 || this.#isAll) return this.#head[0];
    this.#isAll = true;
    for (const { key, sub, payload } of this.#index.walk(this.#index.range.first)) {
      if (this.#head.length === headMax) {
        this.#isAll = false;
        break;
      }
      this.#head.push({ key: key.slice(), sub: sub.slice(), hash: hashOf(payload) });
    }
    return this.#head[0];
  }

  /** Where in the head it stands, or would. */
  #placeOf(ordered: Ordered): number {
    let [low, high] = [0, this.#head.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(this.#head[middle] as Ordered, ordered) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function timerOf({ key, sub, hash }: Ordered): Timer {
  const keyGroup = ((key[timeBytes] as number) << 8) | (key[timeBytes + 1] as number);
  const own = key.slice(timeBytes + groupBytes);
  return { time: doubleOfSub(key, 0), keyGroup, hash, key: own, namespace: doubleOfSub(sub, 0) };
}

function indexKey(time: number, keyGroup: number, key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(timeBytes + groupBytes + key.length);
  bytes.set(doublesAsSub(time));
  bytes[timeBytes] = keyGroup >>> 8;
  bytes[timeBytes + 1] = keyGroup;
  bytes.set(key, timeBytes + groupBytes);
  return bytes;
}

function compare(a: Ordered, b: Ordered): number {
  return compareBytes(a.key, b.key) || compareBytes(a.sub, b.sub);
}
