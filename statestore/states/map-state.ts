import type { Cells } from './cells.js';
import type { CurrentKey } from './current-key.js';
import type { StateCodec } from './value-spec.js';

/**
 * A map per key. Iteration is in the order of the map's keys, the same in every run. Each entry has a life of its own
 * where the state has a TTL.
 */
export class MapState<K, V> {
  readonly #cells: Cells<V>;
  readonly #current: CurrentKey;
  readonly #keys: StateCodec<K>;

  /** Encoded keys are not empty, and their bytes are in the order of the keys. */
  constructor(cells: Cells<V>, current: CurrentKey, keys: StateCodec<K>) {
    this.#cells = cells;
    this.#current = current;
    this.#keys = keys;
  }

  get(mapKey: K): V | undefined {
    return this.#cells.get(this.#current, this.#keys.encode(mapKey));
  }

  has(mapKey: K): boolean {
    return this.get(mapKey) !== undefined;
  }

  set(mapKey: K, value: V): void {
    this.#cells.put(this.#current, this.#keys.encode(mapKey), value);
  }

  delete(mapKey: K): void {
    this.#cells.remove(this.#current, this.#keys.encode(mapKey));
  }

  /** The current key's entries as they are now, in key order; the map may be changed while iterating. */
  entries(): [K, V][] {
    const { keyGroup, hash, key } = this.#current;
    const at = { keyGroup, hash, key };
    const found: [K, V][] = [];
    for (const [sub, cell] of this.#cells.table.entries(keyGroup, hash, key)) {
      if (this.#cells.isExpired(cell)) this.#cells.remove(at, sub);
      else found.push([this.#keys.decode(sub), this.#cells.read(at, sub, cell)]);
    }
    return found;
  }

  keys(): K[] {
    return this.entries().map(([mapKey]) => mapKey);
  }

  values(): V[] {
    return this.entries().map(([, value]) => value);
  }

  /** Removes the current key's whole map. */
  clear(): void {
    const { keyGroup, hash, key } = this.#current;
    for (const [sub] of this.#cells.table.entries(keyGroup, hash, key)) this.#cells.remove(this.#current, sub);
  }
}
