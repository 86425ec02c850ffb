import { inParallel } from '../base/index.js';
import type { BlobStore } from './blob/blob-store.js';
import type { Manifest, SegmentRef } from './manifest.js';
import { type SegmentFindings, type VerifySegmentOptions, verifySegment } from './segment/verify-segment.js';

/** Segments looked at at once. */
const parallelDefault = 8;

/** One thing that is wrong with a checkpoint. */
export interface CheckpointProblem {
  /** `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `MANIFEST_CORRUPT`, `MANIFEST_VERSION`, `MANIFEST_MISSING`... */
  readonly code: string;
  /** Empty when it is the manifest. */
  readonly task: string;
  /** Empty when it is inside HEAD. */
  readonly object: string;
  /** One line that names it. */
  readonly what: string;
}

export interface VerifyOptions extends VerifySegmentOptions {
  readonly parallel?: number;
  /** What was verified before, in the same way: kept checkpoints share nearly all their segments. */
  readonly known?: VerifiedSegments;
  progress?(segmentsDone: number, segments: number): void;
}

/** Findings of one store, each segment's once. */
export type VerifiedSegments = Map<string, SegmentFindings>;

export interface CheckpointFindings {
  readonly problems: readonly CheckpointProblem[];
  readonly segments: number;
  /** Read and found to be right, in this call. */
  readonly bytes: number;
}

/**
 * Whether a checkpoint can be restored: every segment is there and its index right; `deep`: and every byte of it. Never
 * throws for damage, however much there is.
 * @throws MillraceError `STORE_UNAVAILABLE`: nothing is known then; `STOPPED` (closed) when `signal` was aborted.
 */
export async function verifyCheckpoint(
  store: BlobStore,
  manifest: Manifest,
  options: VerifyOptions,
): Promise<CheckpointFindings> {
  const { parallel = parallelDefault, known = new Map(), progress } = options;
  const refs = manifest.tasks.flatMap(({ task, segments }) => segments.map((ref) => ({ task, ref })));
  let done = 0;
  let bytes = 0;
  const found = await inParallel(
    refs,
    parallel,
    async ({ task, ref }): Promise<CheckpointProblem[]> => {
      const key = segmentKey(ref);
      let findings = known.get(key);
      if (findings === undefined) {
        findings = await verifySegment(store, ref, options);
        known.set(key, findings);
        bytes += findings.bytes;
      }
      progress?.(++done, refs.length);
      const { damage } = findings;
      return damage === undefined ? [] : [{ ...damage, task, object: ref.object }];
    },
    options.signal,
  );
  return { problems: found.flat(), segments: refs.length, bytes };
}

/** The same for refs to the same bytes, in one store. */
export function segmentKey(ref: SegmentRef): string {
  const { object, offset, length, checksum, inline } = ref;
  return inline === undefined ? `${object}@${offset}+${length}/${checksum}` : `${checksum}+${length}/${inline}`;
}
