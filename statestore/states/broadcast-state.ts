import { MillraceError } from '../../base/index.js';
import { compareBytes } from '../../checkpoint/index.js';
import type { StateStore } from '../spi.js';
import { encodeCell, fingerprintOfCell, valueOfCell } from './cell.js';
import { decodeBlobs, encodeBlobs } from './operator-blob.js';
import { type OwnedValue, ownedName, ownedValues, type Subtask } from './operator-owners.js';
import type { ValueCodec } from './value-codec.js';
import type { StateCodec } from './value-spec.js';

interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** What functions see of it that must not change it: those that run once a row of a partitioned stream. */
export interface ReadonlyBroadcastState<K, V> {
  get(key: K): V | undefined;
  has(key: K): boolean;
  entries(): [K, V][];
  readonly size: number;
}

/**
 * A map that every subtask holds whole, and changes by what every subtask is sent: so it is the same on all of them. That is
 * checked when it is restored from more than one. Written as a whole, once for each snapshot before which it changed.
 */
export class BroadcastState<K, V> implements ReadonlyBroadcastState<K, V> {
  readonly #keys: StateCodec<K>;
  readonly #codec: ValueCodec<V>;
  readonly #entries = new Map<string, Entry>();
  readonly #save: () => void;
  #changed: boolean;

  /** @throws MillraceError `BROADCAST_STATE_DIFFERS` (invalid) naming the state and two subtasks that do not agree. */
  constructor(store: StateStore, state: string, keys: StateCodec<K>, codec: ValueCodec<V>, owner: Subtask) {
    this.#keys = keys;
    this.#codec = codec;
    const own = ownedName(state, 'broadcast', owner);
    const values = ownedValues(store, state, 'broadcast');
    const first = values[0];
    const bytes = first === undefined ? undefined : this.#load(first);
    for (const value of values.slice(1)) {
      this.#entries.clear();
      if (compareBytes(this.#load(value), bytes as Uint8Array) !== 0) throw differs(state, first as OwnedValue, value);
    }
    for (const { name } of values) if (name !== own) store.operatorValue(name).remove();
    this.#changed = !values.some(({ name }) => name === own);
    this.#save = () => store.operatorValue(own).set(this.#encode());
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A fresh object each time. */
  get(key: K): V | undefined {
    const entry = this.#entries.get(nameOf(this.#keys.encode(key)));
    return entry === undefined ? undefined : this.#codec.decode(this.#codec.fingerprint, entry.value);
  }

  has(key: K): boolean {
    return this.#entries.has(nameOf(this.#keys.encode(key)));
  }

  /** In the order of the keys. */
  entries(): [K, V][] {
    const { fingerprint } = this.#codec;
    return this.#sorted().map(({ key, value }) => [this.#keys.decode(key), this.#codec.decode(fingerprint, value)]);
  }

  set(key: K, value: V): void {
    this.#put(this.#keys.encode(key), this.#codec.encode(value));
    this.#changed = true;
  }

  delete(key: K): void {
    if (this.#entries.delete(nameOf(this.#keys.encode(key)))) this.#changed = true;
  }

  clear(): void {
    this.#changed ||= this.#entries.size > 0;
    this.#entries.clear();
  }

  /** Hands changes to the store: before each snapshot. */
  save(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.#save();
  }

  #put(key: Uint8Array, value: Uint8Array): void {
    this.#entries.set(nameOf(key), { key, value });
  }

  #sorted(): Entry[] {
    return [...this.#entries.values()].sort((a, b) => compareBytes(a.key, b.key));
  }

  #encode(): Uint8Array {
    const blobs = this.#sorted().flatMap(({ key, value }) => [key, value]);
    return encodeCell(this.#codec.fingerprint, 0, encodeBlobs(blobs));
  }

  /** Takes the entries of one subtask; their bytes under the current shape. */
  #load({ value }: OwnedValue): Uint8Array {
    const fingerprint = fingerprintOfCell(value);
    const blobs = decodeBlobs(valueOfCell(value));
    for (let i = 0; i + 1 < blobs.length; i += 2) {
      const bytes = blobs[i + 1] as Uint8Array;
      const isCurrent = fingerprint === this.#codec.fingerprint;
      this.#put(blobs[i] as Uint8Array, isCurrent ? bytes : this.#codec.encode(this.#codec.decode(fingerprint, bytes)));
    }
    return this.#encode();
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1');
}

function differs(state: string, a: OwnedValue, b: OwnedValue): MillraceError {
  return new MillraceError(
    'invalid',
    'BROADCAST_STATE_DIFFERS',
    `broadcast state ${JSON.stringify(state)} is not the same on subtasks ${a.subtask} and ${b.subtask} of ${a.parallelism}: the function that changes it must do the same on all of them`,
    { context: { state, subtasks: `${a.subtask}, ${b.subtask}` } },
  );
}
