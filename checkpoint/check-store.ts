import { inParallel, MillraceError, type Random } from '../base/index.js';
import { hasCode } from './blob/blob-errors.js';
import { parseObjectName } from './blob/blob-name.js';
import type { BlobStore } from './blob/blob-store.js';
import { readManifest } from './collect-garbage.js';
import { decodeManifest, type HeadManifest, isMoved } from './head/head.js';
import { isDead, keptBy, objectsOf } from './head/head-protocol.js';
import { type ReadHead, readHead, refuseLostHead } from './head/head-register.js';
import type { Manifest } from './manifest.js';
import { whilePinned } from './pin.js';
import { look } from './undamaged.js';
import { type CheckpointProblem, type VerifyOptions, verifyCheckpoint } from './verify.js';

const statsParallel = 8;

export interface CheckOptions extends VerifyOptions {
  readonly random: Random;
  /** What is no damage, but worth saying. */
  note(line: string): void;
}

export interface CheckedCheckpoint {
  readonly checkpointId: number;
  /** The object of a manifest that is not inside HEAD. */
  readonly object: string;
  readonly problems: readonly CheckpointProblem[];
}

export interface CheckedPin {
  /** `pins/<checkpointId>-<owner>-<nonce>`. */
  readonly name: string;
  /** HEAD does not keep its checkpoint any more: the pin alone does. */
  readonly alone: boolean;
  readonly problems: readonly CheckpointProblem[];
}

export interface SizedObject {
  readonly name: string;
  readonly bytes: number;
}

export interface StoreFindings {
  /** Undefined when there is none, or when it cannot be read: `problems` says which. */
  readonly head: { readonly epoch: number; readonly line: number } | undefined;
  /** Of HEAD itself. */
  readonly problems: readonly CheckpointProblem[];
  /** Newest first. */
  readonly checkpoints: readonly CheckedCheckpoint[];
  readonly pins: readonly CheckedPin[];
  /** Objects to which no checkpoint and no pin refers; undefined when that cannot be known, as not all could be read. */
  readonly unreferenced:
    | {
        /** A collection deletes them. */
        readonly dead: readonly SizedObject[];
        /** Of a checkpoint or a merge that may still complete, or that a dead leader left: they die at the next takeover. */
        readonly pending: readonly SizedObject[];
        /** Not named by this store: left alone. */
        readonly unknown: readonly SizedObject[];
      }
    | undefined;
}

/**
 * Looks at all there is in a job's store: HEAD, manifests, segments, pins, and what nothing refers to. Changes nothing, but
 * for pins while it reads. A job may run meanwhile: checkpoints it gives up are left out. Never throws for damage.
 * @throws MillraceError `STORE_UNAVAILABLE`, `STOPPED` (closed).
 */
export async function checkStore(store: BlobStore, options: CheckOptions): Promise<StoreFindings> {
  const shared = { ...options, known: options.known ?? new Map() };
  // Before HEAD: what is published in between is then found referred to, not missing.
  const names = await store.list('');
  const { read, problems } = await lookAtHead(store);
  const kept = read === undefined ? [] : keptBy(read.head);
  const checkpoints: CheckedCheckpoint[] = [];
  const marked = new Set<string>();
  const manifests: Manifest[] = [];
  let allRead = problems.length === 0;
  for (const each of kept) {
    const looked = await lookAtKept(store, each, shared);
    if (looked === undefined) {
      options.note(`checkpoint ${each.checkpointId} was given up while it was looked at`);
      continue;
    }
    checkpoints.push({
      checkpointId: each.checkpointId,
      object: isMoved(each) ? each.object : '',
      problems: looked.problems,
    });
    if (isMoved(each)) marked.add(each.object);
    if (looked.manifest === undefined) allRead = false;
    else manifests.push(looked.manifest);
  }
  const pins: CheckedPin[] = [];
  for (const name of names.filter((n) => n.startsWith('pins/'))) {
    const found = await lookAtPin(store, name, manifests, shared);
    if (found === undefined) continue;
    pins.push(found.pin);
    if (found.manifest === undefined) allRead = false;
    else manifests.push(found.manifest);
  }
  for (const manifest of manifests) for (const object of objectsOf(manifest)) marked.add(object);
  const unreferenced = allRead ? await sortOut(store, names, marked, read) : undefined;
  const head = read && { epoch: read.head.epoch, line: read.head.line };
  return { head, problems, checkpoints, pins, unreferenced };
}

