import { MillraceError } from '../base/index.js';
import { hasCode } from './blob/blob-errors.js';
import type { BlobStore } from './blob/blob-store.js';
import { CheckpointStore, type CheckpointStoreOptions } from './checkpoint-store.js';
import { readManifest } from './collect-garbage.js';
import { type HeadManifest, isMoved } from './head/head.js';
import { keptBy } from './head/head-protocol.js';
import { readHead, refuseLostHead } from './head/head-register.js';
import type { Manifest } from './manifest.js';
import { type CheckpointProblem, type VerifyOptions, verifyCheckpoint } from './verify.js';

/** Looks at a store whose leader gives up checkpoints faster than they can be read. */
const attemptsMax = 5;

export interface DamagedCheckpoint {
  readonly checkpointId: number;
  /** One or more. */
  readonly problems: readonly CheckpointProblem[];
}

/** What a store can be restored from. */
export interface RestorableCheckpoint {
  /** Id of the newest kept checkpoint, damaged or not. */
  readonly newest: number;
  /** Newer than the undamaged one, newest first. */
  readonly damaged: readonly DamagedCheckpoint[];
  /** The newest kept checkpoint with which nothing is wrong; undefined when there is none. */
  readonly undamaged: Manifest | undefined;
}

/**
 * Finds the newest kept checkpoint that can be restored, and what is wrong with the newer ones. Undefined only when the job
 * has none: a store that is away, or damaged, is never taken for an empty one.
 * @throws MillraceError `STORE_UNAVAILABLE`; `HEAD_CORRUPT` (corrupt), `HEAD_MISSING` (corrupt), `HEAD_VERSION`: nobody
 *   knows which checkpoints there are.
 */
export async function findRestorable(
  store: BlobStore,
  options: VerifyOptions,
): Promise<RestorableCheckpoint | undefined> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const read = await readHead(store);
    if (read === undefined) {
      await refuseLostHead(store);
      return undefined;
    }
    const kept = keptBy(read.head);
    const [first] = kept;
    if (first === undefined) return undefined;
    const damaged: DamagedCheckpoint[] = [];
    let undamaged: Manifest | undefined;
    for (const each of kept) {
      const { manifest, problems } = await look(store, each, options);
      if (problems.length === 0) undamaged = manifest;
      if (undamaged !== undefined) break;
      damaged.push({ checkpointId: each.checkpointId, problems });
    }
    // Of a job that runs, the collector may have taken what we found missing.
    const now = damaged.length === 0 ? read : await readHead(store);
    if (now?.version === read.version) return { newest: first.checkpointId, damaged, undamaged };
  }
  throw new MillraceError(
    'unavailable',
    'STORE_UNAVAILABLE',
    `${store.location}: its checkpoints are replaced faster than they can be looked at; stop the job that runs there`,
  );
}

/** A kept checkpoint's manifest, or what is wrong with it; and what is wrong with its segments. */
export async function look(
  store: BlobStore,
  kept: HeadManifest,
  options: VerifyOptions,
): Promise<{ readonly manifest: Manifest | undefined; readonly problems: readonly CheckpointProblem[] }> {
  let manifest: Manifest;
  try {
    manifest = await readManifest(store, kept);
  } catch (thrown) {
    const { kind, code, message } = MillraceError.from(thrown);
    const missing = hasCode(thrown, 'BLOB_NOT_FOUND');
    if (kind !== 'corrupt' && kind !== 'invalid' && !missing) throw thrown;
    const object = isMoved(kept) ? kept.object : '';
    return {
      manifest: undefined,
      problems: [{ code: missing ? 'MANIFEST_MISSING' : code, task: '', object, what: message }],
    };
  }
  return { manifest, problems: (await verifyCheckpoint(store, manifest, options)).problems };
}

/**
 * Opens a store and leads it, gone back to the undamaged checkpoint. It gets an id above all others, so that nothing that
 * was named after a newer one (a sink's files, say) is met again.
 * @throws MillraceError `CHECKPOINTS_DAMAGED` (corrupt): none is undamaged; `STORE_UNAVAILABLE`; `CHECKPOINT_ORDER`,
 *   `CHECKPOINT_NOT_FOUND` (invalid): another leader has moved HEAD on since it was looked at, look again.
 */
export async function fallBack(
  options: CheckpointStoreOptions,
  { newest, undamaged, damaged }: RestorableCheckpoint,
): Promise<CheckpointStore> {
  if (undamaged === undefined) {
    const { location } = options.store;
    const what = damaged[0]?.problems[0]?.what ?? '';
    throw new MillraceError('corrupt', 'CHECKPOINTS_DAMAGED', `${location}: no kept checkpoint is undamaged: ${what}`);
  }
  return CheckpointStore.openAt(options, undamaged.checkpointId, { as: newest + 1 });
}
