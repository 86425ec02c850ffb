/** What a complete checkpoint is: plain data, inside HEAD. Nothing here knows what a job does. */
export interface Manifest {
  readonly format: 1;
  readonly checkpointId: number;
  /** Leader epoch under which it was published. */
  readonly epoch: number;
  /** One entry per task of the job, finished ones included, sorted by task. */
  readonly tasks: readonly TaskSnapshot[];
  /** Set by the owner of the job: fingerprint of its code, topology, lineage counters. Opaque to this folder. */
  readonly meta: string;
  /** True for the checkpoint after the last END: everything is committed, nothing is left to run. */
  readonly final: boolean;
}

export interface TaskSnapshot {
  readonly task: string;
  readonly finished: boolean;
  /** Keyed and operator state: segments, oldest first. */
  readonly segments: readonly SegmentRef[];
  /** Everything else of the task (positions, watermarks, next seqs, source offsets, open transactions), as the task encoded it. */
  readonly position: string;
}

/** Where a segment's bytes are: a range of an object, or inside HEAD itself when small (`inline`, base64). */
export interface SegmentRef {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  /** xxh64 of the bytes, 16 hex digits. */
  readonly checksum: string;
  readonly full: boolean;
  readonly inline?: string;
}