async function lookAtHead(
  store: BlobStore,
): Promise<{ readonly read: ReadHead | undefined; readonly problems: readonly CheckpointProblem[] }> {
  try {
    const read = await readHead(store);
    if (read === undefined) await refuseLostHead(store);
    return { read, problems: [] };
  } catch (thrown) {
    return { read: undefined, problems: [problemOf(thrown, '')] };
  }
}

/** Undefined when HEAD does not keep it any more. */
async function lookAtKept(
  store: BlobStore,
  kept: HeadManifest,
  options: CheckOptions,
): Promise<Awaited<ReturnType<typeof look>> | undefined> {
  const pinned = async () => {
    let manifest: Manifest;
    try {
      manifest = await readManifest(store, kept);
    } catch {
      return look(store, kept, options);
    }
    return whilePinned(store, manifest, { ...options, owner: 'fsck' }, () => look(store, kept, options));
  };
  try {
    const looked = await pinned();
    if (looked.problems.length === 0 || (await isKept(store, kept))) return looked;
  } catch (thrown) {
    if (!hasCode(thrown, 'CHECKPOINT_NOT_FOUND')) throw thrown;
  }
  return undefined;
}

async function isKept(store: BlobStore, { checkpointId, epoch }: HeadManifest): Promise<boolean> {
  const read = await readHead(store);
  return read !== undefined && keptBy(read.head).some((m) => m.checkpointId === checkpointId && m.epoch === epoch);
}

/** Undefined when it was taken away meanwhile. */
async function lookAtPin(
  store: BlobStore,
  name: string,
  kept: readonly Manifest[],
  options: CheckOptions,
): Promise<{ readonly pin: CheckedPin; readonly manifest: Manifest | undefined } | undefined> {
  let manifest: Manifest;
  try {
    manifest = decodeManifest(await store.get(name), `${store.location}, ${name}`);
  } catch (thrown) {
    if (hasCode(thrown, 'BLOB_NOT_FOUND')) return undefined;
    return { pin: { name, alone: false, problems: [problemOf(thrown, name)] }, manifest: undefined };
  }
  const { checkpointId, epoch } = manifest;
  const alone = !kept.some((m) => m.checkpointId === checkpointId && m.epoch === epoch);
  // Where HEAD keeps it too, nothing is read again: its segments are known.
  const { problems } = await verifyCheckpoint(store, manifest, options);
  if (problems.length > 0 && (await store.stat(name)) === undefined) return undefined;
  return { pin: { name, alone, problems }, manifest };
}

async function sortOut(
  store: BlobStore,
  names: readonly string[],
  marked: ReadonlySet<string>,
  read: ReadHead | undefined,
): Promise<StoreFindings['unreferenced']> {
  const dead: SizedObject[] = [];
  const pending: SizedObject[] = [];
  const unknown: SizedObject[] = [];
  const loose = names.filter((name) => !marked.has(name) && !name.startsWith('pins/'));
  await inParallel(loose, statsParallel, async (name) => {
    const stat = await store.stat(name);
    // Collected since it was listed.
    if (stat === undefined) return;
    const sized = { name, bytes: stat.bytes };
    if (parseObjectName(name) === undefined) unknown.push(sized);
    else if (read !== undefined && isDead(name, read.head)) dead.push(sized);
    else pending.push(sized);
  });
  const byName = (a: SizedObject, b: SizedObject) => (a.name < b.name ? -1 : 1);
  return { dead: dead.sort(byName), pending: pending.sort(byName), unknown: unknown.sort(byName) };
}

function problemOf(thrown: unknown, object: string): CheckpointProblem {
  const { kind, code, message } = MillraceError.from(thrown);
  if (kind !== 'corrupt' && kind !== 'invalid') throw thrown;
  return { code, task: '', object, what: message };
}
