import { type Clock, type Logger, MillraceError, type Random, yieldTurn } from '../../base/index.js';
import {
  type BlobStore,
  CheckpointStore,
  fallBack,
  findRestorable,
  type Manifest,
  type RestorableCheckpoint,
} from '../../checkpoint/index.js';

/** Indexes of segments looked at at once, before a job resumes. */
const PARALLEL = 32;

export interface ResumeOptions {
  readonly store: BlobStore;
  readonly random: Random;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Goes on from the newest checkpoint that is undamaged, every byte of it read, when the newest of all is not. */
  readonly fallback: boolean;
  /** Forgets all checkpoints there are. */
  readonly fresh: boolean;
}

/** The checkpoint that a run goes on from, if any, before the run leads the store. */
export interface ResumePoint {
  /** Undefined for a fresh start. */
  readonly manifest: Manifest | undefined;
  /** Ids of newer checkpoints that are damaged, newest first. */
  readonly damaged: readonly number[];
  /** Takes over. After a fallback the checkpoint has a new id, above those that are given up. */
  lead(): Promise<CheckpointStore>;
}

/**
 * Looks at what there is. Damage is never taken for a fresh start, nor passed by unasked.
 * @throws MillraceError `CHECKPOINT_DAMAGED` (corrupt) with what is damaged and what is not; `STORE_UNAVAILABLE`, `HEAD_*`.
 */
export async function findResumePoint(options: ResumeOptions): Promise<ResumePoint> {
  const { store, random, logger } = options;
  const storeOptions = { store, random, logger };
  if (options.fresh) {
    const opened = await CheckpointStore.open(storeOptions);
    return { manifest: opened.latest, damaged: [], lead: () => opened.reset().then(() => opened) };
  }
  const found = await look(options, options.fallback);
  if (found === undefined || found.damaged.length === 0) {
    const opened = await CheckpointStore.open(storeOptions);
    return { manifest: opened.latest, damaged: [], lead: () => opened.takeOver().then(() => opened) };
  }
  const { undamaged, damaged } = found;
  if (!options.fallback || undamaged === undefined) throw damagedError(store, found);
  const lead = () => fallBack(storeOptions, found);
  return { manifest: undamaged, damaged: damaged.map(({ checkpointId }) => checkpointId), lead };
}

/**
 * What to say when a job dies of a segment that cannot be read: the start looks at indexes alone. Looks at every byte.
 * @returns the error itself, when it is another, or nothing is found.
 */
export async function explainDamage(
  error: MillraceError,
  options: Pick<ResumeOptions, 'store' | 'clock'>,
): Promise<MillraceError> {
  if (error.code !== 'SEGMENT_CORRUPT') return error;
  try {
    const found = await look(options, true);
    return found === undefined || found.damaged.length === 0 ? error : damagedError(options.store, found);
  } catch {
    return error;
  }
}

function look(
  { store, clock }: Pick<ResumeOptions, 'store' | 'clock'>,
  deep: boolean,
): Promise<RestorableCheckpoint | undefined> {
  return findRestorable(store, { deep, parallel: PARALLEL, breathe: () => yieldTurn(clock) });
}

function damagedError(store: BlobStore, found: RestorableCheckpoint): MillraceError {
  const { newest, undamaged, damaged } = found;
  const problems = damaged[0]?.problems ?? [];
  const more = problems.length > 1 ? ` and ${problems.length - 1} more` : '';
  const what = `checkpoint ${newest} is damaged: ${problems[0]?.what}${more}`;
  const next =
    undamaged === undefined
      ? 'no older one that is kept is whole; restore a savepoint (millrace checkpoints restore), or start anew elsewhere'
      : `checkpoint ${undamaged.checkpointId} is not: --fallback goes on from it, and writes again what was committed since (see --help)`;
  return new MillraceError('corrupt', 'CHECKPOINT_DAMAGED', `${what}; ${next}`, {
    context: {
      location: store.location,
      checkpointId: newest,
      ...(undamaged && { undamaged: undamaged.checkpointId }),
    },
  });
}
