import {
  blocksOf,
  type KeyGroups,
  type SegmentBlock,
  SegmentCursor,
  type SegmentIndex,
} from '../../checkpoint/index.js';
import { compareRanges, type EntrySelection, type EntrySource } from './entry-source.js';
import type { StateRanks } from './state-ranks.js';

/** The blocks of a segment, wherever it is. */
export interface SegmentBlocks {
  readonly index: SegmentIndex;
  /** A verified block. Blocks up to `to` will be asked for next, so that they can be read ahead. */
  block(at: number, to: number): Uint8Array | Promise<Uint8Array>;
}

/** Entries of one segment. */
export class SegmentSource extends SegmentCursor implements EntrySource {
  readonly age: number;
  readonly fullRange: KeyGroups | undefined;
  readonly #blocks: SegmentBlocks;
  readonly #selection: EntrySelection;
  readonly #ranks: readonly number[];
  #next: number;
  readonly #end: number;

  constructor(blocks: SegmentBlocks, age: number, ranks: StateRanks, selection: EntrySelection) {
    super();
    const { index } = blocks;
    this.age = age;
    this.fullRange = index.full ? index.range : undefined;
    this.#blocks = blocks;
    this.#selection = selection;
    this.#ranks = index.states.map(({ name }) => ranks.of(name));
    const { from, to } = blocksOf(index, selection.range);
    this.#next = from;
    this.#end = to;
    if (selection.rank !== undefined) [this.#next, this.#end] = this.#narrowed(from, to);
  }

  get rank(): number {
    return this.#ranks[this.state] as number;
  }

  get meta(): Uint8Array {
    return (this.#blocks.index.states[this.state] as { readonly meta: Uint8Array }).meta;
  }

  advance(): boolean | Promise<boolean> {
    for (;;) {
      const found = this.#step();
      if (found !== undefined) return found;
      if (this.#next >= this.#end) return false;
      const block = this.#blocks.block(this.#next++, this.#end);
      if (!(block instanceof Uint8Array)) return this.#load(block);
      this.load(block);
    }
  }

  close(): void {}

  async #load(block: Promise<Uint8Array>): Promise<boolean> {
    this.load(await block);
    return this.advance();
  }

  /** To the next wanted entry of the loaded block; undefined at its end. */
  #step(): boolean | undefined {
    const { range, rank, key } = this.#selection;
    while (this.next()) {
      if (this.keyGroup < range.first) continue;
      if (this.keyGroup > range.last) return this.#stop();
      if (rank === undefined) return true;
      if (this.rank !== rank) {
        if (this.keyGroup === range.last && this.rank > rank) return this.#stop();
        continue;
      }
      if (key === undefined) return true;
      const order = compareRanges(this.bytes, this.keyStart, this.keyEnd, key, 0, key.length);
      if (order === 0) return true;
      if (order > 0) return this.#stop();
    }
    return undefined;
  }

  #stop(): false {
    this.#next = this.#end;
    return false;
  }

  /** Of blocks [from, to), those that can hold the wanted state or key. */
  #narrowed(from: number, to: number): [number, number] {
    const { range, rank = 0, key } = this.#selection;
    const compare = (block: SegmentBlock, keyGroup: number) =>
      block.keyGroup - keyGroup ||
      (this.#ranks[block.state] as number) - rank ||
      (key === undefined ? 0 : compareRanges(block.key, 0, block.key.length, key, 0, key.length));
    const { blocks } = this.#blocks.index;
    let first = from;
    // A block also holds what follows its first entry, up to the first of the next; and a key's entries may fill several.
    while (first + 1 < to && compare(blocks[first + 1] as SegmentBlock, range.first) < 0) first++;
    let last = to;
    while (last > first && compare(blocks[last - 1] as SegmentBlock, range.last) > 0) last--;
    return [first, last];
  }
}
