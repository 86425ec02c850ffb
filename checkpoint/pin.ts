import { MillraceError, type Random } from '../base/index.js';
import { isUnanswered, reasonOf } from './blob/blob-errors.js';
import type { BlobStore } from './blob/blob-store.js';
import { decodeManifest, encodeManifest } from './head/head.js';
import { keeps } from './head/head-protocol.js';
import { readHead } from './head/head-register.js';
import type { Manifest } from './manifest.js';

/** Keeps one checkpoint's objects from being collected while somebody reads them, whatever becomes of HEAD. */
export interface Pin {
  /** `pins/<checkpointId>-<owner>-<nonce>`, the object it is. */
  readonly name: string;
  readonly manifest: Manifest;
}

/**
 * Pins a checkpoint that HEAD keeps. The pin of a reader that died stays until someone removes it (`millrace checkpoints gc
 * --unpin`): no clock tells the dead from the slow.
 * `owner`, for people who look at pins: [A-Za-z0-9._-].
 * @throws MillraceError `CHECKPOINT_NOT_FOUND` (invalid) when HEAD does not keep it (any more); `STORE_UNAVAILABLE`.
 */
export async function pin(store: BlobStore, manifest: Manifest, owner: string, random: Random): Promise<Pin> {
  const { checkpointId } = manifest;
  const name = `pins/${checkpointId}-${owner}-${random.nonce()}`;
  try {
    await store.put(name, encodeManifest(manifest));
    // Looked at after the pin is there: from now on a collector that sees this checkpoint gone also sees the pin.
    const read = await readHead(store);
    if (read !== undefined && keeps(read.head, manifest)) return { name, manifest };
  } catch (thrown) {
    // It may be there, and nobody else knows its name.
    await store.delete(name).catch(() => {});
    throw thrown;
  }
  await store.delete(name);
  throw new MillraceError(
    'invalid',
    'CHECKPOINT_NOT_FOUND',
    `${store.location}: checkpoint ${checkpointId} was given up before it could be pinned; read HEAD again`,
    { context: { checkpointId } },
  );
}

/** Removes what earlier lives of this owner left pinned. @throws MillraceError `STORE_UNAVAILABLE`. */
export async function unpinAll(store: BlobStore, owner: string): Promise<number> {
  const own = (await store.list('pins/')).filter((name) => ownerOf(name) === owner);
  for (const name of own) await store.delete(name);
  return own.length;
}

function ownerOf(pinName: string): string | undefined {
  return /^pins\/\d+-(.*)-[^-]*$/.exec(pinName)?.[1];
}

export function unpin(store: BlobStore, { name }: Pick<Pin, 'name'>): Promise<void> {
  return store.delete(name);
}

/**
 * Runs `fn` while the checkpoint is pinned. Where nothing can be written (a copy on a read-only disk), it runs without, and
 * `note` is told; so it is when the pin cannot be taken away again.
 * @throws MillraceError `CHECKPOINT_NOT_FOUND` (invalid), and whatever `fn` throws.
 */
export async function whilePinned<T>(
  store: BlobStore,
  manifest: Manifest,
  options: { readonly owner: string; readonly random: Random; note(line: string): void },
  fn: () => Promise<T>,
): Promise<T> {
  const noted = (what: string) => (thrown: unknown) => {
    if (!isUnanswered(thrown)) throw thrown;
    options.note(`checkpoint ${manifest.checkpointId} ${what}: ${reasonOf(thrown)}`);
    return undefined;
  };
  const pinned = await pin(store, manifest, options.owner, options.random).catch(
    noted('cannot be pinned; a job that runs on this store may give it up while it is read'),
  );
  try {
    return await fn();
  } finally {
    if (pinned !== undefined) await unpin(store, pinned).catch(noted(`stays pinned (${pinned.name})`));
  }
}

/** All pins there are. @throws MillraceError `MANIFEST_CORRUPT`, `STORE_UNAVAILABLE`. */
export async function readPins(store: BlobStore): Promise<Pin[]> {
  const pins: Pin[] = [];
  for (const name of await store.list('pins/')) {
    let bytes: Uint8Array;
    try {
      bytes = await store.get(name);
    } catch (thrown) {
      // Removed since the listing.
      if (thrown instanceof MillraceError && thrown.code === 'BLOB_NOT_FOUND') continue;
      throw thrown;
    }
    pins.push({ name, manifest: decodeManifest(bytes, `${store.location}, ${name}`) });
  }
  return pins;
}
