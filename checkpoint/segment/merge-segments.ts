import { MillraceError } from '../../base/index.js';
import { SegmentBuilder, type SegmentBytes } from './segment-builder.js';
import { compareBytes } from './segment-bytes.js';
import { SegmentCursor } from './segment-cursor.js';
import { blocksOf, type KeyGroups, type SegmentState } from './segment-format.js';
import type { StoredSegment } from './stored-segment.js';

/** Read ahead per input: one ranged read of this size, whatever the size of the segment. */
const readBytes = 1024 * 1024;
/** Entries merged before other work of the process gets its turn. */
const entriesPerTurn = 4096;

export interface MergeOptions {
  readonly checkpointId: number;
  /** Entries outside are left out. */
  readonly range: KeyGroups;
  /** Nothing older than the inputs counts within `range`: tombstones go, and the outputs are full. */
  readonly full: boolean;
  /** Outputs end behind these key groups... */
  readonly boundaries?: readonly number[];
  /** ...and behind the first key group that makes them this large. */
  readonly bytesTarget: number;
  /** Lets others work, now and then. */
  breathe(): Promise<void>;
}

/**
 * Merges sorted segments, oldest first, into new ones whose key groups are disjoint: of each key the newest version counts.
 * Yields each output when it is finished, so that memory holds one output and a read-ahead of each input.
 * @throws MillraceError `SEGMENT_STATES` (invalid) when inputs disagree about how a state is to be read; `SEGMENT_CORRUPT`,
 *   `STORE_UNAVAILABLE`.
 */
export async function* mergeSegments(
  segments: readonly StoredSegment[],
  options: MergeOptions,
): AsyncGenerator<SegmentBytes & { readonly range: KeyGroups }> {
  const states = unionOfStates(segments);
  const names = new Map(states.map((state, i) => [state.name, i]));
  const inputs = segments.map((segment, age) => new MergeInput(segment, age, names, options.range));
  const live: MergeInput[] = [];
  for (const input of inputs) if (await input.advance()) live.push(input);
  const heap = new InputHeap(live);
  const boundaries = new Set(options.boundaries ?? []);
  let first = options.range.first;
  let output: SegmentBuilder | undefined;
  let keyGroup = -1;
  const start = () => {
    // The first output also carries what is not keyed.
    const carried = first === options.range.first ? states : states.map((s) => ({ ...s, value: undefined }));
    return new SegmentBuilder({
      checkpointId: options.checkpointId,
      full: options.full,
      range: { first, last: options.range.last },
      states: carried,
      capacity: Math.min(options.bytesTarget, 4 * readBytes),
    });
  };
  const finish = (builder: SegmentBuilder, last: number) => {
    const range = { first, last };
    first = last + 1;
    return { ...builder.finish(last), range };
  };
  for (let turn = 1; ; turn++) {
    if (turn % entriesPerTurn === 0) await options.breathe();
    const newest = heap.top;
    if (newest === undefined) break;
    const { cursor, state } = newest;
    if (cursor.keyGroup !== keyGroup) {
      // Outputs end between key groups only, so that no key group is in two of them.
      for (let group = Math.max(keyGroup, first); group < cursor.keyGroup; group++) {
        const large = group === keyGroup && output !== undefined && output.length >= options.bytesTarget;
        if (!large && !boundaries.has(group)) continue;
        if (output !== undefined) yield finish(output, group);
        else if (first !== options.range.first || !carriesValues(states)) first = group + 1;
        else yield finish(start(), group);
        output = undefined;
      }
      keyGroup = cursor.keyGroup;
    }
    const dropped = options.full && cursor.tombstone;
    if (!dropped) {
      output ??= start();
      output.copy(cursor, state);
    }
    // Older versions of the same key.
    const same = newest.entry();
    let waiting = heap.advanceTop();
    if (waiting !== undefined) await waiting;
    for (let next = heap.top; next?.isAt(same) === true; next = heap.top) {
      waiting = heap.advanceTop();
      if (waiting !== undefined) await waiting;
    }
  }
  if (output === undefined && first === options.range.first && carriesValues(states)) output = start();
  if (output === undefined) return;
  // Not further than the next boundary, or it would lie across ranges in which nothing was changed.
  const ends = [...boundaries].filter((group) => group >= Math.max(keyGroup, first));
  yield finish(output, Math.min(...ends, options.range.last));
}

const carriesValues = (states: readonly SegmentState[]) => states.some((state) => state.value !== undefined);

/** Sorted by name; of values the newest. */
function unionOfStates(segments: readonly StoredSegment[]): SegmentState[] {
  const states = new Map<string, SegmentState>();
  for (const { index } of segments) {
    for (const state of index.states) {
      const before = states.get(state.name);
      if (before !== undefined && compareBytes(before.meta, state.meta) !== 0) {
        throw new MillraceError(
          'invalid',
          'SEGMENT_STATES',
          `segments to merge disagree about how state ${JSON.stringify(state.name)} is stored`,
          { context: { state: state.name } },
        );
      }
      states.set(state.name, { ...state, value: state.value ?? before?.value });
    }
  }
  const sorted = [...states.values()].map((state) => ({ state, name: Buffer.from(state.name, 'utf8') }));
  return sorted.sort((a, b) => compareBytes(a.name, b.name)).map(({ state }) => state);
}

