import type { KeyGroups } from '../../checkpoint/index.js';

/*
 * What lies beneath a task's tables: its state at the newest completed checkpoint it knows of, larger than memory. Interfaces
 * only.
 *
 * A table keeps in memory what changed since that checkpoint (dirty), removals among it, and as much of the rest (clean) as
 * its budget allows. A clean entry may be let go at any time, without a trace: `find` brings it back. So a table that finds
 * nothing of a key in memory, not even that it was removed, asks here before it believes that there is nothing.
 *
 * What is dirty becomes clean in two steps: first the checkpoint completes and this state goes on to it (`advance`), then
 * the table may let go. Never the other way round: in between, nobody would know the entry.
 *
 * All of it is synchronous: a task waits for no one in the middle of a row. State that is not on this host yet is made to be
 * there before a batch of rows is processed:
 *
 *     if (!cold.isLocal) {
 *       cold.letGo();
 *       for (each row) { const wait = cold.ready(keyGroup, key); if (wait) waits.push(wait); }
 *     }
 *
 * After `await Promise.all(waits)`, `find` answers for these keys until the next `letGo`. Keyed state is only ever used for the
 * key of the row, or of the timer, at hand: so nothing is missed. On a host that has all, which is where a task is nearly
 * always, that is one look at a boolean per batch. `AWAY` is for bugs, for those who do not prepare, and for a host that missed
 * a checkpoint.
 */
export interface ColdState {
  readonly range: KeyGroups;
  /** Whether all key groups are on this host: then `ready` has nothing to do and nothing is `AWAY`. */
  readonly isLocal: boolean;
  /** The state of this name; it may not exist, then nothing is found. The same object every time. */
  table(state: string): ColdTable;
  /** All entries of a key in one state, ordered by sub key; each is valid until the next. Nothing is `AWAY` once `ready` was waited for. */
  entriesOf(state: string, keyGroup: number, key: Uint8Array): Iterable<ColdEntry>;
  /** Resolves when `find` can answer for all states and sub keys of this key; undefined: it can already. */
  ready(keyGroup: number, key: Uint8Array): Promise<void> | undefined;
  /** No key that was waited for is needed any more: they may make room for others. */
  letGo(): void;
}

/** Nothing is known of the key: it has no value. */
export const ABSENT = 0;
export const FOUND = 1;
/** Not on this host: wait for `ready`. */
export const AWAY = 2;
export type ColdAnswer = typeof ABSENT | typeof FOUND | typeof AWAY;

export interface ColdEntry {
  readonly sub: Uint8Array;
  readonly payload: Uint8Array;
  readonly meta: Uint8Array;
}

/** One state. What was found is in its fields, and valid until the next call of anything that reads this state. */
export interface ColdTable {
  /** Sub key: as segments have it (`segment-format.ts`). */
  find(keyGroup: number, key: Uint8Array, sub: Uint8Array): ColdAnswer;
  /** The payload, as it stands in segments. */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** How it is to be read: of the state, as its segment had it. */
  readonly meta: Uint8Array;
}
