import { assert, MillraceError, xxh64 } from '../../base/index.js';
import { compareBytes, SegmentWriter } from './segment-bytes.js';
import type { SegmentCursor } from './segment-cursor.js';
import {
  blockBytesTarget,
  encodeIndex,
  HAS_SUB,
  type KeyGroups,
  SECTION,
  type SegmentBlock,
  type SegmentState,
  TOMBSTONE,
} from './segment-format.js';

/** A finished segment. */
export interface SegmentBytes {
  readonly bytes: Uint8Array;
  readonly full: boolean;
  readonly entries: number;
}

/** Writes one segment, entry by entry, in the order of (key group, state, key, sub key). */
export class SegmentBuilder {
  /** Where key, sub key and payload go after `begin`. */
  readonly writer: SegmentWriter;
  readonly #checkpointId: number;
  readonly #full: boolean;
  readonly #range: KeyGroups;
  readonly #states: readonly SegmentState[];
  readonly #sizes: { entries: number; bytes: number }[];
  readonly #blocks: SegmentBlock[] = [];
  #entries = 0;
  #tombstones = 0;
  /** Of the block being written. */
  #blockStart = 0;
  #blockEntries = 0;
  #blockKey = { keyGroup: 0, state: 0, start: 0, length: 0 };
  #entryStart = 0;
  #keyGroup = -1;
  #state = -1;
  #lastKey: Uint8Array = new Uint8Array(0);
  #lastSub: Uint8Array = new Uint8Array(0);

  /** `states` sorted by name, bytewise; `capacity` in bytes is a guess. */
  constructor(options: {
    readonly checkpointId: number;
    readonly full: boolean;
    readonly range: KeyGroups;
    readonly states: readonly SegmentState[];
    readonly capacity?: number;
  }) {
    this.writer = new SegmentWriter(options.capacity ?? blockBytesTarget);
    this.#checkpointId = options.checkpointId;
    this.#full = options.full;
    this.#range = options.range;
    this.#states = options.states;
    this.#sizes = options.states.map(() => ({ entries: 0, bytes: 0 }));
  }

  /** Bytes written so far, without the index. */
  get length(): number {
    return this.writer.length;
  }

  get entries(): number {
    return this.#entries;
  }

  /** @throws MillraceError `SEGMENT_ORDER` (invalid) when the entry does not come after the one before. */
  add(
    keyGroup: number,
    state: number,
    key: Uint8Array,
    sub: Uint8Array,
    payload: Uint8Array,
    tombstone: boolean,
  ): void {
    const order =
      keyGroup - this.#keyGroup ||
      state - this.#state ||
      compareBytes(key, this.#lastKey) ||
      compareBytes(sub, this.#lastSub);
    if (this.#entries > 0 && order <= 0) {
      throw new MillraceError(
        'invalid',
        'SEGMENT_ORDER',
        `entries of a segment come once each, sorted: ${describe(keyGroup, state, key)} came after ${describe(this.#keyGroup, this.#state, this.#lastKey)}`,
      );
    }
    this.#lastKey = key;
    this.#lastSub = sub;
    this.begin(keyGroup, state, key.length, sub.length, payload.length, tombstone);
    this.writer.bytes(key, 0, key.length);
    this.writer.bytes(sub, 0, sub.length);
    this.writer.bytes(payload, 0, payload.length);
  }

  /** As `add` for callers that write key, sub key and payload (exactly as long as told) themselves, and know their order. */
  begin(
    keyGroup: number,
    state: number,
    keyLength: number,
    subLength: number,
    payloadLength: number,
    tombstone: boolean,
  ): void {
    const writer = this.writer;
    this.#closeEntry();
    if (writer.length - this.#blockStart >= blockBytesTarget) this.#closeBlock();
    const first = this.#blockEntries === 0;
    const section = first || keyGroup !== this.#keyGroup || state !== this.#state;
    writer.u8((tombstone ? TOMBSTONE : 0) | (section ? SECTION : 0) | (subLength > 0 ? HAS_SUB : 0));
    if (section) {
      assert(
        keyGroup >= this.#range.first && keyGroup <= this.#range.last,
        `key group ${keyGroup} is not the segment's`,
      );
      assert(state < this.#states.length, `a segment has no state ${state}`);
      writer.u16(keyGroup);
      writer.varint(state);
      this.#keyGroup = keyGroup;
      this.#state = state;
    }
    writer.varint(keyLength);
    if (subLength > 0) writer.varint(subLength);
    writer.varint(payloadLength);
    if (first) this.#blockKey = { keyGroup, state, start: writer.length, length: keyLength };
    this.#blockEntries++;
    this.#entries++;
    if (tombstone) this.#tombstones++;
  }

  /** Copies a cursor's entry, which comes after all before, into one of this segment's states. */
  copy(cursor: SegmentCursor, state: number): void {
    const { keyStart, keyEnd, subEnd, payloadEnd } = cursor;
    this.begin(cursor.keyGroup, state, keyEnd - keyStart, subEnd - keyEnd, payloadEnd - subEnd, cursor.tombstone);
    this.writer.bytes(cursor.bytes, keyStart, payloadEnd);
  }

  /** `last` may be lower than the range's: the segment ends with that key group. */
  finish(last = this.#range.last): SegmentBytes {
    this.#closeEntry();
    this.#closeBlock();
    const index = encodeIndex({
      checkpointId: this.#checkpointId,
      full: this.#full,
      range: { first: this.#range.first, last },
      entries: this.#entries,
      tombstones: this.#tombstones,
      states: this.#states,
      sizes: this.#sizes,
      blocks: this.#blocks,
    });
    this.writer.bytes(index, 0, index.length);
    return { bytes: this.writer.written().slice(), full: this.#full, entries: this.#entries };
  }

  /** Counts the entry before this one to its state. */
  #closeEntry(): void {
    const size = this.#sizes[this.#state];
    if (size !== undefined && this.writer.length > this.#entryStart) {
      size.entries++;
      size.bytes += this.writer.length - this.#entryStart;
    }
    this.#entryStart = this.writer.length;
  }

  #closeBlock(): void {
    if (this.#blockEntries === 0) return;
    const bytes = this.writer.written();
    const { keyGroup, state, start, length } = this.#blockKey;
    const block = bytes.subarray(this.#blockStart);
    this.#blocks.push({
      offset: this.#blockStart,
      length: block.length,
      entries: this.#blockEntries,
      checksum: xxh64(block),
      keyGroup,
      state,
      key: bytes.slice(start, start + length),
    });
    this.#blockStart = bytes.length;
    this.#blockEntries = 0;
  }
}

function describe(keyGroup: number, state: number, key: Uint8Array): string {
  return `(${keyGroup}, state ${state}, ${Buffer.from(key.subarray(0, 32)).toString('hex')})`;
}
