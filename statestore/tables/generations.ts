import { STAMP_MASK } from './record-layout.js';

interface PendingSnapshot {
  readonly checkpointId: number;
  readonly generation: number;
  readonly full: boolean;
  /** Known when it is written. */
  bytes: number;
}

/**
 * Which changes are in which snapshot. Every snapshot closes a generation; an entry carries the generation of its last
 * change and that of its birth.
 *
 * - A change is saved iff its generation <= `completed`. A snapshot writes all that is not saved, whatever is pending: so
 *   an aborted snapshot needs no undoing, and a completed one covers all that were taken before it.
 * - An entry may be in a segment that counts iff its birth <= `persisted`: only then its removal must leave a tombstone.
 *
 * Records have room for the low bits of a generation only (`stamp`); `age` tells them apart, as long as no record's is
 * older than a full turn, for which `Records.renew` cares.
 */
export class Generations {
  /** Generation of changes made now. 0 while restoring. */
  #current = 0;
  readonly #hasBeneath: boolean;
  /** Completed, but what lies beneath has not gone on to it. */
  #unsettled: { readonly checkpointId: number; readonly generation: number }[] = [];
  /** Its stamp. */
  stamp = 0;
  /** Generation of the newest completed snapshot. */
  completed = 0;
  /**
   * Changes up to this generation may be forgotten: they are saved, and what lies beneath the tables, if there is anything, has
   * gone on to where they are. Below 0: nothing may.
   */
  settled = 0;
  /** Generation of the newest snapshot that is completed or may still be; -1 while restoring: nothing leaves a tombstone. */
  persisted = -1;
  /** Whether a delta may be made of what changes now; before the first snapshot of a chain only a full one can. */
  listing = false;
  readonly #pending: PendingSnapshot[] = [];
  /** One word for each snapshot that is being written: not 0 when nobody reads for it any more. */
  #writes: Int32Array[] = [];
  /** Of the chain of completed segments: how many, and bytes of those after the full one. */
  #chainLength = 0;
  #deltaBytes = 0;

  constructor(hasBeneath = false) {
    this.#hasBeneath = hasBeneath;
  }

  get current(): number {
    return this.#current;
  }

  get chainLength(): number {
    return this.#chainLength;
  }

  get deltaBytes(): number {
    return this.#deltaBytes;
  }

  /** Whether another thread may still read what the tables held at a barrier. Memory it reads must stay as it is. */
  get isWriting(): boolean {
    if (this.#writes.length === 0) return false;
    this.#writes = this.#writes.filter((finished) => Atomics.load(finished, 0) === 0);
    return this.#writes.length > 0;
  }

  /** How many generations ago a stamp was now's. */
  age(stamp: number): number {
    return (this.stamp - stamp) & STAMP_MASK;
  }

  restoring(): void {
    this.#advance(0);
    this.persisted = -1;
    this.settled = -1;
  }

  /**
   * Ends restoring: what is there is saved, in a chain of this many segments (0: it must be written in full). `isSettled`: and what
   * lies beneath knows it.
   */
  start(chainLength: number, deltaBytes: number, isSettled = true): void {
    this.#advance(1);
    this.completed = 0;
    this.settled = isSettled ? 0 : -1;
    this.persisted = 0;
    this.listing = chainLength > 0;
    this.#chainLength = chainLength;
    this.#deltaBytes = deltaBytes;
  }

  /** Closes the generation. `finished`: a word that is not 0 when the snapshot is written. */
  taken(checkpointId: number, full: boolean, finished: Int32Array): void {
    this.#pending.push({ checkpointId, generation: this.#current, full, bytes: 0 });
    this.#writes.push(finished);
    this.persisted = this.#current;
    this.listing = true;
    this.#advance(this.#current + 1);
  }

  written(checkpointId: number, bytes: number): void {
    const snapshot = this.#pending.find((p) => p.checkpointId === checkpointId);
    if (snapshot !== undefined) snapshot.bytes = bytes;
  }

  /** @returns whether something is saved now that was not; false for a checkpoint this store knows nothing of. */
  complete(checkpointId: number): boolean {
    const at = this.#pending.findIndex((p) => p.checkpointId === checkpointId);
    const snapshot = this.#pending[at];
    if (snapshot === undefined) return false;
    this.#pending.splice(0, at + 1);
    this.completed = snapshot.generation;
    if (this.#hasBeneath) this.#unsettled.push(snapshot);
    else this.settled = snapshot.generation;
    this.#chainLength = snapshot.full ? 1 : this.#chainLength + 1;
    this.#deltaBytes = snapshot.full ? 0 : this.#deltaBytes + snapshot.bytes;
    return true;
  }

  /** What lies beneath has gone on to a completed checkpoint. @returns false for one that this store knows nothing of. */
  settle(checkpointId: number): boolean {
    const at = this.#unsettled.findIndex((completed) => completed.checkpointId === checkpointId);
    const completed = this.#unsettled[at];
    if (completed === undefined) return false;
    this.settled = completed.generation;
    this.#unsettled.splice(0, at + 1);
    return true;
  }

  abort(checkpointId: number): void {
    const at = this.#pending.findIndex((p) => p.checkpointId === checkpointId);
    if (at >= 0) this.#pending.splice(at, 1);
    this.persisted = Math.max(this.completed, this.#pending.at(-1)?.generation ?? 0);
  }

  isPending(checkpointId: number): boolean {
    return this.#pending.some((p) => p.checkpointId === checkpointId);
  }

  #advance(generation: number): void {
    this.#current = generation;
    this.stamp = generation & STAMP_MASK;
  }
}
