import { assert, type Clock } from '../../base/index.js';
import type { KeyGroups } from '../../checkpoint/index.js';
import { EntryMerge } from '../view/merge-entries.js';
import { type SegmentBlocks, SegmentSource } from '../view/segment-source.js';
import { StateRanks } from '../view/state-ranks.js';
import { BaseBatch } from './base-entries.js';
import { BaseKeyWriter } from './base-key.js';
import {
  type BaseRecord,
  type Line,
  readBaseRecord,
  stateIn,
  within,
  withRange,
  withStates,
  writeBaseRecord,
} from './base-record.js';
import type { WritableBaseStore } from './base-store.js';

/** A segment to be folded. */
export interface FoldInput {
  readonly blocks: SegmentBlocks;
  /** Its checksum, as refs have it. */
  readonly checksum: string;
}

export interface FoldOptions {
  readonly store: WritableBaseStore;
  readonly clock: Clock;
  /** One range of the base covers all of them; or, with `anew`, none covers any: then they are covered from now on. */
  readonly keyGroups: KeyGroups;
  /** Where the range will stand: the last of these segments is of this checkpoint. */
  readonly line: Line;
  /** Oldest first. All that changed since the range's line; or, with `anew`, all there is. */
  readonly segments: readonly FoldInput[];
  /** What the base holds of these key groups counts for nothing, and goes. */
  readonly anew: boolean;
  /** How long a transaction may take; it gets as many entries as fit. */
  readonly transactionMs: number;
  readonly transactionEntriesMax: number;
}

const entriesMin = 64;
const entriesAtFirst = 1024;
const bytesMax = 4 * 2 ** 20;

/** A state in the base, and others of its name with other metas: what they say of a key is superseded. */
interface StateNumber {
  readonly number: number;
  readonly others: readonly number[];
}

/**
 * Brings segments of completed checkpoints into a base: their entries in key order, in small transactions, so that each
 * page is copied about once and nobody waits long. Not to be seen until its end: whoever reads the base meanwhile has an
 * overlay of the same segments above it (`CoveredRange.fold`), which hides what came early, and readers keep the snapshot
 * they have. The last transaction moves the line, together with the last entries.
 *
 * After a crash anywhere it is simply done again: an entry brought in twice is the same entry.
 */
export class Fold {
  readonly #options: FoldOptions;
  readonly #batch = new BaseBatch();
  readonly #merge: EntryMerge<SegmentSource>;
  readonly #ranks: StateRanks;
  #entriesPerTransaction: number;
  #phase: 'begin' | 'clear' | 'entries' | 'done' = 'begin';
  /** By age of the segment and position in its states. */
  #numbers: StateNumber[][] = [];
  #entries = 0;

  constructor(options: FoldOptions) {
    this.#options = options;
    this.#entriesPerTransaction = Math.min(entriesAtFirst, options.transactionEntriesMax);
    const { segments, keyGroups } = options;
    this.#ranks = new StateRanks(segments.flatMap(({ blocks }) => blocks.index.states.map(({ name }) => name)));
    this.#merge = new EntryMerge(
      segments.map(({ blocks }, age) => new SegmentSource(blocks, age, this.#ranks, { range: keyGroups })),
    );
  }

  /** Entries brought in so far, removed ones included. */
  get entries(): number {
    return this.#entries;
  }

  /**
   * One short transaction; false when that was the last. Calls must not overlap.
   * @throws MillraceError `SEGMENT_CORRUPT`, `BASE_FULL`, `BASE_UNAVAILABLE`, `STORE_UNAVAILABLE`: the fold may be begun again.
   */
  async step(): Promise<boolean> {
    switch (this.#phase) {
      case 'begin':
        this.#begin();
        this.#phase = this.#options.anew ? 'clear' : 'entries';
        return true;
      case 'clear':
        if (!this.#timed((entries) => clearSome(this.#options.store, this.#options.keyGroups, entries))) {
          this.#phase = 'entries';
        }
        return true;
      case 'entries': {
        const last = !(await this.#collect());
        this.#write(last);
        if (last) {
          this.#phase = 'done';
          this.#merge.close();
        }
        return !last;
      }
      default:
        return false;
    }
  }

  #begin(): void {
    const { store, keyGroups, line, segments, anew } = this.#options;
    const states = segments.map(({ blocks }) => blocks.index.states);
    const record = withStates(readRecord(store), states.flat());
    this.#numbers = states.map((of) => of.map((state) => numberOf(record.states, state)));
    const covered = record.ranges.find((range) => within(range, keyGroups) !== undefined);
    const part = covered && within(covered, keyGroups);
    const whole = part?.first === keyGroups.first && part.last === keyGroups.last;
    assert(
      whole || (anew && part === undefined),
      `key groups ${keyGroups.first}..${keyGroups.last} are of no one range`,
    );
    const fold = { line, segments: segments.map(({ checksum }) => checksum) };
    const filling = { ...keyGroups, line, folded: [], isFilling: true as const };
    const begun = withRange(record, keyGroups, { ...(part ?? filling), fold });
    store.write((transaction) => writeBaseRecord(transaction, begun));
  }

  /** Fills the batch; false when there is nothing after it. */
  async #collect(): Promise<boolean> {
    const batch = this.#batch;
    batch.clear();
    const merge = this.#merge;
    while (batch.count < this.#entriesPerTransaction && batch.byteLength < bytesMax) {
      const found = merge.next();
      if (!(typeof found === 'boolean' ? found : await found)) return false;
      this.#take(merge.entry, merge.isRemoved);
    }
    return true;
  }

