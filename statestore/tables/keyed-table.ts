import type { SegmentReader } from '../../checkpoint/index.js';
import type { EntryTable } from './entry-table.js';
import type { FrozenRecords } from './frozen-records.js';

/** Kinds of state as they stand in segments. */
export const stateKinds = { lanes: 1, bytes: 2, timers: 3, operator: 4 } as const;
export type StateKind = keyof typeof stateKinds;
export type KeyedKind = Exclude<StateKind, 'operator'>;

/** What the store needs of a table to freeze and restore it. The identity is in `table`; the payload is the table's own. */
export interface KeyedTable {
  readonly kind: KeyedKind;
  /** float64 per entry; 0 where that means nothing. */
  readonly lanes: number;
  readonly table: EntryTable;
  /** Live entries. */
  readonly size: number;
  /** Payload bytes of live entries. */
  readonly payloadBytes: number;
  /** Bytes of memory. */
  readonly byteLength: number;
  /** Whether all of its entries are in memory; undefined: always. */
  readonly isWhole?: boolean;
  /** See `Records.freeze`. */
  freeze(full: boolean): FrozenRecords | undefined;
  /** Puts an entry and reads its payload of so many bytes. */
  restore(identity: EntryIdentity, reader: SegmentReader, payloadLength: number): void;
  /** Applies a tombstone; the entry may not exist. */
  restoreRemoval(identity: EntryIdentity): void;
  /** Removes a live entry by its id. */
  removeId(id: number): void;
}

/** Identity of an entry as read from a segment; reused for the next one. */
export interface EntryIdentity {
  keyGroup: number;
  hash: number;
  key: Uint8Array;
  sub: Uint8Array;
  first: number;
  second: number;
}
