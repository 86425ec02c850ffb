import type { ByteTable, VisitBytes } from '../spi.js';
import { hashOf, type StoredState, valueIn } from './stored-state.js';

/** ByteTable in an `EntryStorage`. */
export class StoredByteTable implements ByteTable {
  readonly #state: StoredState;

  constructor(state: StoredState) {
    this.#state = state;
  }

  get size(): number {
    return this.#state.size;
  }

  get(keyGroup: number, _hash: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined {
    const payload = this.#state.payload(keyGroup, key, sub);
    return payload && valueIn(payload);
  }

  put(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array, value: Uint8Array): void {
    this.#state.put(keyGroup, hash, key, sub, value);
  }

  remove(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): void {
    this.#state.remove(keyGroup, hash, key, sub);
  }

  entries(keyGroup: number, _hash: number, key: Uint8Array): readonly (readonly [Uint8Array, Uint8Array])[] {
    const found: [Uint8Array, Uint8Array][] = [];
    for (const entry of this.#state.walk(keyGroup, key)) {
      if (Buffer.compare(entry.key, key) !== 0) break;
      found.push([entry.sub.slice(), valueIn(entry.payload)]);
    }
    return found;
  }

  scan(entriesMax: number, visit: VisitBytes): void {
    for (const { keyGroup, key, sub, payload } of this.#state.scan(entriesMax)) {
      visit(keyGroup, hashOf(payload), key, sub, valueIn(payload));
    }
  }
}
