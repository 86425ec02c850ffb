import type { BlobStore } from '../blob/blob-store.js';
import type { SegmentRef } from '../manifest.js';
import { mergeSegments } from './merge-segments.js';
import { compareBytes } from './segment-bytes.js';
import { SegmentCursor } from './segment-cursor.js';
import type { KeyGroups, SegmentState } from './segment-format.js';
import { LoadedSegment, StoredSegment } from './stored-segment.js';

/** Entries are merged into pieces of this size; one is in memory at a time. */
const pieceBytes = 1024 * 1024;

/**
 * What a task's segments say together, as a restore would see it: of each key the newest version, tombstones applied, in the
 * order of (key group, state, key, sub key). Memory: one piece, and 1 MiB of each segment. Everything read is verified.
 */
export class LiveEntries {
  /** All states, sorted by name, bytewise; a value is the newest there is, unless that is empty: it was removed. */
  readonly states: readonly SegmentState[];
  /** At the current entry; its `state` counts within the piece: use `state` of this class. Valid until `next`. */
  readonly cursor = new SegmentCursor();
  readonly #segments: readonly StoredSegment[];
  readonly #breathe: () => Promise<void>;
  readonly #positions: ReadonlyMap<string, number>;
  #statesOfPiece: readonly number[] = [];

  private constructor(segments: readonly StoredSegment[], breathe: () => Promise<void>) {
    this.#segments = segments;
    this.#breathe = breathe;
    const states = new Map<string, SegmentState>();
    for (const { index } of segments) {
      for (const state of index.states) {
        states.set(state.name, { ...state, value: state.value ?? states.get(state.name)?.value });
      }
    }
    const live = [...states.values()].map((s) => (s.value?.length === 0 ? { ...s, value: undefined } : s));
    this.states = sortStates(live);
    this.#positions = new Map(this.states.map(({ name }, at) => [name, at]));
  }

  /** Reads the indexes. @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `STORE_UNAVAILABLE`. */
  static async open(
    store: BlobStore,
    refs: readonly SegmentRef[],
    options: { breathe(): Promise<void> },
  ): Promise<LiveEntries> {
    const segments = await Promise.all(refs.map((ref) => StoredSegment.open(store, ref)));
    return new LiveEntries(segments, options.breathe);
  }

  /** Of the current entry: its position in `states`. */
  get state(): number {
    return this.#statesOfPiece[this.cursor.state] as number;
  }

  /** Yields once for each block, with the cursor before its first entry: call `cursor.next()` until it says no. */
  async *blocks(): AsyncGenerator<void> {
    for (const { range, inputs } of liveRanges(this.#segments)) {
      const options = { checkpointId: 0, range, full: true, bytesTarget: pieceBytes, breathe: this.#breathe };
      for await (const { bytes } of mergeSegments(inputs, options)) {
        const piece = new LoadedSegment(bytes);
        this.#statesOfPiece = piece.index.states.map(({ name }) => this.#positions.get(name) as number);
        for (let at = 0; at < piece.index.blocks.length; at++) {
          this.cursor.load(piece.block(at));
          yield;
        }
      }
    }
  }
}

export function sortStates<T extends { readonly name: string }>(states: readonly T[]): T[] {
  const keyed = states.map((state) => ({ state, name: Buffer.from(state.name, 'utf8') }));
  return keyed.sort((a, b) => compareBytes(a.name, b.name)).map(({ state }) => state);
}

/**
 * Ranges of key groups, ascending, each with the segments that count there, oldest first: what is older than a full segment
 * counts for nothing within that segment's key groups.
 */
function liveRanges(
  segments: readonly StoredSegment[],
): { readonly range: KeyGroups; readonly inputs: readonly StoredSegment[] }[] {
  if (segments.length === 0) return [];
  const ranges = segments.map(({ index }) => index.range);
  const edges = new Set([Math.min(...ranges.map((r) => r.first)), Math.max(...ranges.map((r) => r.last)) + 1]);
  for (const { index } of segments) {
    if (!index.full) continue;
    edges.add(index.range.first);
    edges.add(index.range.last + 1);
  }
  const sorted = [...edges].sort((a, b) => a - b);
  return sorted.slice(0, -1).map((first, at) => {
    const range = { first, last: (sorted[at + 1] as number) - 1 };
    const touching = segments.filter(({ index: { range: r } }) => r.first <= range.last && range.first <= r.last);
    const base = touching.findLastIndex(({ index }) => index.full);
    return { range, inputs: touching.slice(Math.max(0, base)) };
  });
}
