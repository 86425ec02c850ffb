import {
  ByteLru,
  compareBytes,
  type SegmentBlock,
  SegmentCursor,
  type StoredSegment,
  segmentKey,
} from '../../checkpoint/index.js';

/** An entry as it stands in a segment; its bytes are views of a block that is kept as long as they are. */
export interface WalkedEntry {
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  /** Undefined: a tombstone. */
  readonly payload: Uint8Array | undefined;
}

/** Verified blocks of stored segments, the last ones used kept: neighbouring key groups are in one. */
export class BlockReader {
  readonly #kept: ByteLru;
  /** Under way: asked for once, however many want them. */
  readonly #reads = new Map<string, Promise<Uint8Array>>();

  constructor(bytesMax: number) {
    this.#kept = new ByteLru(bytesMax);
  }

  /** @throws MillraceError `SEGMENT_CORRUPT`, `STORE_UNAVAILABLE`. */
  async read(segment: StoredSegment, at: number): Promise<Uint8Array> {
    const name = `${segmentKey(segment.ref)}#${at}`;
    const kept = this.#kept.get(name);
    if (kept !== undefined) return kept;
    let read = this.#reads.get(name);
    if (read === undefined) {
      read = segment.blocks(at, at + 1).then(([block]) => {
        this.#kept.set(name, block as Uint8Array);
        return block as Uint8Array;
      });
      this.#reads.set(name, read);
      const over = () => void this.#reads.delete(name);
      read.then(over, over);
    }
    return await read;
  }
}

/** Walks the entries of one state and key group in one segment, from a key on. Reads a block when it gets there, no other. */
class SegmentWalk {
  entry: WalkedEntry | undefined;
  readonly #segment: StoredSegment;
  readonly #state: number;
  readonly #keyGroup: number;
  readonly #from: Uint8Array;
  readonly #blocks: BlockReader;
  readonly #cursor = new SegmentCursor();
  #next: number;

  constructor(segment: StoredSegment, state: number, keyGroup: number, from: Uint8Array, blocks: BlockReader) {
    this.#segment = segment;
    this.#state = state;
    this.#keyGroup = keyGroup;
    this.#from = from;
    this.#blocks = blocks;
    // The entry may be in the last block that begins before it.
    const all = segment.index.blocks;
    let low = 0;
    let high = all.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#order(all[middle] as SegmentBlock) < 0) low = middle + 1;
      else high = middle;
    }
    this.#next = Math.max(0, low - 1);
  }

  /** To the next entry; undefined at the end. */
  async advance(): Promise<void> {
    for (;;) {
      while (this.#cursor.next()) {
        const { keyGroup, state, key, sub, payload, tombstone } = this.#cursor;
        const order = keyGroup - this.#keyGroup || state - this.#state;
        if (order < 0 || (order === 0 && compareBytes(key, this.#from) < 0)) continue;
        this.entry = order > 0 ? undefined : { key, sub, payload: tombstone ? undefined : payload };
        return;
      }
      const block = this.#segment.index.blocks[this.#next];
      if (block === undefined || block.keyGroup - this.#keyGroup > 0 || this.#isBehind(block)) {
        this.entry = undefined;
        return;
      }
      this.#cursor.load(await this.#blocks.read(this.#segment, this.#next++));
    }
  }

  #isBehind(block: SegmentBlock): boolean {
    return block.keyGroup === this.#keyGroup && block.state > this.#state;
  }

  /** Of a block's first entry to where we begin. */
  #order(block: SegmentBlock): number {
    return block.keyGroup - this.#keyGroup || block.state - this.#state || compareBytes(block.key, this.#from);
  }
}

/** The live entries of one state and key group in a task's segments together, in order; of each the newest version counts. */
export class GroupWalk {
  readonly keyGroup: number;
  entry: WalkedEntry | undefined;
  /** Oldest first. */
  readonly #walks: readonly SegmentWalk[];

  private constructor(keyGroup: number, walks: readonly SegmentWalk[]) {
    this.keyGroup = keyGroup;
    this.#walks = walks;
  }

  /** At the first entry whose key is `from` or comes after it. `segments` oldest first, as a task's list has them. */
  static async open(
    segments: readonly StoredSegment[],
    stateName: string,
    keyGroup: number,
    from: Uint8Array,
    blocks: BlockReader,
  ): Promise<GroupWalk> {
    const covering = segments.filter(({ index: { range } }) => range.first <= keyGroup && keyGroup <= range.last);
    // What is older than a full segment counts for nothing within its key groups.
    const counting = covering.slice(
      Math.max(
        0,
        covering.findLastIndex(({ index }) => index.full),
      ),
    );
    const walks = counting.flatMap((segment) => {
      const state = segment.index.states.findIndex(({ name }) => name === stateName);
      return state < 0 ? [] : [new SegmentWalk(segment, state, keyGroup, from, blocks)];
    });
    await Promise.all(walks.map((walk) => walk.advance()));
    const group = new GroupWalk(keyGroup, walks);
    await group.#settle();
    return group;
  }

  async advance(): Promise<void> {
    await this.#pass(this.entry as WalkedEntry);
    await this.#settle();
  }

  async #settle(): Promise<void> {
    for (;;) {
      this.entry = this.#first();
      if (this.entry === undefined || this.entry.payload !== undefined) return;
      await this.#pass(this.entry);
    }
  }

  /** The smallest; of the same ones the newest. */
  #first(): WalkedEntry | undefined {
    let first: WalkedEntry | undefined;
    for (const { entry } of this.#walks) {
      if (entry !== undefined && (first === undefined || compareEntries(entry, first) <= 0)) first = entry;
    }
    return first;
  }

  /** Moves on all that stand there. */
  async #pass(passed: WalkedEntry): Promise<void> {
    for (const walk of this.#walks) {
      if (walk.entry !== undefined && compareEntries(walk.entry, passed) === 0) await walk.advance();
    }
  }
}

function compareEntries(a: WalkedEntry, b: WalkedEntry): number {
  return compareBytes(a.key, b.key) || compareBytes(a.sub, b.sub);
}
