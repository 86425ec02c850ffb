import type { CompactionSettings } from '../checkpoint/index.js';
import type { KillsMutant } from './kills-mutants.js';
import type { KillsPlan } from './kills-plan.js';

/** How a mutant is looked for: what its seeds have, how many of them are enough, and what may be seen of it. */
export interface KillsHunt {
  readonly wishes: Partial<KillsPlan>;
  readonly seedsMax: number;
  readonly codes: readonly string[];
}

const eager: CompactionSettings = { deltasMax: 2, overlayMax: 0.2, outputBytesMin: 1, outputBytesMax: 2 ** 20 };
const quick = { intervalMs: 0.5, delayMs: [0.2, 0.4] } as const;
/** HEAD leaves behind what readers have pinned, while those and the collector sleep. */
const pinned = { ...quick, retained: 1, readers: 2, store: 'network', inlineBytesMax: 0, awaitsPerLife: 10 } as const;
const slept = {
  ...pinned,
  awaitsPerLife: 12,
  pauseRate: 0.8,
  pauseMsMax: 200,
  kills: 100,
  hosts: 1,
  headBytesMax: 256 * 1024,
  retrying: false,
  rollBackRate: 0,
  errorRate: 0,
  lostResponseRate: 0,
  stuckRate: 0,
  outageEveryMs: Number.POSITIVE_INFINITY,
} as const;

export const killsHunts: Readonly<Record<KillsMutant, KillsHunt>> = {
  collectorIgnoresLine: { wishes: {}, seedsMax: 10, codes: ['DELETED_ALIVE', 'OBJECT_MISSING', 'MANIFEST_MISSING'] },
  collectorIgnoresPins: { wishes: pinned, seedsMax: 30, codes: ['DELETED_ALIVE', 'PROCESS_FAILED'] },
  collectorReadsPinsFirst: { wishes: slept, seedsMax: 20, codes: ['DELETED_ALIVE', 'OBJECT_MISSING'] },
  pinWithoutSecondLook: { wishes: slept, seedsMax: 20, codes: ['DELETED_ALIVE', 'OBJECT_MISSING', 'PROCESS_FAILED'] },
  publishWithoutNonce: {
    wishes: {},
    seedsMax: 10,
    codes: ['TOLD_WRONGLY', 'CONTENT_WRONG', 'HEAD_WRONG', 'OBJECT_MISSING'],
  },
  // A task's full snapshot overtakes the merge of what it replaces.
  compactionAppliedBlindly: {
    wishes: {
      fullSnapshotRate: 0.3,
      mergeMsMax: 60,
      awaitsPerLife: 40,
      readers: 0,
      rollBackRate: 0,
      compaction: eager,
    },
    seedsMax: 20,
    codes: ['CONTENT_WRONG', 'PROCESS_FAILED'],
  },
  deltaUnderOldName: { wishes: {}, seedsMax: 10, codes: ['CONTENT_WRONG', 'PROCESS_FAILED'] },
  // The publication that would bring in the outputs is refused (`SEGMENT_DEAD`).
  reservationReleasedEarly: {
    wishes: { ...quick, mergeMsMax: 60, awaitsPerLife: 40, readers: 0, inlineBytesMax: 0, compaction: eager },
    seedsMax: 40,
    codes: ['PROCESS_FAILED'],
  },
  collectorOverlooksManifests: { wishes: { headBytesMax: 100 }, seedsMax: 10, codes: ['LEAKED'] },
  movesWithoutCondition: { wishes: {}, seedsMax: 10, codes: ['HEAD_WRONG', 'MANIFEST_MISSING', 'PROCESS_FAILED'] },
};
