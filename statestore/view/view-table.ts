import { hashState } from '../tables/entry-hash.js';
import type { ColdAnswer, ColdTable } from './cold-state.js';

/** One state of a view: where its layers and its base have it, and what was found last. */
export class ViewTable implements ColdTable {
  readonly state: string;
  readonly hash: number;
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  meta: Uint8Array = new Uint8Array(0);
  /** In each layer, -1 where it has none. */
  positions = new Int32Array(0);
  /** In the base, newest meta first. */
  numbers: readonly number[] = [];
  readonly #find: FindInView;

  constructor(state: string, find: FindInView) {
    this.state = state;
    this.hash = hashState(state);
    this.#find = find;
  }

  find(keyGroup: number, key: Uint8Array, sub: Uint8Array): ColdAnswer {
    return this.#find(this, keyGroup, key, sub);
  }

  show(bytes: Uint8Array, start: number, end: number, meta: Uint8Array): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.meta = meta;
  }
}

/** Shows what it finds in the table. */
export type FindInView = (table: ViewTable, keyGroup: number, key: Uint8Array, sub: Uint8Array) => ColdAnswer;
