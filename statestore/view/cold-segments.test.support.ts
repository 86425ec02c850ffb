import { blocksOf, LoadedSegment, SegmentCursor } from '../../checkpoint/index.js';
import type { KeyGroupRange } from '../spi.js';
import { ABSENT, type ColdAnswer, type ColdEntry, type ColdState, type ColdTable, FOUND } from './cold-state.js';

const none = new Uint8Array(0);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** State at the end of a chain of segments, which is all read: what views tell, the plain way. What was found spoils at the next look. */
export class ColdSegments implements ColdState {
  readonly isLocal = true;
  readonly range: KeyGroupRange;
  looks = 0;
  found = 0;
  #entries = new Map<string, Map<string, { readonly meta: Uint8Array; readonly payload: Uint8Array }>>();
  readonly #tables = new Map<string, ColdTable>();
  #shown: Uint8Array = none;

  constructor(range: KeyGroupRange, chain: readonly Uint8Array[] = []) {
    this.range = range;
    this.advance(chain);
  }

  advance(chain: readonly Uint8Array[]): void {
    this.#entries = new Map();
    this.#spoil();
    for (const bytes of chain) this.#apply(new LoadedSegment(bytes));
  }

  table(state: string): ColdTable {
    let table = this.#tables.get(state);
    if (table === undefined) {
      table = this.#newTable(state);
      this.#tables.set(state, table);
    }
    return table;
  }

  *entriesOf(state: string, keyGroup: number, key: Uint8Array): Generator<ColdEntry> {
    for (const [sub, { meta, payload }] of this.#entries.get(nameOf(state, keyGroup, key)) ?? []) {
      this.#show(payload);
      yield { sub: Buffer.from(sub, 'hex'), meta, payload: this.#shown };
      this.#spoil();
    }
  }

  ready(): undefined {}

  letGo(): void {}

  #newTable(state: string): ColdTable {
    const cold = this;
    let meta: Uint8Array = none;
    return {
      start: 3,
      get bytes() {
        return cold.#shown;
      },
      get end() {
        return cold.#shown.length;
      },
      get meta() {
        return meta;
      },
      find(keyGroup, key, sub): ColdAnswer {
        cold.#spoil();
        cold.looks++;
        const entry = cold.#entries.get(nameOf(state, keyGroup, key))?.get(hex(sub));
        if (entry === undefined) return ABSENT;
        cold.found++;
        meta = entry.meta;
        cold.#show(entry.payload, 3);
        return FOUND;
      },
    };
  }

  #show(payload: Uint8Array, start = 0): void {
    this.#shown = new Uint8Array(start + payload.length);
    this.#shown.set(payload, start);
  }

  #spoil(): void {
    this.#shown.fill(0xee);
  }

  #apply(segment: LoadedSegment): void {
    const { index } = segment;
    if (index.full) this.#entries.clear();
    const cursor = new SegmentCursor();
    const { from, to } = blocksOf(index, this.range);
    for (let at = from; at < to; at++) {
      cursor.load(segment.block(at));
      while (cursor.next()) {
        const { name, meta } = index.states[cursor.state] as (typeof index.states)[0];
        const key = nameOf(name, cursor.keyGroup, cursor.key);
        const subs = this.#entries.get(key) ?? new Map();
        this.#entries.set(key, subs);
        if (cursor.tombstone) subs.delete(hex(cursor.sub));
        else subs.set(hex(cursor.sub), { meta, payload: cursor.payload.slice() });
      }
    }
  }
}

function nameOf(state: string, keyGroup: number, key: Uint8Array): string {
  return `${state} ${keyGroup} ${hex(key)}`;
}
