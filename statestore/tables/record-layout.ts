import type { KeyGroupRange } from '../spi.js';

/*
 * A record: what a table keeps of one entry, in 32-bit words.
 *
 *     0         hash of the key
 *     1         meta: key group (7 bits, from the first of the table's range) | code (6) | removed, free, queued | depth (3) | stamp (13)
 *     2 ..      key and sub key end to end, if they fit: 8 to 40 bytes, the same for all records of the table, the rest zero;
 *               otherwise offset and length in the heap. Of a free record: the next free one
 *     then      doubles of the identity | payload | length of the key alone, where there are sub keys | key group, where the range is wider than 128
 *
 * Code: the length of what stands in the record (0 to 40), IN_HEAP, or TAGGED + t: nine bytes of which the first is t, a column
 * type's tag, so that a number of eight bytes as canonical key takes eight.
 *
 * Stamp: the generation (its low 13 bits) of the entry's last change; depth: how many generations before that it was born, `OLD` =
 * before what is completed, or too long ago to tell. `generations.ts` says what they are for.
 */
export const HASH = 0;
export const META = 1;
export const KEY = 2;

/** Payload of tables whose values stand in a heap. */
export const VALUE_OFFSET = 0;
export const VALUE_LENGTH = 1;
export const valueWords = 2;

const packedGroups = 128;
const CODE_SHIFT = 7;
const CODE_MASK = 63;
export const REMOVED = 1 << 13;
export const FREE = 1 << 14;
export const QUEUED = 1 << 15;
/** Key group and code; free records equal no identity. */
export const IDENTITY = 0x1fff | FREE;
/** All of it that is not stamp and depth. */
export const UNSTAMPED = 0xffff;
const DEPTH_SHIFT = 16;
/** Depth of entries that were born before the newest completed snapshot. */
export const OLD = 7;
export const STAMP_SHIFT = 19;
export const STAMP_MASK = 0x1fff;

export const IN_HEAP = 47;
const TAGGED = 48;
export const taggedBytes = 9;
/** Tags that a code can hold are below. */
export const inlineTags = 16;
const keyBytesMin = 8;
const keyBytesMax = 40;

export interface RecordShape {
  /** float64 of the identity that are stored: 0 to 2. */
  readonly doubles: number;
  /** Words of the owner's. */
  readonly payloadWords: number;
  /** Payload is float64. */
  readonly aligned: boolean;
  readonly subKeys: boolean;
  readonly range: KeyGroupRange;
  /** Room for key and sub key: a multiple of 8. */
  readonly keyBytes: number;
}

/** Where things stand in a record, in words. Plain data: it goes to the thread that writes segments. */
export interface RecordLayout extends RecordShape {
  readonly stride: number;
  readonly doublesAt: number;
  readonly payloadAt: number;
  /** -1: none. */
  readonly splitAt: number;
  /** -1: the key group is in the meta word. */
  readonly groupAt: number;
}

export function recordLayout(shape: RecordShape): RecordLayout {
  const doublesAt = KEY + shape.keyBytes / 4;
  const payloadAt = doublesAt + shape.doubles * 2;
  let end = payloadAt + shape.payloadWords;
  const splitAt = shape.subKeys ? end++ : -1;
  const wide = shape.range.last - shape.range.first >= packedGroups;
  const groupAt = wide ? end++ : -1;
  const { doubles, payloadWords, aligned, subKeys, range, keyBytes } = shape;
  const stride = doubles > 0 || aligned ? end + (end & 1) : end;
  // Each by name: objects that are spread may become hash tables, and this one is looked at for every row.
  return {
    doubles,
    payloadWords,
    aligned,
    subKeys,
    range,
    keyBytes,
    stride,
    doublesAt,
    payloadAt,
    splitAt,
    groupAt,
  };
}

/** The room that suits a table whose first key is this one. */
export function keyBytesFor(bytes: Uint8Array, length: number): number {
  if (length <= keyBytesMin || length > keyBytesMax || isTagged(bytes, length)) return keyBytesMin;
  return Math.ceil(length / 8) * 8;
}

export function codeOf(layout: RecordLayout, bytes: Uint8Array, length: number): number {
  if (length <= layout.keyBytes) return length;
  return layout.keyBytes === keyBytesMin && isTagged(bytes, length) ? codeOfTag(bytes[0] as number) : IN_HEAP;
}

export function codeOfTag(tag: number): number {
  return TAGGED + tag;
}

/** Whether of a key with this code all but the first byte stands in the record. */
export function isTaggedCode(code: number): boolean {
  return code >= TAGGED;
}

function isTagged(bytes: Uint8Array, length: number): boolean {
  return length === taggedBytes && (bytes[0] as number) < inlineTags;
}

/** Key group and code as they stand in the meta word; `group` counts from the first of the range, 0 where it stands apart. */
export function identityOf(group: number, code: number): number {
  return group | (code << CODE_SHIFT);
}

export function codeIn(meta: number): number {
  return (meta >>> CODE_SHIFT) & CODE_MASK;
}

export function stampBits(stamp: number, depth: number): number {
  return (stamp << STAMP_SHIFT) | (depth << DEPTH_SHIFT);
}

export function depthIn(meta: number): number {
  return (meta >>> DEPTH_SHIFT) & OLD;
}

/** Records and the keys that do not fit into them. */
export interface RecordBytes {
  readonly layout: RecordLayout;
  readonly words: Int32Array;
  /** The same as bytes, and as doubles. */
  readonly bytes: Uint8Array;
  readonly doubles: Float64Array;
  readonly keys: Uint8Array;
}

/** Where bytes of an entry stand; filled in by `locateKey`, so that comparing allocates nothing. */
export interface KeyLocation {
  bytes: Uint8Array;
  start: number;
  /** End of the key, start of the sub key. */
  split: number;
  end: number;
  /** What `bytes` may be. */
  readonly scratch: Uint8Array;
}

/** An empty location, to be filled in. */
export function newLocation(): KeyLocation {
  return { bytes: new Uint8Array(0), start: 0, split: 0, end: 0, scratch: new Uint8Array(taggedBytes) };
}

/** `base`: the record's first word. */
export function locateKey(records: RecordBytes, base: number, at: KeyLocation): void {
  const { layout, words } = records;
  const code = codeIn(words[base + META] as number);
  let length = code;
  if (code === IN_HEAP) {
    at.bytes = records.keys;
    at.start = words[base + KEY] as number;
    length = words[base + KEY + 1] as number;
  } else if (code >= TAGGED) {
    const { scratch } = at;
    scratch[0] = code - TAGGED;
    const from = (base + KEY) * 4;
    for (let i = 0; i < keyBytesMin; i++) scratch[i + 1] = records.bytes[from + i] as number;
    at.bytes = scratch;
    at.start = 0;
    length = taggedBytes;
  } else {
    at.bytes = records.bytes;
    at.start = (base + KEY) * 4;
  }
  at.end = at.start + length;
  at.split = layout.splitAt < 0 ? at.end : at.start + (words[base + layout.splitAt] as number);
}

export function keyGroupAt(records: RecordBytes, base: number): number {
  const { layout, words } = records;
  if (layout.groupAt >= 0) return words[base + layout.groupAt] as number;
  return layout.range.first + ((words[base + META] as number) & (packedGroups - 1));
}

/** A double of the identity; 0 where it is not stored. */
export function doubleAt(records: RecordBytes, base: number, which: number): number {
  const { layout } = records;
  return which < layout.doubles ? (records.doubles[((base + layout.doublesAt) >> 1) + which] as number) : 0;
}
