/** What a complete checkpoint is: plain data, inside HEAD. Nothing here knows what a job does. */
export interface Manifest {
  readonly format: 2;
  readonly checkpointId: number;
  /** Leader epoch under which it was published. */
  readonly epoch: number;
  /** One entry per task of the job, finished ones included, sorted by task. */
  readonly tasks: readonly TaskSnapshot[];
  /** Set by the owner of the job: fingerprint of its code, topology, lineage counters. Opaque to this folder. */
  readonly meta: string;
  /** True for the checkpoint after the last END: everything is committed, nothing is left to run. */
  readonly final: boolean;
  /** Id of the savepoint that this is the copy of. */
  readonly restoredFrom?: string;
}

export interface TaskSnapshot {
  readonly task: string;
  readonly finished: boolean;
  /** Keyed and operator state: segments, oldest first. What a newer one says of a key counts. */
  readonly segments: readonly SegmentRef[];
  /** Everything else of the task (positions, watermarks, next seqs, source offsets, open transactions), as the task encoded it. */
  readonly position: string;
}

/** Where a segment's bytes are: a range of an object, or inside HEAD itself when small (`inline`, base64). */
export interface SegmentRef {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  /** The last bytes of the segment: its index and trailer. */
  readonly indexBytes: number;
  /** xxh64 of the index, 16 hex digits. The index holds those of the blocks, so nothing of the segment is read on trust. */
  readonly checksum: string;
  /** Older segments count for nothing within its key groups. */
  readonly full: boolean;
  /** Key groups it may hold, both inclusive. */
  readonly first: number;
  readonly last: number;
  /** Checkpoints whose changes were merged into it; 1 as a task took it. */
  readonly deltas: number;
  readonly inline?: string;
}
