import type { Manifest, SegmentRef } from '../manifest.js';
import { openEnvelope, sealEnvelope } from './envelope.js';

/** The format written by this version. */
export const headFormat = 2;

/** The one mutable value of a job: who leads, and what is complete. */
export interface Head {
  /** Leader epoch; only ever grows. */
  readonly epoch: number;
  /** Drawn for every move of HEAD: a writer that lost the response knows its own move by it. */
  readonly nonce: string;
  /** The publishing line: objects of this epoch named with a lower checkpoint id are never brought in any more. */
  readonly line: number;
  /** The newest complete checkpoint, or null before the first one. */
  readonly latest: HeadManifest | null;
  /** Older complete checkpoints, newest first. */
  readonly retained: readonly HeadManifest[];
}

/** A manifest stands in HEAD itself; when HEAD grows too large for that, in an immutable object. */
export type HeadManifest = Manifest | MovedManifest;

export interface MovedManifest {
  readonly checkpointId: number;
  /** Of the manifest: ids alone begin anew after a reset or a rollback. */
  readonly epoch: number;
  readonly object: string;
}

export function isMoved(manifest: HeadManifest): manifest is MovedManifest {
  return 'object' in manifest;
}

/**
 * `millrace-head 2 <xxh64 of the JSON line, 16 hex digits>\n<JSON>\n`. Kept checkpoints share nearly all their segments: each
 * ref stands once, in `segments`, and manifests have its position.
 */
export function encodeHead(head: Head): Uint8Array {
  const segments: SegmentRef[] = [];
  const positions = new Map<string, number>();
  const positionOf = (ref: SegmentRef) => {
    const key = ref.inline === undefined ? `${ref.object}@${ref.offset}` : `${ref.checksum}+${ref.length}`;
    let position = positions.get(key);
    if (position === undefined) {
      position = segments.push(ref) - 1;
      positions.set(key, position);
    }
    return position;
  };
  const pack = (manifest: HeadManifest) =>
    isMoved(manifest)
      ? manifest
      : { ...manifest, tasks: manifest.tasks.map((task) => ({ ...task, segments: task.segments.map(positionOf) })) };
  const latest = head.latest === null ? null : pack(head.latest);
  const retained = head.retained.map(pack);
  return sealEnvelope('head', headFormat, { ...head, latest, retained, segments });
}

/**
 * @throws MillraceError `HEAD_VERSION` (invalid) naming both versions when another one wrote it; `HEAD_CORRUPT` (corrupt).
 */
export function decodeHead(bytes: Uint8Array, location: string): Head {
  const { segments, ...head } = openEnvelope('head', headFormat, bytes, location) as Head & {
    readonly segments: readonly SegmentRef[];
  };
  const unpack = (manifest: HeadManifest): HeadManifest =>
    isMoved(manifest)
      ? manifest
      : {
          ...manifest,
          tasks: manifest.tasks.map((task) => ({
            ...task,
            segments: (task.segments as unknown as readonly number[]).map((at) => segments[at] as SegmentRef),
          })),
        };
  return { ...head, latest: head.latest === null ? null : unpack(head.latest), retained: head.retained.map(unpack) };
}

/** The same envelope, `millrace-manifest 2 ...`, for a manifest outside HEAD. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return sealEnvelope('manifest', headFormat, manifest);
}

/** @throws MillraceError `MANIFEST_VERSION` (invalid), `MANIFEST_CORRUPT` (corrupt). */
export function decodeManifest(bytes: Uint8Array, location: string): Manifest {
  return openEnvelope('manifest', headFormat, bytes, location) as Manifest;
}