  #take(entry: SegmentSource, removed: boolean): void {
    const { keyGroup, bytes, keyStart, keyEnd, subEnd, payloadEnd } = entry;
    const state = this.#numbers[entry.age]?.[entry.state];
    assert(state !== undefined, 'the states of all segments have numbers');
    this.#entries++;
    const batch = this.#batch;
    if (removed) batch.remove(keyGroup, state.number, bytes, keyStart, keyEnd, subEnd);
    else batch.put(keyGroup, state.number, bytes, keyStart, keyEnd, subEnd, payloadEnd);
    for (const other of state.others) batch.remove(keyGroup, other, bytes, keyStart, keyEnd, subEnd);
  }

  #write(last: boolean): void {
    const { store, keyGroups, line, segments } = this.#options;
    const folded = segments.map(({ checksum }) => checksum);
    let ended = last ? readRecord(store) : undefined;
    for (const range of ended?.ranges ?? []) {
      // What was given up meanwhile stays so.
      if (ended === undefined || within(range, keyGroups) === undefined || range.fold === undefined) continue;
      const { first, last: end } = range;
      ended = withRange(ended, range, { first, last: end, line, folded });
    }
    this.#timed(() =>
      store.write((transaction) => {
        this.#batch.apply(transaction);
        if (ended !== undefined) writeBaseRecord(transaction, ended);
      }),
    );
  }

  /** Keeps transactions as long as they should be. */
  #timed<T>(write: (entries: number) => T): T {
    const { clock } = this.#options;
    const n = this.#entriesPerTransaction;
    const before = clock.monotonicMs();
    const result = write(n);
    const took = clock.monotonicMs() - before;
    const { transactionMs, transactionEntriesMax } = this.#options;
    if (took > transactionMs) this.#entriesPerTransaction = Math.min(n, Math.max(entriesMin, n >> 1));
    else if (took < transactionMs / 2) this.#entriesPerTransaction = Math.min(transactionEntriesMax, n + (n >> 2));
    return result;
  }
}

function numberOf(states: BaseRecord['states'], { name, meta }: BaseRecord['states'][number]): StateNumber {
  const number = stateIn(states, name, meta);
  return { number, others: states.flatMap((state, i) => (state.name === name && i !== number ? [i] : [])) };
}

/** Removes up to so many entries of these key groups, in one transaction; false when there were none left. */
export function clearSome(store: WritableBaseStore, { first, last }: KeyGroups, entries: number): boolean {
  const keys: Uint8Array[] = [];
  const snapshot = store.snapshot();
  try {
    const to = new BaseKeyWriter().keyGroup(last).after();
    const scan = snapshot.scan(new BaseKeyWriter().keyGroup(first).key, to.key);
    while (keys.length < entries && scan.next()) keys.push(scan.key);
    scan.close();
  } finally {
    snapshot.release();
  }
  if (keys.length === 0) return false;
  store.write((transaction) => {
    for (const key of keys) transaction.remove(key);
  });
  return true;
}

/** The newest. */
export function readRecord(store: WritableBaseStore): BaseRecord {
  const snapshot = store.snapshot();
  try {
    return readBaseRecord(snapshot);
  } finally {
    snapshot.release();
  }
}
