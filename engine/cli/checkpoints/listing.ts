import { MillraceError } from '../../../base/index.js';
import {
  type BlobStore,
  listKept,
  type Manifest,
  readSavepoint,
  segmentKey,
  whilePinned,
} from '../../../checkpoint/index.js';
import type { Location } from './location.js';
import type { Tool } from './tool.js';

/** One checkpoint of a location. */
export interface Listed {
  readonly checkpointId: number;
  readonly epoch: number;
  /** Where its manifest is: `HEAD`, or an object. */
  readonly where: string;
  /** Undefined when it cannot be read: `damage` says why. */
  readonly manifest: Manifest | undefined;
  readonly damage: string;
}

/** Newest first; of a savepoint, the one that it is. */
export async function listCheckpoints({ kind, store }: Location): Promise<readonly Listed[]> {
  if (kind === 'job') {
    const { checkpoints } = await listKept(store);
    return checkpoints.map(({ object, ...rest }) => ({ ...rest, where: object === '' ? 'HEAD' : object }));
  }
  const { manifest } = await readSavepoint(store);
  const { checkpointId, epoch } = manifest;
  return [{ checkpointId, epoch, where: 'savepoint', manifest, damage: '' }];
}

/**
 * The checkpoint of this id, or the newest.
 * @throws MillraceError `CHECKPOINT_NOT_FOUND` (invalid), `MANIFEST_CORRUPT` (corrupt).
 */
export async function pickCheckpoint(location: Location, id: number | undefined): Promise<Manifest> {
  const listed = await listCheckpoints(location);
  const picked = id === undefined ? listed[0] : listed.find((each) => each.checkpointId === id);
  if (picked === undefined) {
    const kept = listed.map((each) => each.checkpointId).join(', ');
    const what =
      id === undefined ? 'there is no checkpoint yet' : `there is no checkpoint ${id} (there are: ${kept || 'none'})`;
    throw new MillraceError('invalid', 'CHECKPOINT_NOT_FOUND', `${location.url}: ${what}`);
  }
  if (picked.manifest !== undefined) return picked.manifest;
  throw new MillraceError('corrupt', 'MANIFEST_CORRUPT', picked.damage);
}

/** Reads of it while nothing of it can be collected. */
export function whileHeld<T>(tool: Tool, location: Location, manifest: Manifest, fn: () => Promise<T>): Promise<T> {
  if (location.kind !== 'job') return fn();
  const { random } = tool;
  return whilePinned(location.store, manifest, { owner: 'reader', random, note: (line) => tool.note(line) }, fn);
}

/** Segments and their bytes, each segment once. */
export function sizeOf(manifest: Manifest): { readonly segments: number; readonly bytes: number } {
  const sizes = segmentSizes(manifest);
  return { segments: sizes.size, bytes: sum(sizes.values()) };
}

/** Bytes of segments that the other one has not. */
export function bytesAdded(manifest: Manifest, before: Manifest): number {
  const old = segmentSizes(before);
  return sum([...segmentSizes(manifest)].flatMap(([key, bytes]) => (old.has(key) ? [] : [bytes])));
}

/** `job 'late-by-airport'`, when the checkpoint is of a `millrace run`. */
export function jobOf(manifest: Manifest): { readonly job: string; readonly fingerprint: string } | undefined {
  try {
    const { job, fingerprint } = JSON.parse(manifest.meta) as { job?: unknown; fingerprint?: unknown };
    if (typeof job === 'string' && typeof fingerprint === 'string') return { job, fingerprint };
  } catch {
    // Of someone who uses the store alone.
  }
  return undefined;
}

export function placeOf(store: BlobStore): string {
  return store.location.replace(/^directory /, '');
}

function segmentSizes(manifest: Manifest): Map<string, number> {
  return new Map(manifest.tasks.flatMap((task) => task.segments.map((ref) => [segmentKey(ref), ref.length])));
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
