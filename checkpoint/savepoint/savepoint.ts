import { MillraceError } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import { openEnvelope, sealEnvelope } from '../head/envelope.js';
import type { Manifest } from '../manifest.js';

/*
 * A savepoint: one checkpoint, whole, in a BlobStore of its own that nothing else uses. It needs no HEAD and no collector.
 *
 *     begun              put first: whose savepoint this is going to be
 *     segments/<id>-..   the segments, copied and verified
 *     savepoint          put last: only what has this is a savepoint
 *     removing           put first by whoever removes it: what has this is none (any more)
 *
 * Between `begun` and `savepoint` it is half-written: refused by readers, and finished or removed by people. A writer looks
 * for `removing` and `begun` after it has put `savepoint`, a remover for `savepoint` after it has put `removing`: one of them
 * sees the other.
 */

const formatSupported = 1;
export const begunName = 'begun';
export const savepointName = 'savepoint';
export const removingName = 'removing';

/** The first object of a savepoint. */
export interface BegunSavepoint {
  /** Drawn once for each savepoint. */
  readonly savepointId: string;
  readonly checkpointId: number;
  /** Where the checkpoint was, for people. */
  readonly source: string;
  /** xxh64 of the checkpoint's manifest, in hex: only the same checkpoint finishes it. */
  readonly checksum: string;
}

export interface Savepoint {
  readonly savepointId: string;
  readonly source: string;
  /** The checkpoint; its refs are to objects of this savepoint. */
  readonly manifest: Manifest;
  readonly objects: readonly { readonly name: string; readonly bytes: number }[];
}

export type SavepointState = 'none' | 'half-written' | 'whole';

export function encodeBegun(begun: BegunSavepoint): Uint8Array {
  return sealEnvelope('savepoint', formatSupported, begun);
}

export function encodeSavepoint(savepoint: Savepoint): Uint8Array {
  return sealEnvelope('savepoint', formatSupported, savepoint);
}

/** Which one goes: known to the end, though what it says of itself goes before. */
export function encodeRemoving(savepointId: string): Uint8Array {
  return Buffer.from(`${savepointId}\n`);
}

/** Id of a savepoint that is half-written or half-removed, as far as it is known. @throws as `readBegun`. */
export async function savepointIdOf(store: BlobStore): Promise<string | undefined> {
  const begun = await readBegun(store);
  if (begun !== undefined) return begun.savepointId;
  const bytes = await getIfThere(store, removingName);
  return bytes && Buffer.from(bytes).toString().trim();
}

/** Undefined when nobody has begun one. @throws MillraceError `SAVEPOINT_CORRUPT`, `SAVEPOINT_VERSION`, `STORE_UNAVAILABLE`. */
export async function readBegun(store: BlobStore): Promise<BegunSavepoint | undefined> {
  const bytes = await getIfThere(store, begunName);
  if (bytes === undefined) return undefined;
  return openEnvelope('savepoint', formatSupported, bytes, `${store.location}, ${begunName}`) as BegunSavepoint;
}

/** @throws MillraceError `STORE_UNAVAILABLE`. */
export async function savepointState(store: BlobStore): Promise<SavepointState> {
  // In this order: a savepoint that is whole in the second look and not being removed in the third is one.
  const begun = (await store.stat(begunName)) !== undefined;
  const whole = (await store.stat(savepointName)) !== undefined;
  const removing = (await store.stat(removingName)) !== undefined;
  if (whole && !removing) return 'whole';
  return begun || whole || removing ? 'half-written' : 'none';
}

/**
 * A whole savepoint. Its segments are verified when they are read (`verifyCheckpoint` does it for all).
 * @throws MillraceError `SAVEPOINT_MISSING` (invalid): nothing here; `SAVEPOINT_INCOMPLETE` (invalid): half-written or half-removed;
 *   `SAVEPOINT_CORRUPT` (corrupt), `SAVEPOINT_VERSION` (invalid), `STORE_UNAVAILABLE`.
 */
export async function readSavepoint(store: BlobStore): Promise<Savepoint> {
  const state = await savepointState(store);
  if (state === 'none') {
    throw new MillraceError('invalid', 'SAVEPOINT_MISSING', `${store.location}: there is no savepoint`);
  }
  const bytes = state === 'whole' ? await getIfThere(store, savepointName) : undefined;
  if (bytes === undefined) {
    throw new MillraceError(
      'invalid',
      'SAVEPOINT_INCOMPLETE',
      `${store.location}: the savepoint was never finished, or is being removed: finish it (--finish), or remove what is there (millrace checkpoints gc)`,
    );
  }
  return openEnvelope('savepoint', formatSupported, bytes, `${store.location}, ${savepointName}`) as Savepoint;
}

async function getIfThere(store: BlobStore, name: string): Promise<Uint8Array | undefined> {
  try {
    return await store.get(name);
  } catch (thrown) {
    if (hasCode(thrown, 'BLOB_NOT_FOUND')) return undefined;
    throw thrown;
  }
}
