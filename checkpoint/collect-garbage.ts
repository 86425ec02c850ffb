import type { BlobStore } from './blob/blob-store.js';
import type { Head, HeadManifest } from './head/head.js';
import { decodeManifest, isMoved } from './head/head.js';
import { collectable, keptBy, markedBy, objectsOf } from './head/head-protocol.js';
import { readHead } from './head/head-register.js';
import type { Manifest } from './manifest.js';
import { readPins } from './pin.js';

/** Deletes under way at once. */
const deletesMax = 8;

export interface Garbage {
  /** Dead objects, deleted unless only looked for. */
  readonly objects: readonly string[];
  /** Unmarked, but of a checkpoint or compaction that may still complete. */
  readonly pending: readonly string[];
}

/**
 * Deletes what no kept or pinned checkpoint refers to and none ever will. Needs no leadership, no lock and no clock: it may
 * run anywhere, any number of times at once, and be paused for a week (`isDead`). Deletes nothing when a kept manifest
 * cannot be read. HEAD is read before the pins: a pin counts only if HEAD kept its checkpoint after the pin was there.
 *
 * `candidates`: look at these alone, without listing the store.
 * @throws MillraceError `STORE_UNAVAILABLE`, `HEAD_CORRUPT`, `MANIFEST_CORRUPT`.
 */
export async function collectGarbage(
  store: BlobStore,
  options: { readonly candidates?: readonly string[]; readonly dryRun?: boolean } = {},
): Promise<Garbage> {
  const read = await readHead(store);
  if (read === undefined) return { objects: [], pending: [] };
  const marked = markedBy(read.head, await keptManifests(store, read.head));
  for (const pin of await readPins(store)) for (const name of objectsOf(pin.manifest)) marked.add(name);
  const names = options.candidates ?? [...(await store.list('manifests/')), ...(await store.list('segments/'))];
  const objects = collectable(names, read.head, marked);
  const dead = new Set(objects);
  const pending = names.filter((name) => !marked.has(name) && !dead.has(name));
  if (options.dryRun === true) return { objects, pending };
  const queue = [...objects];
  const work = async () => {
    for (let name = queue.pop(); name !== undefined; name = queue.pop()) await store.delete(name);
  };
  await Promise.all(Array.from({ length: deletesMax }, work));
  return { objects, pending };
}

/** @throws MillraceError as `readManifest`. */
export async function keptManifests(store: BlobStore, head: Head): Promise<Manifest[]> {
  const manifests: Manifest[] = [];
  for (const kept of keptBy(head)) manifests.push(await readManifest(store, kept));
  return manifests;
}

/** @throws MillraceError `MANIFEST_CORRUPT` (corrupt), `MANIFEST_VERSION`, `STORE_UNAVAILABLE`. */
export async function readManifest(store: BlobStore, kept: HeadManifest): Promise<Manifest> {
  if (!isMoved(kept)) return kept;
  return decodeManifest(await store.get(kept.object), `${store.location}, ${kept.object}`);
}