interface EntryKey {
  readonly keyGroup: number;
  readonly state: number;
  readonly bytes: Uint8Array;
  readonly split: number;
}

/** One segment on its way through a merge. */
class MergeInput {
  readonly cursor = new SegmentCursor();
  /** Higher is newer. */
  readonly age: number;
  readonly #segment: StoredSegment;
  readonly #states: readonly number[];
  readonly #range: KeyGroups;
  #loaded: Uint8Array[] = [];
  #nextBlock: number;
  readonly #endBlock: number;

  constructor(segment: StoredSegment, age: number, names: ReadonlyMap<string, number>, range: KeyGroups) {
    this.#segment = segment;
    this.age = age;
    this.#states = segment.index.states.map((state) => names.get(state.name) as number);
    this.#range = range;
    const { from, to } = blocksOf(segment.index, range);
    this.#nextBlock = from;
    this.#endBlock = to;
  }

  /** Of the current entry, as the outputs count states. */
  get state(): number {
    return this.#states[this.cursor.state] as number;
  }

  /** To the next entry in range without waiting: undefined when the next block must be loaded first. */
  step(): boolean | undefined {
    while (this.cursor.next()) {
      if (this.cursor.keyGroup < this.#range.first) continue;
      return this.cursor.keyGroup <= this.#range.last;
    }
    return undefined;
  }

  /** To the next entry in range; false at the end. */
  async advance(): Promise<boolean> {
    for (;;) {
      const stepped = this.step();
      if (stepped !== undefined) return stepped;
      if (this.#loaded.length === 0) {
        if (this.#nextBlock >= this.#endBlock) return false;
        const { blocks } = this.#segment.index;
        let to = this.#nextBlock;
        for (let bytes = 0; to < this.#endBlock && (bytes < readBytes || to === this.#nextBlock); to++) {
          bytes += blocks[to]?.length ?? 0;
        }
        this.#loaded = await this.#segment.blocks(this.#nextBlock, to);
        this.#nextBlock = to;
      }
      this.cursor.load(this.#loaded.shift() as Uint8Array);
    }
  }

  /** The current entry's place in the order; stays valid when the cursor moves on. */
  entry(): EntryKey {
    const { bytes, keyStart, keyEnd, subEnd, keyGroup } = this.cursor;
    return { keyGroup, state: this.state, bytes: bytes.subarray(keyStart, subEnd), split: keyEnd - keyStart };
  }

  isAt(entry: EntryKey): boolean {
    const { cursor } = this;
    return (
      cursor.keyGroup === entry.keyGroup &&
      this.state === entry.state &&
      cursor.keyEnd - cursor.keyStart === entry.split &&
      compareBytes(cursor.bytes.subarray(cursor.keyStart, cursor.subEnd), entry.bytes) === 0
    );
  }

  /** Whether this one's entry comes out first: smaller, or the same and newer. */
  precedes(other: MergeInput): boolean {
    const a = this.cursor;
    const b = other.cursor;
    const order =
      a.keyGroup - b.keyGroup ||
      this.state - other.state ||
      compareRanges(a.bytes, a.keyStart, a.keyEnd, b.bytes, b.keyStart, b.keyEnd) ||
      compareRanges(a.bytes, a.keyEnd, a.subEnd, b.bytes, b.keyEnd, b.subEnd);
    return order < 0 || (order === 0 && this.age > other.age);
  }
}

/** A binary heap of inputs that still have an entry. */
class InputHeap {
  readonly #heap: MergeInput[] = [];

  constructor(inputs: readonly MergeInput[]) {
    this.#heap.push(...inputs);
    for (let at = this.#heap.length >> 1; at >= 0; at--) this.#sink(at);
  }

  get top(): MergeInput | undefined {
    return this.#heap[0];
  }

  /** Moves the first input on; a promise only when it has to load blocks: not one per entry. */
  advanceTop(): Promise<void> | undefined {
    const top = this.#heap[0] as MergeInput;
    const stepped = top.step();
    if (stepped === undefined) return top.advance().then((more) => this.#moved(more));
    this.#moved(stepped);
    return undefined;
  }

  #moved(more: boolean): void {
    if (!more) {
      const last = this.#heap.pop() as MergeInput;
      if (this.#heap.length === 0) return;
      this.#heap[0] = last;
    }
    this.#sink(0);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const input = heap[from];
    if (input === undefined) return;
    let at = from;
    for (;;) {
      let below = at * 2 + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && (heap[below + 1] as MergeInput).precedes(heap[below] as MergeInput)) below++;
      if (input.precedes(heap[below] as MergeInput)) break;
      heap[at] = heap[below] as MergeInput;
      at = below;
    }
    heap[at] = input;
  }
}

function compareRanges(a: Uint8Array, aFrom: number, aEnd: number, b: Uint8Array, bFrom: number, bEnd: number): number {
  const length = Math.min(aEnd - aFrom, bEnd - bFrom);
  for (let i = 0; i < length; i++) {
    const difference = (a[aFrom + i] as number) - (b[bFrom + i] as number);
    if (difference !== 0) return difference;
  }
  return aEnd - aFrom - (bEnd - bFrom);
}
