import { assert } from '../base/index.js';
import type { ByteTable } from './spi.js';
import type { CurrentKey, StateCodec } from './value-state.js';

/**
 * A map per key. Iteration is in order of the map keys' encoded bytes, the same in every run; encode keys so that this is
 * the order you want. Encoded map keys must not be empty (the empty one is value state's).
 */
export class MapState<K, V> {
  readonly #table: ByteTable;
  readonly #current: CurrentKey;
  readonly #keys: StateCodec<K>;
  readonly #values: StateCodec<V>;

  constructor(table: ByteTable, current: CurrentKey, keys: StateCodec<K>, values: StateCodec<V>) {
    this.#table = table;
    this.#current = current;
    this.#keys = keys;
    this.#values = values;
  }

  get(mapKey: K): V | undefined {
    const { keyGroup, hash, key } = this.#current;
    const bytes = this.#table.get(keyGroup, hash, key, this.#encodeKey(mapKey));
    return bytes === undefined ? undefined : this.#values.decode(bytes);
  }

  has(mapKey: K): boolean {
    const { keyGroup, hash, key } = this.#current;
    return this.#table.get(keyGroup, hash, key, this.#encodeKey(mapKey)) !== undefined;
  }

  set(mapKey: K, value: V): void {
    const { keyGroup, hash, key } = this.#current;
    this.#table.put(keyGroup, hash, key, this.#encodeKey(mapKey), this.#values.encode(value));
  }

  delete(mapKey: K): void {
    const { keyGroup, hash, key } = this.#current;
    this.#table.remove(keyGroup, hash, key, this.#encodeKey(mapKey));
  }

  /** The current key's entries as they are now, in key order; the map may be changed while iterating. */
  entries(): [K, V][] {
    const { keyGroup, hash, key } = this.#current;
    return this.#table
      .entries(keyGroup, hash, key)
      .map(([sub, value]) => [this.#keys.decode(sub), this.#values.decode(value)]);
  }

  /** Removes the current key's whole map. */
  clear(): void {
    const { keyGroup, hash, key } = this.#current;
    for (const [sub] of this.#table.entries(keyGroup, hash, key)) this.#table.remove(keyGroup, hash, key, sub);
  }

  #encodeKey(mapKey: K): Uint8Array {
    const sub = this.#keys.encode(mapKey);
    assert(sub.length > 0, 'the encoded key of a map state is empty');
    return sub;
  }
}
