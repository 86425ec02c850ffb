import { flagBytes, hashBytes } from '../segment/segment-format.js';
import type { KeyGroupRange } from '../spi.js';
import type { EntryChanges } from '../tables/entry-changes.js';
import type { KeyedKind } from '../tables/keyed-table.js';
import { highHalf, lowHalf, readOrderedDouble } from '../tables/ordered-double.js';
import type { EntryStorage, StoredEntry } from './entry-storage.js';

/** Bytes of a payload before the value, as in segments. */
const headBytes = hashBytes + flagBytes;
const none = new Uint8Array(0);

/** An entry found by `StoredState.scan`. */
export interface ScannedEntry extends StoredEntry {
  readonly keyGroup: number;
}

/** One keyed state in an `EntryStorage`: entries with what segments say of them, counted, and their changes remembered. */
export class StoredState {
  readonly kind: KeyedKind;
  readonly lanes: number;
  /** Among the states of its store. */
  readonly number: number;
  readonly range: KeyGroupRange;
  readonly #storage: EntryStorage;
  readonly #changes: EntryChanges;
  size = 0;
  /** Of keys and values. */
  bytes = 0;
  /** Behind which the next `scan` goes on. */
  #scanned: { keyGroup: number; key: Uint8Array; sub: Uint8Array } | undefined;

  constructor(
    kind: KeyedKind,
    lanes: number,
    number: number,
    range: KeyGroupRange,
    storage: EntryStorage,
    changes: EntryChanges,
  ) {
    this.kind = kind;
    this.lanes = lanes;
    this.number = number;
    this.range = range;
    this.#storage = storage;
    this.#changes = changes;
  }

  /** Hash, flags and value; undefined: there is no such entry. */
  payload(keyGroup: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined {
    return this.#storage.get(keyGroup, this.number, key, sub);
  }

  /** Whether it is new. */
  put(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array, value: Uint8Array): boolean {
    const isNew = this.store(keyGroup, key, sub, payloadOf(hash, value));
    this.#changes.put(keyGroup, this.number, key, sub, hash, isNew);
    return isNew;
  }

  /** Whether there was one. */
  remove(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): boolean {
    if (!this.drop(keyGroup, key, sub)) return false;
    this.#changes.remove(keyGroup, this.number, key, sub, hash);
    return true;
  }

  /** As `put`, of what is saved already. */
  store(keyGroup: number, key: Uint8Array, sub: Uint8Array, payload: Uint8Array): boolean {
    const before = this.payload(keyGroup, key, sub);
    this.#count(key, sub, before, payload);
    this.#storage.put(keyGroup, this.number, key, sub, payload);
    return before === undefined;
  }

  /** As `remove`, of what is saved already. */
  drop(keyGroup: number, key: Uint8Array, sub: Uint8Array): boolean {
    const before = this.payload(keyGroup, key, sub);
    if (before === undefined) return false;
    this.#count(key, sub, before, undefined);
    this.#storage.remove(keyGroup, this.number, key, sub);
    return true;
  }

  walk(keyGroup: number, fromKey: Uint8Array = none, fromSub: Uint8Array = none): Iterable<StoredEntry> {
    return this.#storage.walk(keyGroup, this.number, fromKey, fromSub);
  }

  /** Some entries, each call going on where the last one ended, round and round; none of them twice in one call. */
  scan(entriesMax: number): ScannedEntry[] {
    const { first, last } = this.range;
    const wanted = Math.min(entriesMax, this.size);
    const found: ScannedEntry[] = [];
    let from = this.#scanned;
    // Where it began it may have to look twice: behind the last one seen, and before it.
    for (
      let keyGroup = from?.keyGroup ?? first, looked = last - first + 2;
      looked > 0 && found.length < wanted;
      looked--
    ) {
      for (const entry of this.walk(keyGroup, from?.key, from?.sub)) {
        if (from !== undefined && isAt(entry, from)) continue;
        found.push({ ...entry, keyGroup });
        if (found.length === wanted) break;
      }
      from = undefined;
      keyGroup = keyGroup === last ? first : keyGroup + 1;
    }
    this.#scanned = found.at(-1);
    return found;
  }

  #count(key: Uint8Array, sub: Uint8Array, before: Uint8Array | undefined, after: Uint8Array | undefined): void {
    const keys = key.length + sub.length;
    if (before !== undefined) {
      this.size--;
      this.bytes -= keys + before.length - headBytes;
    }
    if (after !== undefined) {
      this.size++;
      this.bytes += keys + after.length - headBytes;
    }
  }
}

export function hashOf(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
}

/** A copy. */
export function valueIn(payload: Uint8Array): Uint8Array {
  return Uint8Array.prototype.slice.call(payload, headBytes);
}

/** As segments have it. */
export function payloadOf(hash: number, value: Uint8Array): Uint8Array {
  const payload = new Uint8Array(headBytes + value.length);
  new DataView(payload.buffer).setUint32(0, hash, true);
  payload.set(value, headBytes);
  return payload;
}

/** Sub keys of lanes and timers: doubles in an order of bytes. -0 is 0. */
export function doublesAsSub(...doubles: readonly number[]): Uint8Array {
  const sub = new Uint8Array(doubles.length * 8);
  const view = new DataView(sub.buffer);
  doubles.forEach((double, i) => {
    view.setUint32(i * 8, highHalf(double + 0));
    view.setUint32(i * 8 + 4, lowHalf(double + 0));
  });
  return sub;
}

export function doubleOfSub(sub: Uint8Array, which: number): number {
  return readOrderedDouble(sub, which * 8);
}

function isAt(entry: StoredEntry, { key, sub }: { readonly key: Uint8Array; readonly sub: Uint8Array }): boolean {
  return Buffer.compare(entry.key, key) === 0 && Buffer.compare(entry.sub, sub) === 0;
}

/** A tombstone's payload. */
export function tombstoneOf(hash: number): Uint8Array {
  return payloadOf(hash, none).subarray(0, hashBytes);
}
