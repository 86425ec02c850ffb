import {
  decodeHead,
  decodeManifest,
  type Head,
  type HeadManifest,
  isMoved,
  type Manifest,
  MemoryBlobStore,
  parseObjectName,
  verifyCheckpoint,
} from '../checkpoint/index.js';
import { type JobGraph, taskName } from '../engine/graph/index.js';
import type { SimFileSystem } from './sim-file-system.js';

/** One thing that is wrong with what a run left. */
export interface Finding {
  readonly code: string;
  readonly what: string;
}

export interface StoredHead {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly durable: boolean;
}

/** A checkpoint store as it lies there. */
export interface StoredCheckpoints {
  /** All versions that are kept, the newest last. */
  heads(): readonly StoredHead[];
  /** Of objects. */
  names(prefix: string): string[];
  bytesOf(object: string): Promise<Uint8Array>;
  /** Whether a power cut leaves it. */
  isDurable(object: string): boolean;
}

/** In a folder of a `DirectoryBlobStore`, without the store's own marks. */
export function storedInFolder(files: SimFileSystem, root: string): StoredCheckpoints {
  const objects = `${root}/objects/`;
  const read = (path: string) => files.file(path).read(0, files.file(path).length);
  const unmarked = (names: readonly string[]) =>
    names.filter((name) => !name.split('/').some((part) => part.startsWith('.')));
  return {
    heads() {
      const names = unmarked(files.list(`${root}/values/HEAD`)).sort();
      return names.map((version) => {
        const name = `${root}/values/HEAD/${version}`;
        return { name, bytes: read(name), durable: files.isDurable(name) };
      });
    },
    names: (prefix) => unmarked(files.paths(objects + prefix).map((path) => path.slice(objects.length))),
    bytesOf: async (name) => read(objects + name),
    isDurable: (name) => files.isDurable(objects + name),
  };
}

export interface CheckpointAudit {
  readonly checkpoints: StoredCheckpoints;
  readonly graph: JobGraph;
  /** Of HEAD, as the last scheduler knows it. */
  readonly epoch: number;
}

const VERSIONS_MAX = 8;
const NOT_CUT = async () => {};

/**
 * A store after the job has ended and a last collection, read by somebody who has nothing else: each version of HEAD, each
 * manifest, each byte of each segment, and every file that is there. Whatever HEAD refers to is there, right and durable;
 * nothing else is; numbers only went up.
 */
export async function auditCheckpoints(audit: CheckpointAudit): Promise<{
  readonly findings: readonly Finding[];
  readonly latest: Manifest | undefined;
}> {
  const findings: Finding[] = [];
  const wrong = (code: string, what: string) => void findings.push({ code, what });
  const head = lookAtHeads(audit, wrong);
  if (head === undefined) return { findings, latest: undefined };
  const manifests = await lookAtManifests(audit, head, wrong);
  await lookAtSegments(audit, manifests, wrong);
  await lookAtObjects(audit, head, manifests, wrong);
  return { findings, latest: manifests[0] };
}

type Say = (code: string, what: string) => void;

function lookAtHeads({ checkpoints, epoch }: CheckpointAudit, wrong: Say): Head | undefined {
  const versions = checkpoints.heads();
  if (versions.length === 0 || versions.length > VERSIONS_MAX)
    wrong('HEAD_WRONG', `HEAD has ${versions.length} versions`);
  let before: Head | undefined;
  for (const { name, bytes } of versions) {
    let head: Head;
    try {
      head = decodeHead(bytes, name);
    } catch (thrown) {
      wrong('HEAD_WRONG', String(thrown));
      continue;
    }
    if (before !== undefined) {
      const [id, idBefore] = [head, before].map(({ latest }) => latest?.checkpointId ?? 0) as [number, number];
      if (head.epoch < before.epoch || id < idBefore || head.line < before.line)
        wrong('HEAD_WRONG', `${name} goes back: ${said(head)} after ${said(before)}`);
      if (head.nonce === before.nonce) wrong('HEAD_WRONG', `${name} has the nonce of the version before it`);
    }
    before = head;
  }
  if (before === undefined) return undefined;
  if (before.epoch !== epoch) wrong('HEAD_WRONG', `the job ended under epoch ${epoch}, HEAD is of ${said(before)}`);
  if (before.line <= (before.latest?.checkpointId ?? 0)) wrong('HEAD_WRONG', `its line is below it: ${said(before)}`);
  if (versions.at(-1)?.durable === false) wrong('NOT_DURABLE', 'a power cut takes HEAD back');
  return before;
}

function said({ epoch, line, latest }: Head): string {
  return `epoch ${epoch}, checkpoint ${latest?.checkpointId ?? 0}, line ${line}`;
}

