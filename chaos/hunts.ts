import type { AnyScenarioWishes, Mutant } from './scenario.js';

/** Where a broken variant shows, and how. */
export interface Hunt {
  readonly wishes: AnyScenarioWishes;
  /** It is caught within so many seeds, or the simulator is at fault. */
  readonly seedsMax: number;
  /** Takes longer than a test may: only benchmarks hunt it. */
  readonly isRare?: boolean;
  /** What may be seen of it; anything else was found by accident. */
  readonly codes: readonly string[];
}

export const HUNTS: Readonly<Record<Mutant, Hunt>> = {
  noSeal: {
    // Only where publishing is seen at once; the moment between seal and release is short, so it is aimed at.
    wishes: { scenario: 'flights', shuffle: 'mapped', faults: ['deafWorker'] },
    seedsMax: 120,
    codes: ['PUBLISHED_AFTER_SEAL'],
  },
  visibleBeforeStored: { wishes: {}, seedsMax: 20, codes: ['BUFFER_CORRUPT', 'BUFFER_CHANGED'] },
  trimBeforeComplete: { wishes: {}, seedsMax: 20, codes: ['TRIMMED_BEFORE_COMPLETE'] },
  spilledBeforeStored: {
    wishes: { scenario: 'shuffle' },
    seedsMax: 60,
    codes: ['LOST_WITHOUT_REASON', 'BUFFER_CORRUPT', 'BUFFER_OUT_OF_ORDER'],
  },
  // The scheduler refuses a manifest whose positions do not meet, before anybody sees it: the job ends.
  ackOfDeadAttempt: {
    wishes: { scenario: 'flights', faults: ['failTask', 'killSlot', 'killWorker'] },
    seedsMax: 150,
    codes: ['JOB_FAILED', 'SNAPSHOT_OF_DEAD_ATTEMPT', 'HEAD_WRONG', 'OUTPUT_WRONG'],
  },
  endNotAligned: { wishes: { scenario: 'flights', faults: [] }, seedsMax: 60, codes: ['CHECKPOINT_STUCK'] },
  watermarkForgotten: { wishes: { scenario: 'late' }, seedsMax: 80, codes: ['OUTPUT_WRONG'] },
  // What a base holds that was not synced before a power cut is nonsense, or older than its list says.
  noBootId: {
    wishes: { scenario: 'flights', faults: ['killFolding'] },
    seedsMax: 250,
    isRare: true,
    codes: ['OUTPUT_WRONG', 'JOB_FAILED', 'NOT_LIVE'],
  },
  retainedPushesBack: { wishes: {}, seedsMax: 40, codes: ['NOT_LIVE', 'JOB_FAILED'] },
};
