import type { SegmentRef } from './manifest.js';
import type { KeyGroups } from './segment/segment-format.js';

/** When deltas are merged. Frozen plain data. */
export interface CompactionSettings {
  /** Deltas as tasks took them, and merged ones of one range, before they are merged. Default 16. */
  readonly deltasMax: number;
  /** Bytes of all that is not full over bytes of what is, before the worst range is made full anew. Default 0.5. */
  readonly overlayMax: number;
  /** Outputs are a sixteenth of the state, within these bounds. Default 1 MiB to 64 MiB. */
  readonly outputBytesMin: number;
  readonly outputBytesMax: number;
}

export const compactionDefaults: CompactionSettings = Object.freeze({
  deltasMax: 16,
  overlayMax: 0.5,
  outputBytesMin: 2 ** 20,
  outputBytesMax: 64 * 2 ** 20,
});

/** What to merge next. The outputs take the place of the oldest input; everything else keeps its order. */
export interface CompactionPlan {
  /** Oldest first, as they stand in the task's list. */
  readonly inputs: readonly SegmentRef[];
  /** All key groups of the inputs. */
  readonly range: KeyGroups;
  /** Nothing older than the inputs is left within the range. */
  readonly full: boolean;
  readonly boundaries: readonly number[];
  readonly bytesTarget: number;
}

/**
 * Decides by sizes alone. Two levels over a base, all cut along the same key groups:
 *
 *     deltas as taken  d d d d ..       16 of them, or half the base, are merged: written once more
 *     merged deltas    [m][m][m][m]     of the worst range, into its base, while all of them weigh more than half the base:
 *     base             [ b ][ b ][ b ]  one range at a time, so that what is rewritten at once is a sixteenth of the state
 *
 * Where merged deltas are many and light, they are merged with each other alone.
 *
 * The ranges take turns: each grows to twice the average before it is the worst. So with `overlayMax` x, state rewritten
 * per byte changed is 1 (deltas) + 1 / 2x (base), and space is 1 + x and the deltas not merged yet, however changes are
 * spread. Of state that hardly changes more is rewritten, so that its segments stay few: compaction-cost.test.ts.
 */
export function planCompaction(
  segments: readonly SegmentRef[],
  settings: CompactionSettings = compactionDefaults,
): CompactionPlan | undefined {
  const { deltasMax, overlayMax, outputBytesMin, outputBytesMax } = settings;
  const base = segments.filter((ref) => ref.full);
  const taken = segments.filter((ref) => !ref.full && ref.deltas === 1);
  const merged = segments.filter((ref) => !ref.full && ref.deltas > 1);
  const heavyBytes = overlayMax * Math.max(sum(base), outputBytesMin);
  const boundaries = base.map((ref) => ref.last);

  if (taken.length >= deltasMax || (taken.length > 1 && sum(taken) > heavyBytes)) {
    // Whatever is older than some of them and overlaps would come out newer: the deltas as taken are always the newest.
    return { inputs: taken, range: spanOf(taken), full: false, boundaries, bytesTarget: outputBytesMax };
  }
  const crowded = worstRange(base, merged, ({ count }) => count >= deltasMax);
  if (crowded !== undefined && crowded.ratio <= overlayMax) {
    const { range, inputs } = touching(segments, merged, crowded);
    // One for each piece of the base, or they would stay as many.
    return { inputs, range, full: false, boundaries, bytesTarget: Number.POSITIVE_INFINITY };
  }
  const worst = crowded ?? (sum(merged) > heavyBytes ? worstRange(base, merged) : undefined);
  if (worst === undefined) return undefined;
  const { range, inputs } = touching(segments, [...base, ...merged], worst);
  const sixteenth = Math.min(Math.max(sum(segments) / 16, outputBytesMin), outputBytesMax);
  // Most changes are to what the base has already. Outputs of one size each, with some room, instead of a small rest.
  const bytes = sum(inputs.filter((ref) => ref.full)) || sum(inputs);
  const outputs = Math.round(bytes / sixteenth);
  const bytesTarget = outputs > 1 ? (1.1 * bytes) / outputs : 1.5 * sixteenth;
  return { inputs, range, full: true, boundaries: [], bytesTarget };
}

/** A task's segments with a plan carried out; undefined when they no longer are what the plan was made for. */
export function applyCompaction(
  segments: readonly SegmentRef[],
  inputs: readonly SegmentRef[],
  outputs: readonly SegmentRef[],
): SegmentRef[] | undefined {
  const keys = new Set(inputs.map(keyOf));
  const first = segments.findIndex((ref) => keys.has(keyOf(ref)));
  const rest = segments.filter((ref) => !keys.has(keyOf(ref)));
  if (segments.length - rest.length !== inputs.length) return undefined;
  return [...rest.slice(0, first), ...outputs, ...rest.slice(first)];
}

interface RangeWeight extends KeyGroups {
  readonly count: number;
  /** Bytes of merged deltas for each byte of the base. */
  readonly ratio: number;
}

function worstRange(
  base: readonly SegmentRef[],
  merged: readonly SegmentRef[],
  qualifies: (weight: RangeWeight) => boolean = () => true,
): RangeWeight | undefined {
  let worst: RangeWeight | undefined;
  // Where there is no base yet, the merged deltas themselves say which ranges there are.
  for (const piece of base.length > 0 ? [...base, ...uncovered(base, merged)] : merged) {
    const over = merged.filter((ref) => overlaps(ref, piece));
    const ratio = sum(over) / Math.max(1, piece.full ? piece.length : 1);
    const weight = { first: piece.first, last: piece.last, count: over.length, ratio };
    if (over.length > 0 && ratio > (worst?.ratio ?? 0) && qualifies(weight)) worst = weight;
  }
  return worst;
}

/** Of some kinds of segments all that overlap a range, and what overlaps those: outputs replace whole segments only. */
function touching(
  segments: readonly SegmentRef[],
  kinds: readonly SegmentRef[],
  { first, last }: KeyGroups,
): { readonly range: KeyGroups; readonly inputs: readonly SegmentRef[] } {
  for (let range: KeyGroups = { first, last }; ; ) {
    const within = range;
    const found = new Set(kinds.filter((ref) => overlaps(ref, within)));
    const span = spanOf([...found]);
    if (span.first >= range.first && span.last <= range.last) {
      return { range: span, inputs: segments.filter((ref) => found.has(ref)) };
    }
    range = { first: Math.min(span.first, range.first), last: Math.max(span.last, range.last) };
  }
}

function uncovered(base: readonly SegmentRef[], merged: readonly SegmentRef[]): SegmentRef[] {
  return merged.filter((ref) => !base.some((piece) => overlaps(piece, ref)));
}

function overlaps(a: KeyGroups, b: KeyGroups): boolean {
  return a.first <= b.last && b.first <= a.last;
}

function spanOf(refs: readonly SegmentRef[]): KeyGroups {
  return { first: Math.min(...refs.map((r) => r.first)), last: Math.max(...refs.map((r) => r.last)) };
}

function sum(refs: readonly SegmentRef[]): number {
  return refs.reduce((bytes, ref) => bytes + ref.length, 0);
}

function keyOf(ref: SegmentRef): string {
  return ref.inline === undefined ? `${ref.object}@${ref.offset}` : `${ref.checksum}/${ref.inline.length}`;
}
