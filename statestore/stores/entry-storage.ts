/**
 * Where a `StoredStateStore` keeps the entries of one task: bytes in order, no more. Whoever has a key-value store of his own
 * brings these five methods, and has a whole state store (`example-state-store.ts`). Nobody else uses it, from one thread; it
 * need not survive anything: what lasts is in checkpoints.
 */
export interface EntryStorage {
  /** A copy, or a value that is never changed. */
  get(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined;
  /** All bytes are the caller's again when it returns. */
  put(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array, payload: Uint8Array): void;
  /** Of a missing entry: nothing. */
  remove(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): void;
  /**
   * Entries of one key group and state whose (key, sub key) is `from` or comes after it, in the order of the keys, then of the sub
   * keys, both bytewise, a prefix first. It may be left half way; nothing is changed meanwhile.
   */
  walk(keyGroup: number, state: number, fromKey: Uint8Array, fromSub: Uint8Array): Iterable<StoredEntry>;
  /** Gives everything back. */
  close(): Promise<void>;
}

/** As `EntryStorage.get`: bytes that nobody changes. */
export interface StoredEntry {
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  readonly payload: Uint8Array;
}
