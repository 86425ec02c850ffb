import type { EntrySource } from './entry-source.js';

/** Entries of one key of one state that are in memory already, by sub key. */
export class ListSource implements EntrySource {
  readonly age: number;
  readonly keyGroup: number;
  readonly rank: number;
  readonly fullRange = undefined;
  readonly tombstone = false;
  meta: Uint8Array = new Uint8Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  readonly keyStart = 0;
  readonly keyEnd: number;
  subEnd = 0;
  payloadEnd = 0;
  readonly #key: Uint8Array;
  readonly #entries: Iterator<ListedEntry>;

  constructor(age: number, keyGroup: number, rank: number, key: Uint8Array, entries: Iterable<ListedEntry>) {
    this.age = age;
    this.keyGroup = keyGroup;
    this.rank = rank;
    this.keyEnd = key.length;
    this.#key = key;
    this.#entries = entries[Symbol.iterator]();
  }

  advance(): boolean {
    const { done, value } = this.#entries.next();
    if (done === true) return false;
    this.bytes = Buffer.concat([this.#key, value.sub, value.payload]);
    this.subEnd = this.keyEnd + value.sub.length;
    this.payloadEnd = this.subEnd + value.payload.length;
    this.meta = value.meta;
    return true;
  }

  close(): void {}
}

export interface ListedEntry {
  readonly sub: Uint8Array;
  readonly payload: Uint8Array;
  readonly meta: Uint8Array;
}