/** Newest first. */
async function lookAtManifests(audit: CheckpointAudit, head: Head, wrong: Say): Promise<Manifest[]> {
  const names = audit.graph.vertices.flatMap(({ id, parallelism }) =>
    Array.from({ length: parallelism }, (_, subtask) => taskName(id, subtask)),
  );
  const expected = names.sort().join();
  const kept = head.latest === null ? [] : [head.latest, ...head.retained];
  if (head.latest === null) wrong('HEAD_WRONG', 'the job has ended, and there is no checkpoint');
  const manifests: Manifest[] = [];
  for (const [at, each] of kept.entries()) {
    const manifest = await manifestOf(audit, each, wrong);
    if (manifest === undefined) continue;
    const { checkpointId, epoch, tasks, final } = manifest;
    const newer = kept[at - 1];
    const where = `checkpoint ${checkpointId}`;
    if (newer !== undefined && (newer.checkpointId <= checkpointId || newer.epoch < epoch))
      wrong(
        'MANIFEST_WRONG',
        `${where} of epoch ${epoch} is kept as older than ${newer.checkpointId} of ${newer.epoch}`,
      );
    if (epoch > head.epoch) wrong('MANIFEST_WRONG', `${where} is of epoch ${epoch}, HEAD of ${head.epoch}`);
    if (final !== (at === 0)) wrong('MANIFEST_WRONG', `${where} says final: ${final}, ${at} are newer`);
    const found = tasks.map(({ task }) => task).join();
    if (found !== expected) wrong('MANIFEST_WRONG', `${where} has the tasks ${found}, the job ${expected}`);
    for (const { task, finished, segments } of tasks) {
      if (finished && segments.length > 0) wrong('MANIFEST_WRONG', `${where}: ${task} has finished, and has state`);
      if (final && !finished) wrong('MANIFEST_WRONG', `${where} is final, and ${task} has not finished`);
    }
    manifests.push(manifest);
  }
  return manifests;
}

async function manifestOf(
  { checkpoints }: CheckpointAudit,
  kept: HeadManifest,
  wrong: Say,
): Promise<Manifest | undefined> {
  if (!isMoved(kept)) return kept;
  try {
    const manifest = decodeManifest(await checkpoints.bytesOf(kept.object), kept.object);
    if (manifest.checkpointId === kept.checkpointId && manifest.epoch === kept.epoch) return manifest;
    wrong('MANIFEST_WRONG', `${kept.object} is checkpoint ${manifest.checkpointId}, HEAD says ${kept.checkpointId}`);
  } catch (thrown) {
    wrong('MANIFEST_WRONG', String(thrown));
  }
  return undefined;
}

/** Every entry of every segment, in a copy of the store. */
async function lookAtSegments(
  { checkpoints }: CheckpointAudit,
  manifests: readonly Manifest[],
  wrong: Say,
): Promise<void> {
  const copy = new MemoryBlobStore();
  for (const name of checkpoints.names('')) await copy.put(name, await checkpoints.bytesOf(name));
  const known = new Map();
  for (const manifest of manifests) {
    const { problems } = await verifyCheckpoint(copy, manifest, { deep: true, known, breathe: NOT_CUT });
    for (const { code, task, what } of problems)
      wrong('SEGMENT_WRONG', `checkpoint ${manifest.checkpointId}, ${task}: ${code}: ${what}`);
  }
}

async function lookAtObjects(
  { checkpoints }: CheckpointAudit,
  head: Head,
  manifests: readonly Manifest[],
  wrong: Say,
): Promise<void> {
  const kept = head.latest === null ? [] : [head.latest, ...head.retained];
  const referenced = new Set(kept.flatMap((each) => (isMoved(each) ? [each.object] : [])));
  const refer = ({ tasks }: Manifest) => {
    for (const { segments } of tasks)
      for (const { object, inline } of segments) if (inline === undefined) referenced.add(object);
  };
  manifests.forEach(refer);
  // A reader that died leaves its pin, and what it pinned.
  for (const pin of checkpoints.names('pins/')) {
    referenced.add(pin);
    refer(decodeManifest(await checkpoints.bytesOf(pin), pin));
  }
  const there = new Set(checkpoints.names(''));
  const leaked = [...there].filter((name) => !referenced.has(name));
  if (leaked.length > 0) wrong('OBJECTS_LEAKED', `after a collection nothing refers to ${leaked.join(', ')}`);
  for (const name of referenced) {
    if (!there.has(name)) wrong('OBJECT_MISSING', `${name} is referred to, and not there`);
    else if (!checkpoints.isDurable(name)) wrong('NOT_DURABLE', `a power cut takes ${name}, which is referred to`);
    const parsed = parseObjectName(name);
    if (parsed !== undefined && parsed.epoch > head.epoch)
      wrong('OBJECT_WRONG', `${name} is of an epoch that never was: HEAD is of ${head.epoch}`);
  }
}
