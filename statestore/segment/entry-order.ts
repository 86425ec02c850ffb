import {
  codeIn,
  doubleAt,
  isTaggedCode,
  KEY,
  keyGroupAt,
  locateKey,
  META,
  newLocation,
  type RecordBytes,
} from '../tables/record-layout.js';

/** 32 bits of key and 21 of position fill the 53 exact bits of a double. */
const packedMax = 2 ** 21;
/** Records that are sorted between two turns of a writer that shares its thread. */
const recordsAtOnce = 1024;

/** Positions of records in segment order, and where each key group begins in them. */
export interface OrderedRecords {
  readonly order: Int32Array;
  /** Key groups that occur, ascending. */
  readonly groups: readonly { readonly keyGroup: number; readonly start: number; readonly end: number }[];
}

/**
 * Orders records by (key group, key bytes, sub key bytes, doubles): counting sort by key group; within one, the four key
 * bytes behind the common prefix are sorted natively as numbers, and only ties are compared byte by byte. Yields now and then.
 */
export function* orderRecords(records: RecordBytes, count: number): Generator<void, OrderedRecords> {
  const { stride, range } = records.layout;
  const ends = new Int32Array(range.last - range.first + 1);
  for (let i = 0; i < count; i++) {
    const group = keyGroupAt(records, i * stride) - range.first;
    ends[group] = (ends[group] as number) + 1;
  }
  const groups: { keyGroup: number; start: number; end: number }[] = [];
  let start = 0;
  for (let group = 0; group < ends.length; group++) {
    const size = ends[group] as number;
    if (size > 0) groups.push({ keyGroup: range.first + group, start, end: start + size });
    ends[group] = start;
    start += size;
  }
  const order = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const group = keyGroupAt(records, i * stride) - range.first;
    const at = ends[group] as number;
    order[at] = i;
    ends[group] = at + 1;
  }
  const compare = recordComparator(records);
  let yielded = 0;
  for (const { start, end } of groups) {
    orderGroup(records, order.subarray(start, end), compare);
    if (end - yielded < recordsAtOnce) continue;
    yielded = end;
    yield;
  }
  return { order, groups };
}

function orderGroup(records: RecordBytes, order: Int32Array, compare: (a: number, b: number) => number): void {
  if (order.length < 32 || order.length > packedMax) {
    order.sort(compare);
    return;
  }
  const packed = new Float64Array(order.length);
  if (differInLastWord(records, order)) packLastWord(records, order, packed);
  else packPrefixed(records, order, packed);
  packed.sort();
  const old = order.slice();
  for (let i = 0; i < order.length; i++) order[i] = old[(packed[i] as number) % packedMax] as number;
  let run = 0;
  for (let i = 1; i <= order.length; i++) {
    const same =
      i < order.length &&
      Math.floor((packed[i] as number) / packedMax) === Math.floor((packed[run] as number) / packedMax);
    if (same) continue;
    if (i - run > 1) order.subarray(run, i).sort(compare);
    run = i;
  }
}

/** Whether keys are eight bytes in the record, behind the same tag if there is one, and alike in the first four: small numbers. */
function differInLastWord({ layout, words }: RecordBytes, order: Int32Array): boolean {
  const { stride } = layout;
  const first = (order[0] as number) * stride;
  const code = codeIn(words[first + META] as number);
  if (layout.splitAt >= 0 || (code !== 8 && !isTaggedCode(code))) return false;
  for (const position of order) {
    const base = position * stride;
    if (words[base + KEY] !== words[first + KEY] || codeIn(words[base + META] as number) !== code) return false;
  }
  return true;
}

function packLastWord({ layout, words }: RecordBytes, order: Int32Array, packed: Float64Array): void {
  for (let i = 0; i < order.length; i++) {
    const word = words[(order[i] as number) * layout.stride + KEY + 1] as number;
    const swapped = ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
    packed[i] = (swapped >>> 0) * packedMax + i;
  }
}

/** The four bytes behind what all keys begin with. */
function packPrefixed(records: RecordBytes, order: Int32Array, packed: Float64Array): void {
  const { stride } = records.layout;
  const prefix = commonPrefix(records, order);
  const at = newLocation();
  for (let i = 0; i < order.length; i++) {
    locateKey(records, (order[i] as number) * stride, at);
    let word = 0;
    for (let b = at.start + prefix; b < at.start + prefix + 4; b++) {
      word = word * 256 + (b < at.split ? (at.bytes[b] as number) : 0);
    }
    packed[i] = word * packedMax + i;
  }
}

/** Length of what all keys begin with. */
function commonPrefix(records: RecordBytes, order: Int32Array): number {
  const { stride } = records.layout;
  const first = newLocation();
  const other = newLocation();
  locateKey(records, (order[0] as number) * stride, first);
  let length = first.split - first.start;
  for (let i = 1; i < order.length && length > 0; i++) {
    locateKey(records, (order[i] as number) * stride, other);
    length = Math.min(length, other.split - other.start);
    for (let b = 0; b < length; b++) {
      if (first.bytes[first.start + b] !== other.bytes[other.start + b]) length = b;
    }
  }
  return length;
}

/** Total order of records of one key group, by position: key bytes, sub key bytes, doubles. */
export function recordComparator(records: RecordBytes): (a: number, b: number) => number {
  const left = newLocation();
  const right = newLocation();
  return (a, b) => {
    const { stride, doubles } = records.layout;
    locateKey(records, a * stride, left);
    locateKey(records, b * stride, right);
    const keys = compareBytes(left.bytes, left.start, left.split, right.bytes, right.start, right.split);
    if (keys !== 0) return keys;
    const subs = compareBytes(left.bytes, left.split, left.end, right.bytes, right.split, right.end);
    if (subs !== 0) return subs;
    for (let which = 0; which < doubles; which++) {
      const difference = doubleAt(records, a * stride, which) - doubleAt(records, b * stride, which);
      // Infinity - Infinity is NaN, which is neither.
      if (difference < 0 || difference > 0) return difference;
    }
    return 0;
  };
}

function compareBytes(a: Uint8Array, from: number, end: number, b: Uint8Array, bFrom: number, bEnd: number): number {
  const length = Math.min(end - from, bEnd - bFrom);
  for (let i = 0; i < length; i++) {
    const difference = (a[from + i] as number) - (b[bFrom + i] as number);
    if (difference !== 0) return difference;
  }
  return end - from - (bEnd - bFrom);
}
