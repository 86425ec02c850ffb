import { inParallel, throwIfStopped } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { Manifest, SegmentRef, TaskSnapshot } from '../manifest.js';
import { mergeSegments } from '../segment/merge-segments.js';
import { describeSegment, readSegment, StoredSegment } from '../segment/stored-segment.js';
import { segmentKey } from '../verify.js';

/** Objects are filled up to this. Three of them are under way at once: together they bound the memory that a copy takes. */
const objectBytesMaxDefault = 64 * 1024 * 1024;
const objectsParallel = 3;
/** Reads of one object's segments at once. */
const readsParallel = 8;

export interface CopySegmentsOptions {
  /** Stores the copy's n-th object, or the n-th's `part` of several; the same bytes for the same n, however often it is begun. */
  put(at: number, part: number, bytes: Uint8Array): Promise<string>;
  readonly objectBytesMax?: number;
  readonly signal?: AbortSignal;
  progress?(bytesDone: number, bytes: number): void;
  /** Lets others work, now and then. */
  breathe(): Promise<void>;
}

export interface CopiedSegments {
  /** The manifest's tasks, with refs to the copies. What is inline stays so. */
  readonly tasks: readonly TaskSnapshot[];
  readonly objects: readonly { readonly name: string; readonly bytes: number }[];
}

/**
 * Copies all segments of a checkpoint, each byte verified on its way: small ones together in objects of up to 64 MiB, larger ones
 * cut between key groups into segments of about that size.
 * @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `STORE_UNAVAILABLE`, `STOPPED` (closed).
 */
export async function copySegments(
  source: BlobStore,
  manifest: Manifest,
  options: CopySegmentsOptions,
): Promise<CopiedSegments> {
  const { objectBytesMax = objectBytesMaxDefault, signal, put, breathe } = options;
  const refs = storedRefs(manifest);
  const bytesTotal = refs.reduce((sum, ref) => sum + ref.length, 0);
  let bytesDone = 0;
  const copied = (ref: SegmentRef) => {
    bytesDone += ref.length;
    options.progress?.(bytesDone, bytesTotal);
  };
  const copies = new Map<string, readonly SegmentRef[]>();

  const together = async (group: readonly SegmentRef[], at: number) => {
    const offsets: number[] = [];
    let length = 0;
    for (const ref of group) {
      offsets.push(length);
      length += ref.length;
    }
    const bytes = new Uint8Array(length);
    const reads = async (ref: SegmentRef, i: number) => bytes.set(await readSegment(source, ref), offsets[i]);
    await inParallel(group, readsParallel, reads, signal);
    const object = await put(at, 0, bytes);
    group.forEach((ref, i) => {
      copies.set(segmentKey(ref), [{ ...ref, object, offset: offsets[i] as number }]);
      copied(ref);
    });
    return [{ name: object, bytes: length }];
  };

  const cut = async (ref: SegmentRef, at: number) => {
    const segment = await StoredSegment.open(source, ref);
    const { checkpointId, range, full } = segment.index;
    const pieces: SegmentRef[] = [];
    const objects: { name: string; bytes: number }[] = [];
    const merged = mergeSegments([segment], { checkpointId, range, full, bytesTarget: objectBytesMax, breathe });
    for await (const { bytes } of merged) {
      throwIfStopped(signal);
      const object = await put(at, pieces.length, bytes);
      pieces.push({ ...describeSegment(bytes), object, offset: 0, deltas: ref.deltas });
      objects.push({ name: object, bytes: bytes.length });
    }
    copies.set(segmentKey(ref), pieces);
    copied(ref);
    return objects;
  };

  const objects = await inParallel(
    groupRefs(refs, objectBytesMax),
    objectsParallel,
    async (group, at) => {
      const [first] = group;
      return first !== undefined && first.length > objectBytesMax ? cut(first, at) : together(group, at);
    },
    signal,
  );
  const tasks = manifest.tasks.map((task) => ({
    ...task,
    segments: task.segments.flatMap((ref) => (ref.inline === undefined ? (copies.get(segmentKey(ref)) ?? []) : [ref])),
  }));
  return { tasks, objects: objects.flat() };
}

/** Each segment in an object once, in an order that the manifest alone decides. */
function storedRefs(manifest: Manifest): SegmentRef[] {
  const refs = new Map<string, SegmentRef>();
  for (const { segments } of manifest.tasks) {
    for (const ref of segments) if (ref.inline === undefined) refs.set(segmentKey(ref), ref);
  }
  return [...refs.values()].sort((a, b) => (a.object < b.object ? -1 : a.object > b.object ? 1 : a.offset - b.offset));
}

function groupRefs(refs: readonly SegmentRef[], bytesMax: number): SegmentRef[][] {
  const groups: SegmentRef[][] = [];
  let room = 0;
  for (const ref of refs) {
    if (ref.length > room) {
      groups.push([]);
      room = bytesMax;
    }
    groups[groups.length - 1]?.push(ref);
    // One that is larger than an object stands alone.
    room -= ref.length;
  }
  return groups;
}
