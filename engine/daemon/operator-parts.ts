import { keyGroupRange } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { BlobStore, SegmentRef, TaskSnapshot } from '../../checkpoint/index.js';
import { readHead, readManifest } from '../../checkpoint/index.js';
import type { HeadState, OperatorSegment, RemotePart } from '../../statestore/index.js';
import { KEY_GROUPS } from '../graph/index.js';

/** What tasks of a job vertex keep, they keep together: the vertex of a task, as its name has it. */
export function operatorOf(task: string): string {
  return partsOf(task).vertex;
}

/** A checkpoint's segments by operator: each task has all of its own key groups. */
export function operatorParts(tasks: readonly TaskSnapshot[]): Map<string, RemotePart[]> {
  const named = tasks.map((snapshot) => ({ ...partsOf(snapshot.task), segments: snapshot.segments }));
  const parts = new Map<string, RemotePart[]>();
  for (const { vertex, subtask, segments } of named) {
    const parallelism = named.filter((other) => other.vertex === vertex).length;
    const range = keyGroupRange(subtask, KEY_GROUPS, parallelism);
    parts.set(vertex, [...(parts.get(vertex) ?? []), { range, segments }]);
  }
  return parts;
}

/** What is stored of a checkpoint, as the state of a host needs it. */
export function operatorSegments(refs: ReadonlyMap<string, SegmentRef>): OperatorSegment[] {
  return [...refs].map(([task, { first, last, checksum }]) => ({ operator: operatorOf(task), first, last, checksum }));
}

/** @throws MillraceError `STORE_UNAVAILABLE`, `HEAD_CORRUPT`, `MANIFEST_CORRUPT`. */
export async function readHeadState(store: BlobStore): Promise<HeadState> {
  const read = await readHead(store);
  const latest = read?.head.latest ?? undefined;
  if (read === undefined || latest === undefined) {
    return { epoch: read?.head.epoch ?? 0, latest: undefined, kept: [], parts: new Map() };
  }
  const manifest = await readManifest(store, latest);
  const kept = [latest, ...read.head.retained];
  return {
    epoch: read.head.epoch,
    latest: { checkpointId: latest.checkpointId, epoch: latest.epoch },
    kept: kept.map(({ checkpointId, epoch }) => ({ checkpointId, epoch })),
    parts: operatorParts(manifest.tasks),
    manifest,
  };
}

function partsOf(task: string): { readonly vertex: string; readonly subtask: number } {
  const match = /^(v\d+)\.(\d+)$/.exec(task);
  if (match === null) throw new MillraceError('invalid', 'TASK_UNKNOWN', `${task} is no name of a task`);
  return { vertex: match[1] as string, subtask: Number(match[2]) };
}
