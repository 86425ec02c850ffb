import { checksumHex, MillraceError, xxh64 } from '../base/index.js';
import type { Manifest, SegmentRef } from './manifest.js';

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
  return encode('head', { ...head, latest, retained, segments });
}

/**
 * @throws MillraceError `HEAD_VERSION` (invalid) naming both versions when another one wrote it; `HEAD_CORRUPT` (corrupt).
 */
export function decodeHead(bytes: Uint8Array, location: string): Head {
  const { segments, ...head } = decode('head', bytes, location) as Head & { readonly segments: readonly SegmentRef[] };
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
  return encode('manifest', manifest);
}

/** @throws MillraceError `MANIFEST_VERSION` (invalid), `MANIFEST_CORRUPT` (corrupt). */
export function decodeManifest(bytes: Uint8Array, location: string): Manifest {
  return decode('manifest', bytes, location) as Manifest;
}
function encode(kind: 'head' | 'manifest', value: object): Uint8Array {
  const json = Buffer.from(JSON.stringify(value), 'utf8');
  const line = `millrace-${kind} ${headFormat} ${checksumHex(xxh64(json))}\n`;
  return Buffer.concat([Buffer.from(line, 'utf8'), json, Buffer.from('\n')]);
}

function decode(kind: 'head' | 'manifest', bytes: Uint8Array, location: string): unknown {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const damaged = (why: string, cause?: unknown) =>
    new MillraceError('corrupt', `${kind.toUpperCase()}_CORRUPT`, `${location}: the ${kind} is damaged (${why})`, {
      cause,
      context: { location },
    });
  const lineEnd = text.indexOf(10);
  const line = /^millrace-(head|manifest) (\d{1,9}) ([0-9a-f]{16})$/.exec(
    text.subarray(0, Math.max(0, lineEnd)).toString(),
  );
  if (line === null || line[1] !== kind) throw damaged('no header line');
  if (Number(line[2]) !== headFormat) {
    throw new MillraceError(
      'invalid',
      `${kind.toUpperCase()}_VERSION`,
      `${location}: the ${kind} has format ${line[2]}, this version of Millrace reads format ${headFormat}`,
      { context: { location, found: Number(line[2]), supported: headFormat } },
    );
  }
  if (text[text.length - 1] !== 10) throw damaged('cut short');
  const json = text.subarray(lineEnd + 1, text.length - 1);
  if (checksumHex(xxh64(json)) !== line[3]) throw damaged('checksum');
  try {
    return JSON.parse(json.toString('utf8'));
  } catch (thrown) {
    throw damaged('not JSON', thrown);
  }
}
