import { join } from 'node:path';
import { type Disk, MillraceError } from '../../../base/index.js';
import {
  type BlobStore,
  begunName,
  headName,
  openCheckpointPlace,
  parseBlobStoreUrl,
  type SavepointState,
  savepointState,
} from '../../../checkpoint/index.js';
import { STATE_FOLDER_INFO } from '../state-folder.js';
import type { Tool } from './tool.js';

/** Somebody waits for the answer. What a tool has begun can be finished later. */
const RETRY_FOR_MS = 10_000;
/** What encrypted bytes begin with. */
const SEALED = 'MRES';

/** A place where checkpoints are, opened. */
export interface Location {
  readonly kind: 'job' | 'savepoint' | 'half-written savepoint';
  /** As it was named. */
  readonly url: string;
  readonly store: BlobStore;
  /** When it is the `--state-dir` of a run: that folder. */
  readonly stateDir: string | undefined;
}

/** What is at a place, before it is opened. */
export interface Place {
  /** Where the store itself is. */
  readonly url: string;
  readonly stateDir: string | undefined;
  /** Nothing is there yet, not even another file. */
  readonly empty: boolean;
}

/**
 * Finds the store: a folder may be the store's own, or the `--state-dir` of a run.
 * @throws MillraceError `STORE_URL` (invalid), `CHECKPOINTS_NOT_FOUND` (invalid): what is there is something else.
 */
export async function findPlace(disk: Disk, url: string): Promise<Place> {
  const parsed = parseBlobStoreUrl(url);
  if (parsed.kind === 's3') return { url, stateDir: undefined, empty: false };
  const { root } = parsed;
  const found = await disk.stat(root);
  if (found === undefined) return { url: root, stateDir: undefined, empty: true };
  const names = found.folder ? await disk.list(root) : [];
  if (found.folder && names.length === 0) return { url: root, stateDir: undefined, empty: true };
  if (names.includes(STATE_FOLDER_INFO)) return { url: join(root, 'checkpoints'), stateDir: root, empty: false };
  // What a store makes at its first write, and at its first opening.
  if (names.includes('objects') || names.includes('values') || String(names) === 'temp') {
    return { url: root, stateDir: undefined, empty: String(names) === 'temp' };
  }
  throw new MillraceError(
    'invalid',
    'CHECKPOINTS_NOT_FOUND',
    `${root} is ${found.folder ? `no checkpoint store (it has '${names[0]}')` : 'a file'}; name the --state-dir of a run, a store's folder, or s3://bucket/prefix`,
  );
}

/**
 * Finds a place for something new.
 * @throws MillraceError `code` (invalid): something else is there.
 */
export async function findTarget(disk: Disk, url: string, code: string): Promise<Place> {
  try {
    return await findPlace(disk, url);
  } catch (thrown) {
    if (MillraceError.from(thrown).code !== 'CHECKPOINTS_NOT_FOUND') throw thrown;
    const what = MillraceError.from(thrown).message.split(';')[0];
    throw new MillraceError('invalid', code, `${what}; name a new or empty folder, or s3://bucket/prefix`);
  }
}

/** Opens it; closed when `fn` is done. `reads`: nothing is written but pins. */
export async function withStore<T>(
  tool: Tool,
  place: Place,
  options: { readonly reads: boolean },
  fn: (store: BlobStore) => Promise<T>,
): Promise<T> {
  const { s3Endpoint, s3Region, checkpointKeyFile: keyFile } = tool.flags;
  const opened = await openCheckpointPlace({ url: place.url, s3Endpoint, s3Region, keyFile }, tool, {
    probe: !options.reads,
    retryForMs: RETRY_FOR_MS,
  });
  try {
    return await fn(opened.store);
  } finally {
    await opened.close();
  }
}

/**
 * Opens what is to be read.
 * @throws MillraceError `CHECKPOINTS_NOT_FOUND` (invalid): nothing is there; `STORE_URL`, `STORE_UNAVAILABLE`.
 */
export async function withLocation<T>(tool: Tool, url: string, fn: (location: Location) => Promise<T>): Promise<T> {
  const place = await findPlace(tool.disk, url);
  const nothing = new MillraceError(
    'invalid',
    'CHECKPOINTS_NOT_FOUND',
    `there are no checkpoints in ${url}; name the --state-dir of a run, a store's folder, or s3://bucket/prefix`,
  );
  if (place.empty) throw nothing;
  return withStore(tool, place, { reads: true }, async (store) => {
    const { stateDir } = place;
    const head = await readRaw(store);
    const isJob = head !== undefined;
    refuseSealed(tool, url, head);
    const state: SavepointState = isJob ? 'none' : await savepointState(store);
    if (state !== 'none') {
      refuseSealed(tool, url, await store.get(begunName, { offset: 0, length: SEALED.length }).catch(() => undefined));
      return fn({ kind: state === 'whole' ? 'savepoint' : 'half-written savepoint', url, store, stateDir });
    }
    // A job's folder before its first run got far is one; a store with something else in it may have lost its HEAD.
    const isEmpty = !isJob && stateDir === undefined && (await store.list('')).length === 0;
    if (isEmpty) throw nothing;
    return fn({ kind: 'job', url, store, stateDir });
  });
}

/** The bytes of HEAD, none when it is so damaged that it cannot be opened; undefined when there is none. */
async function readRaw(store: BlobStore): Promise<Uint8Array | undefined> {
  try {
    return (await store.read(headName))?.bytes;
  } catch (thrown) {
    if (MillraceError.from(thrown).kind !== 'corrupt') throw thrown;
    return new Uint8Array(0);
  }
}

/** @throws MillraceError `KEY_FILE` (invalid): it is encrypted, and no key was given. */
function refuseSealed(tool: Tool, url: string, bytes: Uint8Array | undefined): void {
  const isSealed = bytes !== undefined && Buffer.from(bytes.subarray(0, SEALED.length)).toString('latin1') === SEALED;
  if (!isSealed || tool.flags.checkpointKeyFile !== undefined) return;
  throw new MillraceError(
    'invalid',
    'KEY_FILE',
    `${url} is encrypted; name the file of its key with --checkpoint-key-file`,
  );
}
