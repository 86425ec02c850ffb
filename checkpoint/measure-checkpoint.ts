import { inParallel } from '../base/index.js';
import type { BlobStore } from './blob/blob-store.js';
import type { Manifest, SegmentRef } from './manifest.js';
import type { SegmentBlock, SegmentState } from './segment/segment-format.js';
import { StoredSegment } from './segment/stored-segment.js';

const indexesParallel = 16;

/** Sizes as stored: older versions of a key that no merge has removed yet, and tombstones, count too. */
export interface StateSize {
  readonly state: SegmentState;
  readonly entries: number;
  readonly bytes: number;
}

export interface TaskSize {
  readonly task: string;
  readonly segments: number;
  /** Indexes included. */
  readonly bytes: number;
  readonly entries: number;
  readonly tombstones: number;
  /** Sorted by name. */
  readonly states: readonly StateSize[];
  /** Bytes of each key group from `firstKeyGroup` on. Approximate: a block of several is shared out evenly among them. */
  readonly firstKeyGroup: number;
  readonly keyGroupBytes: Float64Array;
}

/**
 * How large the parts of a checkpoint are, from the indexes of its segments alone.
 * @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `STORE_UNAVAILABLE`, `STOPPED`.
 */
export async function measureCheckpoint(
  store: BlobStore,
  manifest: Manifest,
  options: { readonly signal?: AbortSignal; progress?(segmentsDone: number, segments: number): void } = {},
): Promise<TaskSize[]> {
  const refs = manifest.tasks.flatMap((task) => task.segments);
  let done = 0;
  const open = async (ref: SegmentRef) => {
    const segment = await StoredSegment.open(store, ref);
    options.progress?.(++done, refs.length);
    return segment;
  };
  const segments = new Map(
    (await inParallel(refs, indexesParallel, open, options.signal)).map((segment) => [segment.ref, segment]),
  );
  return manifest.tasks.map(({ task, segments: own }) =>
    measureTask(
      task,
      own.map((ref) => segments.get(ref) as StoredSegment),
    ),
  );
}

function measureTask(task: string, segments: readonly StoredSegment[]): TaskSize {
  const states = new Map<string, { state: SegmentState; entries: number; bytes: number }>();
  const firstKeyGroup = Math.min(...segments.map(({ index }) => index.range.first), 0xffff);
  const lastKeyGroup = Math.max(...segments.map(({ index }) => index.range.last), firstKeyGroup - 1);
  const keyGroupBytes = new Float64Array(lastKeyGroup - firstKeyGroup + 1);
  let [bytes, entries, tombstones] = [0, 0, 0];
  for (const { ref, index } of segments) {
    bytes += ref.length;
    entries += index.entries;
    tombstones += index.tombstones;
    index.states.forEach((state, at) => {
      const before = states.get(state.name) ?? { state, entries: 0, bytes: 0 };
      const size = index.sizes[at] ?? { entries: 0, bytes: 0 };
      states.set(state.name, {
        state: { ...state, value: state.value ?? before.state.value },
        entries: before.entries + size.entries,
        bytes: before.bytes + size.bytes + (state.value?.length ?? 0),
      });
    });
    index.blocks.forEach((block, at) => {
      const next = index.blocks[at + 1] as SegmentBlock | undefined;
      const last = next?.keyGroup ?? index.range.last;
      // The next block's first key group may begin in this one, or not: unless it is the only one, it is not counted.
      const count = Math.max(1, last - block.keyGroup + (next === undefined ? 1 : 0));
      for (let i = 0; i < count; i++) {
        const slot = block.keyGroup - firstKeyGroup + i;
        keyGroupBytes[slot] = (keyGroupBytes[slot] as number) + block.length / count;
      }
    });
  }
  const sorted = [...states.values()].sort((a, b) => (a.state.name < b.state.name ? -1 : 1));
  return { task, segments: segments.length, bytes, entries, tombstones, states: sorted, firstKeyGroup, keyGroupBytes };
}
