import { type StateWriter, writeAtOnce } from '../segment/state-writer.js';
import type { KeyGroupRange, StateSegment } from '../spi.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';

/** A store whose segments are there as soon as a snapshot is taken: for tests of what is above it. */
export class StoreAtOnce extends MemoryStateStore {
  readonly #segments: StateSegment[];

  constructor(range: KeyGroupRange, options: { readonly chainLengthMax?: number } = {}) {
    const segments: StateSegment[] = [];
    const writer: StateWriter = {
      write: async (frozen) => {
        segments[0] = writeAtOnce(frozen);
        return segments[0];
      },
    };
    super(range, { ...options, writer });
    this.#segments = segments;
  }

  snapshotAtOnce(checkpointId: number, options: { readonly full?: boolean } = {}): StateSegment {
    this.snapshot(checkpointId, options);
    return this.#segments[0] as StateSegment;
  }
}
