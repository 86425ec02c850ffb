import type { ArenaGeometry } from './arena.js';
import type { IdleLimits } from './reaper.js';
import type { LogGeometry } from './task-log.js';

/** Sizes and limits of a shuffle service on one host. Plain data; every client of a service uses the same. */
export interface ShuffleSettings extends ArenaGeometry, LogGeometry, IdleLimits {
  /** A subpartition with more unconsumed bytes than this pushes back. */
  readonly unconsumedBytesMax: number;
  /** Likewise, in buffers; at most a quarter of the index ring applies in any case. */
  readonly unconsumedBuffersMax: number;
  /** Kept bytes of one writer in memory at which they are moved to disk; at twice as many it waits. */
  readonly spillBytes: number;
  /** How often the service looks for writers that nobody wants, and for calls it did not hear. */
  readonly tidyMs: number;
}

export const SHUFFLE_DEFAULTS: ShuffleSettings = {
  arenaBytes: 256 * 1024 * 1024,
  slotBytes: 256 * 1024,
  frameBytes: 1024 * 1024,
  unconsumedBytesMax: 4 * 1024 * 1024,
  unconsumedBuffersMax: 1024,
  spillBytes: 16 * 1024 * 1024,
  tidyMs: 5000,
  idleConsumedMs: 10 * 60_000,
  idlePartlyConsumedMs: 60 * 60_000,
  idleNeverConsumedMs: 24 * 60 * 60_000,
  idleUnfinishedMs: 60 * 60_000,
};

/** What the simulator breaks on purpose, to see that it notices. Never set otherwise. */
export interface ShuffleFaults {
  /** The master's seal does not raise the epoch. */
  readonly noSeal?: boolean;
  /** The writer publishes before the bytes are stored. */
  readonly visibleBeforeStored?: boolean;
  /** Buffers count as spilled before their region is written. */
  readonly spilledBeforeStored?: boolean;
  /** What is retained for a replay counts as not consumed yet. */
  readonly retainedPushesBack?: boolean;
}
