import type { Random } from '../base/index.js';
import { segmentObjectName } from './blob/blob-name.js';
import type { BlobStore } from './blob/blob-store.js';
import type { SegmentRef } from './manifest.js';
import type { CompactionPlan } from './plan-compaction.js';
import { mergeSegments } from './segment/merge-segments.js';
import { describeSegment, StoredSegment } from './segment/stored-segment.js';
import { inlineBytesMaxDefault } from './segment-home.js';

export interface CompactOptions {
  /** Of a reservation: the outputs are named after it, and are brought in by a publication while it is held. */
  readonly epoch: number;
  readonly checkpointId: number;
  readonly host: string;
  readonly random: Random;
  /** A single output no larger rides inside HEAD. Default 32 KiB. */
  readonly inlineBytesMax?: number;
  /** Lets others work, now and then, and before each put. To give up, it throws. */
  breathe(): Promise<void>;
}

/**
 * Carries out a plan: reads the inputs by ranges, verified, and stores the outputs, each an object of its own, so that it
 * goes as soon as its key groups are merged again. Memory: one output and 1 MiB of each input.
 * @returns what takes the inputs' place (`applyCompaction`). Outputs of a merge that fails are garbage to a thorough collection.
 * @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_STATES`, `STORE_UNAVAILABLE`.
 */
export async function compact(store: BlobStore, plan: CompactionPlan, options: CompactOptions): Promise<SegmentRef[]> {
  const { epoch, checkpointId, host, random, breathe } = options;
  const inlineBytesMax = options.inlineBytesMax ?? inlineBytesMaxDefault;
  const segments = await Promise.all(plan.inputs.map((ref) => StoredSegment.open(store, ref)));
  const deltas = Math.max(
    2,
    plan.inputs.reduce((sum, ref) => sum + (ref.full ? 0 : ref.deltas), 0),
  );
  const { range, full, boundaries, bytesTarget } = plan;
  const outputs: SegmentRef[] = [];
  for await (const { bytes } of mergeSegments(segments, {
    checkpointId,
    range,
    full,
    boundaries,
    bytesTarget,
    breathe,
  })) {
    const ref = { ...describeSegment(bytes), offset: 0, deltas };
    // Many small ones would make HEAD large.
    if (outputs.length === 0 && bytes.length <= inlineBytesMax) {
      outputs.push({ ...ref, object: '', inline: Buffer.from(bytes).toString('base64') });
      continue;
    }
    await breathe();
    const object = segmentObjectName(epoch, checkpointId, host, random.nonce());
    await store.put(object, bytes);
    outputs.push({ ...ref, object });
  }
  return outputs;
}
