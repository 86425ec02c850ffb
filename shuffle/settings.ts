import type { ArenaGeometry } from './arena.js';
import type { LogGeometry } from './task-log.js';

/** Sizes and limits of a shuffle service on one host. Plain data; every client of a service uses the same. */
export interface ShuffleSettings extends ArenaGeometry, LogGeometry {
  /** A subpartition with more unconsumed bytes than this pushes back. */
  readonly unconsumedBytesMax: number;
  /** Likewise, in buffers; at most a quarter of the index ring applies in any case. */
  readonly unconsumedBuffersMax: number;
}

export const SHUFFLE_DEFAULTS: ShuffleSettings = {
  arenaBytes: 256 * 1024 * 1024,
  slotBytes: 256 * 1024,
  frameBytes: 1024 * 1024,
  unconsumedBytesMax: 4 * 1024 * 1024,
  unconsumedBuffersMax: 1024,
};

/** What the simulator breaks on purpose, to see that it notices. Never set otherwise. */
export interface ShuffleFaults {
  /** The master's seal does not raise the epoch. */
  readonly noSeal?: boolean;
  /** The writer publishes before the bytes are stored. */
  readonly visibleBeforeStored?: boolean;
}
