import { checksumHex, MillraceError, type Random, xxh64 } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import { encodeManifest } from '../head/head.js';
import { headName } from '../head/head-register.js';
import type { Manifest } from '../manifest.js';
import { pin, unpin } from '../pin.js';
import { copySegments } from './copy-segments.js';
import {
  begunName,
  encodeBegun,
  encodeSavepoint,
  readBegun,
  readSavepoint,
  removingName,
  type Savepoint,
  savepointName,
  savepointState,
} from './savepoint.js';

export interface WriteSavepointOptions {
  readonly random: Random;
  /** Of the pin that holds the checkpoint meanwhile, for people. Default `savepoint`. */
  readonly owner?: string;
  /** Goes on with one of the same checkpoint that is half-written. */
  readonly finish?: boolean;
  readonly objectBytesMax?: number;
  readonly signal?: AbortSignal;
  progress?(bytesDone: number, bytes: number): void;
  /** Lets others work, now and then. */
  breathe(): Promise<void>;
}

/**
 * Copies a kept checkpoint, verified and pinned meanwhile, into an empty store: from then on it needs nothing of the
 * store it came from. The job may go on and make checkpoints. What a failure leaves behind is half-written: `finish` or
 * `removeSavepoint`.
 * @throws MillraceError `SAVEPOINT_EXISTS`, `SAVEPOINT_TARGET`, `SAVEPOINT_INCOMPLETE`, `SAVEPOINT_OTHER` (invalid): the target holds
 *   something, and what; `CHECKPOINT_NOT_FOUND` (invalid); `SEGMENT_CORRUPT`, `STORE_UNAVAILABLE`, `STOPPED`.
 */
export async function writeSavepoint(
  source: BlobStore,
  manifest: Manifest,
  target: BlobStore,
  options: WriteSavepointOptions,
): Promise<Savepoint> {
  const { random, owner = 'savepoint' } = options;
  const begun = await begin(source, manifest, target, options);
  const { savepointId } = begun;
  const prefix = `segments/${savepointId}-`;
  const pinned = await pin(source, manifest, owner, random);
  try {
    const { tasks, objects } = await copySegments(source, manifest, {
      ...options,
      async put(at, part, bytes) {
        const name = `${prefix}${String(at).padStart(5, '0')}-${part}`;
        await putOnce(target, name, bytes, begun.again);
        return name;
      },
    });
    const savepoint: Savepoint = { savepointId, source: source.location, manifest: { ...manifest, tasks }, objects };
    await putOnce(target, savepointName, encodeSavepoint(savepoint), begun.again);
    // In this order: whoever removes it takes `begun` away before `removing`.
    const removing = (await target.stat(removingName)) !== undefined;
    if (!removing && (await readBegun(target))?.savepointId === savepointId) return savepoint;
    await target.delete(savepointName);
    for (const name of await target.list(prefix)) await target.delete(name);
  } finally {
    await unpin(source, pinned);
  }
  throw incomplete(target, 'it was removed while it was written');
}

/** The target is ours from here on, or refused. */
async function begin(
  source: BlobStore,
  manifest: Manifest,
  target: BlobStore,
  options: WriteSavepointOptions,
): Promise<{ readonly savepointId: string; readonly again: boolean }> {
  const { checkpointId } = manifest;
  const checksum = checksumHex(xxh64(encodeManifest(manifest)));
  const state = await savepointState(target);
  if (state === 'whole') {
    const there = await readSavepoint(target);
    // Its last step was done, and the answer to it was lost.
    const begun = options.finish === true ? await readBegun(target) : undefined;
    if (begun?.checksum === checksum) return { savepointId: there.savepointId, again: true };
    const what = `a savepoint of checkpoint ${there.manifest.checkpointId} is there already`;
    throw new MillraceError('invalid', 'SAVEPOINT_EXISTS', `${target.location}: ${what}; name an empty place`);
  }
  if (state === 'half-written') {
    if (options.finish !== true) throw incomplete(target, 'one was begun here and never finished');
    if ((await target.stat(removingName)) !== undefined) throw incomplete(target, 'it is being removed');
    const begun = await readBegun(target);
    if (begun?.checksum === checksum) return { savepointId: begun.savepointId, again: true };
    const what = `what was begun here is of checkpoint ${begun?.checkpointId ?? 'unknown'} of ${begun?.source ?? 'unknown'}`;
    throw new MillraceError(
      'invalid',
      'SAVEPOINT_OTHER',
      `${target.location}: ${what}, not of ${checkpointId} of ${source.location}`,
    );
  }
  const [foreign] = await target.list('');
  if (foreign !== undefined || (await target.read(headName)) !== undefined) {
    const what = foreign === undefined ? 'the checkpoints of a job' : foreign;
    throw new MillraceError(
      'invalid',
      'SAVEPOINT_TARGET',
      `${target.location} is not empty (it has ${what}); a savepoint needs a place of its own`,
    );
  }
  const savepointId = options.random.nonce();
  // Exclusive: of two writers one gets it.
  await target.put(begunName, encodeBegun({ savepointId, checkpointId, source: source.location, checksum }));
  return { savepointId, again: false };
}

/** `again`: it may be there already, whole; then its bytes must be the same. */
async function putOnce(store: BlobStore, name: string, bytes: Uint8Array, again: boolean): Promise<void> {
  if (again && (await store.stat(name)) !== undefined) return sameBytes(store, name, bytes);
  try {
    await store.put(name, bytes);
  } catch (thrown) {
    if (!hasCode(thrown, 'BLOB_EXISTS')) throw thrown;
    await sameBytes(store, name, bytes);
  }
}

async function sameBytes(store: BlobStore, name: string, bytes: Uint8Array): Promise<void> {
  if (Buffer.compare(await store.get(name), bytes) === 0) return;
  throw new MillraceError(
    'corrupt',
    'SAVEPOINT_CORRUPT',
    `${store.location}: ${name} has other bytes than this savepoint's; remove what is there (millrace checkpoints gc) and begin anew`,
  );
}

function incomplete(target: BlobStore, why: string): MillraceError {
  return new MillraceError(
    'invalid',
    'SAVEPOINT_INCOMPLETE',
    `${target.location}: ${why}: finish it (--finish), remove what is there (millrace checkpoints gc), or name an empty place`,
  );
}
