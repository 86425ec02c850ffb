import type { KeyGroups } from '../../checkpoint/index.js';

/** Entries in order of (key group, rank of the state, key, sub key), one at a time. Of each key there is at most one. */
export interface EntrySource {
  /** Of several sources that have a key, the one with the highest age counts. */
  readonly age: number;
  /** Of the current entry; valid until the next. Key, sub key and payload stand end to end in `bytes`. */
  readonly keyGroup: number;
  readonly rank: number;
  /** How the payload is to be read. */
  readonly meta: Uint8Array;
  readonly tombstone: boolean;
  readonly bytes: Uint8Array;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly subEnd: number;
  readonly payloadEnd: number;
  /** Within these key groups older sources count for nothing. */
  readonly fullRange: KeyGroups | undefined;
  /** To the next entry; false at the end. A promise only where bytes must be waited for. */
  advance(): boolean | Promise<boolean>;
  /** Lets go of what it holds. */
  close(): void;
}

/** Which entries are wanted. */
export interface EntrySelection {
  readonly range: KeyGroups;
  /** Only this state, by rank. */
  readonly rank?: number;
  /** Only entries of this key; with `rank`, and a range of one key group. */
  readonly key?: Uint8Array;
}

export function compareEntries(a: EntrySource, b: EntrySource): number {
  return (
    a.keyGroup - b.keyGroup ||
    a.rank - b.rank ||
    compareRanges(a.bytes, a.keyStart, a.keyEnd, b.bytes, b.keyStart, b.keyEnd) ||
    compareRanges(a.bytes, a.keyEnd, a.subEnd, b.bytes, b.keyEnd, b.subEnd)
  );
}

/** Bytewise, a prefix first. */
export function compareRanges(
  a: Uint8Array,
  aFrom: number,
  aEnd: number,
  b: Uint8Array,
  bFrom: number,
  bEnd: number,
): number {
  const length = Math.min(aEnd - aFrom, bEnd - bFrom);
  for (let i = 0; i < length; i++) {
    const difference = (a[aFrom + i] as number) - (b[bFrom + i] as number);
    if (difference !== 0) return difference;
  }
  return aEnd - aFrom - (bEnd - bFrom);
}
