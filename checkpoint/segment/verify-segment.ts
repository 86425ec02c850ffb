import { MillraceError, throwIfStopped } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { SegmentRef } from '../manifest.js';
import { compareBytes, segmentCorrupt } from './segment-bytes.js';
import { SegmentCursor } from './segment-cursor.js';
import type { SegmentBlock, SegmentIndex } from './segment-format.js';
import { StoredSegment } from './stored-segment.js';

/** Blocks read at once. */
const readBytes = 1024 * 1024;

export interface SegmentFindings {
  /** Why it cannot be restored, naming the object; undefined when nothing is wrong with it. */
  readonly damage: { readonly code: string; readonly what: string } | undefined;
  /** Read and found to be right. */
  readonly bytes: number;
}

export interface VerifySegmentOptions {
  /** Every block, the order of entries and all counts, instead of the index alone. */
  readonly deep: boolean;
  readonly signal?: AbortSignal;
  /** Lets others work, now and then. */
  breathe(): Promise<void>;
}

/**
 * Whether a segment is what its ref says: there, whole, and readable by this version. Never throws for damage.
 * @throws MillraceError `STORE_UNAVAILABLE`: a store that gives no answer says nothing of the segment; `STOPPED` (closed).
 */
export async function verifySegment(
  store: BlobStore,
  ref: SegmentRef,
  options: VerifySegmentOptions,
): Promise<SegmentFindings> {
  let bytes = 0;
  try {
    const segment = await StoredSegment.open(store, ref);
    bytes += ref.indexBytes;
    const where = ref.inline === undefined ? `${ref.object} at ${ref.offset}` : 'HEAD';
    verifyIndex(ref, segment.index, where);
    if (options.deep) {
      const walk = new EntryWalk(segment.index, where);
      const { blocks } = segment.index;
      for (let from = 0; from < blocks.length; ) {
        throwIfStopped(options.signal);
        let to = from;
        for (let size = 0; to < blocks.length && (size < readBytes || to === from); to++) {
          size += (blocks[to] as SegmentBlock).length;
        }
        for (const block of await segment.blocks(from, to)) {
          walk.block(block);
          bytes += block.length;
        }
        from = to;
        await options.breathe();
      }
      walk.end();
    }
    return { damage: undefined, bytes };
  } catch (thrown) {
    const { kind, code, message } = MillraceError.from(thrown);
    // What is wrong with the bytes, another version's format, or a ref that makes no sense.
    if (kind !== 'corrupt' && kind !== 'invalid') throw thrown;
    return { damage: { code, what: message }, bytes };
  }
}

function verifyIndex(ref: SegmentRef, index: SegmentIndex, where: string): void {
  const { full, range, blocks } = index;
  if (full !== ref.full || range.first !== ref.first || range.last !== ref.last) {
    throw segmentCorrupt(`${where}: its index speaks of other key groups than the manifest`);
  }
  for (let at = 1; at < blocks.length; at++) {
    const [before, block] = [blocks[at - 1] as SegmentBlock, blocks[at] as SegmentBlock];
    const order = before.keyGroup - block.keyGroup || before.state - block.state || compareBytes(before.key, block.key);
    // Equal where one key has sub keys for more than a block.
    if (order > 0) throw segmentCorrupt(`${where}: its blocks are not in order`);
  }
}

/** Checks entries one after another against each other and against what the index says of them. */
class EntryWalk {
  readonly #index: SegmentIndex;
  readonly #where: string;
  readonly #cursor = new SegmentCursor();
  readonly #entriesOfStates: number[];
  #blocks = 0;
  #entries = 0;
  #tombstones = 0;
  #last: { readonly keyGroup: number; readonly state: number; readonly key: Uint8Array; readonly sub: Uint8Array } = {
    keyGroup: -1,
    state: -1,
    key: new Uint8Array(0),
    sub: new Uint8Array(0),
  };

  constructor(index: SegmentIndex, where: string) {
    this.#index = index;
    this.#where = where;
    this.#entriesOfStates = index.states.map(() => 0);
  }

  block(bytes: Uint8Array): void {
    const { range, blocks, states } = this.#index;
    const expected = blocks[this.#blocks++] as SegmentBlock;
    const cursor = this.#cursor;
    cursor.load(bytes);
    let entries = 0;
    while (cursor.next()) {
      const { keyGroup, state, key, sub } = cursor;
      if (keyGroup < range.first || keyGroup > range.last) this.#wrong(`an entry is of key group ${keyGroup}`);
      if (state >= states.length) this.#wrong('an entry belongs to no state');
      const last = this.#last;
      const order =
        keyGroup - last.keyGroup || state - last.state || compareBytes(key, last.key) || compareBytes(sub, last.sub);
      if (order <= 0) this.#wrong('its entries are not in order');
      if (entries === 0) {
        const isFirst =
          keyGroup === expected.keyGroup && state === expected.state && compareBytes(key, expected.key) === 0;
        if (!isFirst) this.#wrong('a block begins with another key than its index says');
      }
      entries++;
      if (cursor.tombstone) this.#tombstones++;
      this.#entriesOfStates[state] = (this.#entriesOfStates[state] as number) + 1;
      this.#last = { keyGroup, state, key, sub };
    }
    if (entries !== expected.entries) this.#wrong(`a block has ${entries} entries, not ${expected.entries}`);
    this.#entries += entries;
  }

  end(): void {
    const { entries, tombstones, sizes } = this.#index;
    if (this.#entries !== entries) this.#wrong(`it has ${this.#entries} entries, not ${entries}`);
    if (this.#tombstones !== tombstones) this.#wrong(`it has ${this.#tombstones} tombstones, not ${tombstones}`);
    if (sizes.some((size, state) => size.entries !== this.#entriesOfStates[state])) {
      this.#wrong('its states have other numbers of entries than its index says');
    }
  }

  #wrong(why: string): never {
    throw segmentCorrupt(`${this.#where}: ${why}`);
  }
}
