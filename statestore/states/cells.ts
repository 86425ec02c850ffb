import type { ByteTable } from '../spi.js';
import { encodeCell, expiryOfCell, fingerprintOfCell, valueOfCell } from './cell.js';
import type { CurrentKey } from './current-key.js';
import type { Expiry } from './expiry.js';
import type { ValueCodec } from './value-codec.js';

/** The sub key of what is one per key. */
export const noSub = new Uint8Array(0);

export interface CellsOptions<T> {
  readonly table: ByteTable;
  readonly codec: ValueCodec<T>;
  readonly expiry: Expiry;
}

/**
 * The typed values of one state, by key and sub key: written under the current shape, read under any before it, and never
 * returned once expired. An expired one is removed when it is met, or by a sweep.
 */
export class Cells<T> {
  readonly table: ByteTable;
  readonly #codec: ValueCodec<T>;
  readonly #expiry: Expiry;

  constructor({ table, codec, expiry }: CellsOptions<T>) {
    this.table = table;
    this.#codec = codec;
    this.#expiry = expiry;
  }

  get({ keyGroup, hash, key }: CurrentKey, sub: Uint8Array): T | undefined {
    const cell = this.table.get(keyGroup, hash, key, sub);
    if (cell === undefined) return undefined;
    if (this.isExpired(cell)) {
      this.table.remove(keyGroup, hash, key, sub);
      return undefined;
    }
    return this.read({ keyGroup, hash, key }, sub, cell);
  }

  put({ keyGroup, hash, key }: CurrentKey, sub: Uint8Array, value: T): void {
    const cell = encodeCell(this.#codec.fingerprint, this.#expiry.stamp(), this.#codec.encode(value));
    this.table.put(keyGroup, hash, key, sub, cell);
  }

  remove({ keyGroup, hash, key }: CurrentKey, sub: Uint8Array): void {
    this.table.remove(keyGroup, hash, key, sub);
  }

  isExpired(cell: Uint8Array): boolean {
    return this.#expiry.isExpired(expiryOfCell(cell));
  }

  /** The value of a cell that is not expired; reading it may prolong its life. */
  read({ keyGroup, hash, key }: CurrentKey, sub: Uint8Array, cell: Uint8Array): T {
    const value = this.#codec.decode(fingerprintOfCell(cell), valueOfCell(cell));
    if (this.#expiry.refreshesOnRead) {
      const stamp = this.#expiry.stamp();
      if (stamp !== expiryOfCell(cell)) {
        this.table.put(keyGroup, hash, key, sub, encodeCell(fingerprintOfCell(cell), stamp, valueOfCell(cell)));
      }
    }
    return value;
  }

  /** Examines at most so many entries, and hands expired ones that have a sub key (`subs`), or all, to `remove`. */
  sweep(entriesMax: number, remove: (at: CurrentKey, sub: Uint8Array) => void, subs: 'with' | 'all' = 'all'): void {
    if (!this.#expiry.isOn) return;
    const expired: { readonly at: CurrentKey; readonly sub: Uint8Array }[] = [];
    this.table.scan(entriesMax, (keyGroup, hash, key, sub, cell) => {
      if ((subs === 'with' && sub.length === 0) || !this.isExpired(cell)) return;
      expired.push({ at: { keyGroup, hash, key: key.slice() }, sub: sub.slice() });
    });
    for (const { at, sub } of expired) remove(at, sub);
  }
}
