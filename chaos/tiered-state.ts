import type { Random } from '../base/index.js';
import type { FolderSettings } from '../statestore/index.js';

/** State that is larger than memory, in small: how little of it fits, and how soon what lies beneath is folded. */
export interface TieredState {
  /** Of one task. */
  readonly memoryBytes: number;
  readonly folder: Pick<FolderSettings, 'segmentsMax' | 'entriesMax' | 'transactionEntriesMax'>;
}

export function drawTieredState(random: Random): TieredState {
  return {
    memoryBytes: random.chance(0.5) ? 0 : random.below(16_384),
    folder: {
      segmentsMax: 1 + random.below(5),
      entriesMax: 20 + random.below(2000),
      transactionEntriesMax: 1 + random.below(random.chance(0.5) ? 4 : 100),
    },
  };
}
