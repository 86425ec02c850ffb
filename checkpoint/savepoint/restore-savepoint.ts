import { MillraceError, type Random } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import { segmentObjectName } from '../blob/blob-name.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { CheckpointStore } from '../checkpoint-store.js';
import { readManifest } from '../collect-garbage.js';
import { keptBy } from '../head/head-protocol.js';
import { readHead } from '../head/head-register.js';
import type { Manifest } from '../manifest.js';
import { verifyCheckpoint } from '../verify.js';
import { copySegments } from './copy-segments.js';
import { removeSavepoint } from './remove-savepoint.js';
import { readSavepoint, type Savepoint, savepointIdOf } from './savepoint.js';

/** The job's store, and its leader: `takeOver` comes before. */
export interface RestoreTarget {
  readonly store: BlobStore;
  readonly checkpoints: CheckpointStore;
}

export interface RestoreSavepointOptions {
  readonly random: Random;
  /** The savepoint is the job's from here on: it is removed once HEAD holds the copy, and the copy was looked at. */
  readonly claim: boolean;
  /** Also when the job has checkpoints: they become older ones. */
  readonly replace?: boolean;
  /** Part of the names of the copies. Default `savepoint`. */
  readonly host?: string;
  readonly objectBytesMax?: number;
  readonly signal?: AbortSignal;
  progress?(bytesDone: number, bytes: number): void;
  /** Lets others work, now and then. */
  breathe(): Promise<void>;
}

export interface RestoredSavepoint {
  /** The checkpoint as it stands in HEAD. */
  readonly checkpoint: Manifest;
  /** An earlier call had done it, and all that was left is the claim. */
  readonly before: boolean;
  /** Of the savepoint, when it was claimed. */
  readonly removedObjects: number;
}

/**
 * Makes a savepoint the newest checkpoint of a job. Nothing is ever owned by two: the segments are copied, verified, under
 * names of the leader's epoch, then published; so the job's collector and the savepoint's owner never meet. What a
 * failure leaves behind in the job's store is garbage to its collector, never deleted here: a publication whose answer was
 * lost may be in HEAD. Calling it again after any failure, under a new `takeOver`, ends in the same state.
 *
 * The checkpoint keeps its id, unless the job has reached a higher one.
 * @throws MillraceError `CHECKPOINTS_EXIST` (invalid) without `replace`; `LEADER_FENCED` (fenced); `SAVEPOINT_MISSING`,
 *   `SAVEPOINT_INCOMPLETE` (invalid); `SAVEPOINT_CORRUPT`, `SEGMENT_CORRUPT`, `STORE_UNAVAILABLE`, `STOPPED`.
 */
export async function restoreSavepoint(
  source: BlobStore,
  target: RestoreTarget,
  options: RestoreSavepointOptions,
): Promise<RestoredSavepoint> {
  const { latest } = target.checkpoints;
  const savepoint = await readUnlessClaimed(source, latest, options.claim);
  const before = savepoint === undefined || latest?.restoredFrom === savepoint.savepointId;
  const checkpoint = before ? (latest as Manifest) : await bringIn(source, savepoint, target, options);
  if (!options.claim) return { checkpoint, before, removedObjects: 0 };
  await assertHolds(target.store, checkpoint, options);
  return { checkpoint, before, removedObjects: await removeSavepoint(source, { random: options.random, whole: true }) };
}

/** Undefined when this very savepoint was restored, and half of it is removed. */
async function readUnlessClaimed(
  source: BlobStore,
  latest: Manifest | undefined,
  claim: boolean,
): Promise<Savepoint | undefined> {
  try {
    return await readSavepoint(source);
  } catch (thrown) {
    if (!claim || latest?.restoredFrom === undefined || !hasCode(thrown, 'SAVEPOINT_INCOMPLETE')) throw thrown;
    if ((await savepointIdOf(source)) !== latest.restoredFrom) throw thrown;
    return undefined;
  }
}

async function bringIn(
  source: BlobStore,
  savepoint: Savepoint,
  target: RestoreTarget,
  options: RestoreSavepointOptions,
): Promise<Manifest> {
  const { store, checkpoints } = target;
  const { random, host = 'savepoint' } = options;
  const newest = checkpoints.checkpointIds[0];
  if (newest !== undefined && options.replace !== true) {
    throw new MillraceError(
      'invalid',
      'CHECKPOINTS_EXIST',
      `${store.location} has checkpoints (the newest is ${newest}); a savepoint is restored into an empty place, unless it is to replace them (--replace)`,
    );
  }
  const { manifest } = savepoint;
  const reservation = checkpoints.reserve();
  try {
    const { epoch } = reservation;
    const { tasks } = await copySegments(source, manifest, {
      ...options,
      async put(_at, _part, bytes) {
        const name = segmentObjectName(epoch, reservation.checkpointId, host, random.nonce());
        await store.put(name, bytes);
        return name;
      },
    });
    const checkpointId = Math.max(manifest.checkpointId, (newest ?? 0) + 1);
    const checkpoint = { ...manifest, checkpointId, epoch, tasks, restoredFrom: savepoint.savepointId };
    await checkpoints.publish(checkpoint);
    return checkpoint;
  } finally {
    reservation.release();
  }
}

/** Before anything of the savepoint goes: the copy is in HEAD as it is stored now, and all of it is there. */
async function assertHolds(store: BlobStore, checkpoint: Manifest, options: RestoreSavepointOptions): Promise<void> {
  const read = await readHead(store);
  const kept = read === undefined ? [] : keptBy(read.head).filter((m) => m.checkpointId === checkpoint.checkpointId);
  const found = kept[0] === undefined ? undefined : await readManifest(store, kept[0]);
  const why =
    found?.restoredFrom !== checkpoint.restoredFrom
      ? 'HEAD does not hold the copy'
      : (await verifyCheckpoint(store, found as Manifest, { ...options, deep: false })).problems[0]?.what;
  if (why === undefined) return;
  throw new MillraceError('corrupt', 'SAVEPOINT_CLAIM', `${store.location}: ${why}; the savepoint was left as it is`);
}
