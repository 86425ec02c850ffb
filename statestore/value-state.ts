import type { ByteTable } from './spi.js';

/** How a value of a user's type becomes bytes. `decode` may keep nothing of the bytes it is given. */
export interface StateCodec<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** The key of the row being processed; set by the operator before it calls a user's function. */
export interface CurrentKey {
  readonly keyGroup: number;
  readonly hash: number;
  readonly key: Uint8Array;
}

const noSub = new Uint8Array(0);

/** One value per key. */
export class ValueState<T> {
  readonly #table: ByteTable;
  readonly #current: CurrentKey;
  readonly #codec: StateCodec<T>;

  constructor(table: ByteTable, current: CurrentKey, codec: StateCodec<T>) {
    this.#table = table;
    this.#current = current;
    this.#codec = codec;
  }

  /** The current key's value; a fresh object each time: changing it changes nothing until `set`. */
  get(): T | undefined {
    const bytes = this.#table.get(this.#current.keyGroup, this.#current.hash, this.#current.key, noSub);
    return bytes === undefined ? undefined : this.#codec.decode(bytes);
  }

  set(value: T): void {
    const { keyGroup, hash, key } = this.#current;
    this.#table.put(keyGroup, hash, key, noSub, this.#codec.encode(value));
  }

  clear(): void {
    this.#table.remove(this.#current.keyGroup, this.#current.hash, this.#current.key, noSub);
  }
}
