interface PendingSnapshot {
  readonly checkpointId: number;
  readonly generation: number;
  readonly full: boolean;
  readonly bytes: number;
}

/**
 * Which changes are in which snapshot. Every snapshot closes a generation; an entry carries the generation of its last
 * change and that of its birth.
 *
 * - A change is saved iff its generation <= `completed`. A snapshot writes all that is not saved, whatever is pending: so
 *   an aborted snapshot needs no undoing, and a completed one covers all that were taken before it.
 * - An entry may be in a segment that counts iff its birth <= `persisted`: only then its removal must leave a tombstone.
 */
export class Generations {
  /** Stamp of changes made now. 0 while restoring. */
  current = 0;
  /** Generation of the newest completed snapshot. */
  completed = 0;
  /** Generation of the newest snapshot that is completed or may still be; -1 while restoring: nothing leaves a tombstone. */
  persisted = -1;
  readonly #pending: PendingSnapshot[] = [];
  /** Of the chain of completed segments: how many, and bytes of those after the full one. */
  #chainLength = 0;
  #deltaBytes = 0;

  get chainLength(): number {
    return this.#chainLength;
  }

  get deltaBytes(): number {
    return this.#deltaBytes;
  }

  /** Ends restoring: what is there is saved, in a chain of this many segments (0: it must be written in full). */
  start(chainLength: number, deltaBytes: number): void {
    this.current = 1;
    this.completed = 0;
    this.persisted = 0;
    this.#chainLength = chainLength;
    this.#deltaBytes = deltaBytes;
  }

  taken(checkpointId: number, full: boolean, bytes: number): void {
    this.#pending.push({ checkpointId, generation: this.current, full, bytes });
    this.persisted = this.current;
    this.current++;
  }

  /** @returns whether something is saved now that was not; false for a checkpoint this store knows nothing of. */
  complete(checkpointId: number): boolean {
    const at = this.#pending.findIndex((p) => p.checkpointId === checkpointId);
    const snapshot = this.#pending[at];
    if (snapshot === undefined) return false;
    this.#pending.splice(0, at + 1);
    this.completed = snapshot.generation;
    this.#chainLength = snapshot.full ? 1 : this.#chainLength + 1;
    this.#deltaBytes = snapshot.full ? 0 : this.#deltaBytes + snapshot.bytes;
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
}
