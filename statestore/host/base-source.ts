import type { KeyGroups } from '../../checkpoint/index.js';
import type { EntrySelection, EntrySource } from '../view/entry-source.js';
import type { StateRanks } from '../view/state-ranks.js';
import { BaseWalk } from './base-entries.js';
import { BaseKeyWriter } from './base-key.js';
import type { BaseSnapshot } from './base-store.js';

/** A state as a base numbers it, and how its entries are to be read: there may be several of a name. */
export interface BaseState {
  readonly name: string;
  readonly meta: Uint8Array;
}

/**
 * Entries of a base, of some of its states (by number), no two of a name. A base orders states by their numbers: so each key
 * group is walked state by state.
 */
export class BaseSource implements EntrySource {
  readonly age: number;
  readonly fullRange: KeyGroups | undefined = undefined;
  readonly tombstone = false;
  keyGroup: number;
  rank = 0;
  meta: Uint8Array = new Uint8Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  readonly keyStart = 0;
  keyEnd = 0;
  subEnd = 0;
  payloadEnd = 0;
  readonly #snapshot: BaseSnapshot;
  readonly #states: readonly { readonly id: number; readonly rank: number; readonly meta: Uint8Array }[];
  readonly #selection: EntrySelection;
  #walk: BaseWalk | undefined;
  /** Of `#states`, the one after that which is being walked. */
  #next = 0;

  constructor(
    snapshot: BaseSnapshot,
    age: number,
    states: readonly (BaseState & { readonly id: number })[],
    ranks: StateRanks,
    selection: EntrySelection,
  ) {
    this.#snapshot = snapshot;
    this.age = age;
    this.#states = states
      .map(({ id, name, meta }) => ({ id, rank: ranks.of(name), meta }))
      .filter(({ rank }) => selection.rank === undefined || rank === selection.rank)
      .sort((a, b) => a.rank - b.rank);
    this.#selection = selection;
    this.keyGroup = selection.range.first;
  }

  advance(): boolean {
    for (;;) {
      const walk = this.#walk ?? this.#open();
      if (walk === undefined) return false;
      if (!walk.next()) {
        walk.close();
        this.#walk = undefined;
        continue;
      }
      this.bytes = walk.bytes;
      this.keyEnd = walk.keyEnd;
      this.subEnd = walk.subEnd;
      this.payloadEnd = walk.payloadEnd;
      return true;
    }
  }

  close(): void {
    this.#walk?.close();
    this.#walk = undefined;
  }

  #open(): BaseWalk | undefined {
    if (this.#next === this.#states.length) {
      this.keyGroup++;
      this.#next = 0;
    }
    const state = this.#states[this.#next];
    const { range, key } = this.#selection;
    if (state === undefined || this.keyGroup > range.last) return undefined;
    this.#next++;
    this.rank = state.rank;
    this.meta = state.meta;
    const writer = new BaseKeyWriter().keyGroup(this.keyGroup).state(state.id);
    if (key !== undefined) writer.part(key, 0, key.length);
    const from = writer.key.slice();
    this.#walk = new BaseWalk(this.#snapshot, from, writer.after().key.slice());
    return this.#walk;
  }
}
