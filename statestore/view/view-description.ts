import type { KeyGroups } from '../../checkpoint/index.js';
import type { CoveredRange, Line, LineOf } from '../host/base-record.js';

/** A segment of a completed checkpoint that is kept on this host, above the base. */
export interface OverlayEntry extends KeyGroups {
  /** xxh64 of its index, 16 hex digits, as refs have it; its files are named after it. */
  readonly checksum: string;
  readonly line: Line;
  readonly full: boolean;
  /** Of the segment. */
  readonly bytes: number;
  readonly entries: number;
}

/**
 * What a reader needs to know to see a host's state at a completed checkpoint: plain data, sent from the daemon to workers.
 * Whoever opens a view of it takes a snapshot of the base afterwards, never before.
 */
export interface ViewDescription {
  /** Of the folder. */
  readonly root: string;
  readonly line: Line;
  /** Oldest first; those that came with one checkpoint have no key groups in common. */
  readonly segments: readonly OverlayEntry[];
  /** What the base covered then. Segments up to these lines are left out of `segments`. */
  readonly ranges: readonly CoveredRange[];
  /** Where the base covers nothing: `segments` has all of the checkpoints after these. */
  readonly floors: readonly LineOf[];
}
