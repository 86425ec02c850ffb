import { type EntryTable, newLocation } from './entry-table.js';

/** 32 bits of key and 21 of position fill the 53 exact bits of a double. */
const packedMax = 2 ** 21;

/** Ids of entries in segment order, and where each key group begins in them. */
export interface OrderedEntries {
  readonly ids: Int32Array;
  /** Key groups that occur, ascending. */
  readonly groups: readonly { readonly keyGroup: number; readonly start: number; readonly end: number }[];
}

/**
 * Orders entries by (key group, key bytes, sub key bytes, doubles): counting sort by key group; within one, the four key
 * bytes behind the common prefix are sorted natively as numbers, and only ties are compared byte by byte.
 */
export function orderEntries(table: EntryTable, unordered: Int32Array): OrderedEntries {
  const counts = new Map<number, number>();
  for (const id of unordered) {
    const keyGroup = table.keyGroupOf(id);
    counts.set(keyGroup, (counts.get(keyGroup) ?? 0) + 1);
  }
  const groups: { keyGroup: number; start: number; end: number }[] = [];
  const next = new Map<number, number>();
  let start = 0;
  for (const [keyGroup, count] of [...counts].sort((a, b) => a[0] - b[0])) {
    groups.push({ keyGroup, start, end: start + count });
    next.set(keyGroup, start);
    start += count;
  }
  const ids = new Int32Array(unordered.length);
  for (const id of unordered) {
    const keyGroup = table.keyGroupOf(id);
    const at = next.get(keyGroup) as number;
    ids[at] = id;
    next.set(keyGroup, at + 1);
  }
  const compare = entryComparator(table);
  for (const group of groups) orderGroup(table, ids.subarray(group.start, group.end), compare);
  return { ids, groups };
}

function orderGroup(table: EntryTable, ids: Int32Array, compare: (a: number, b: number) => number): void {
  if (ids.length < 32 || ids.length > packedMax) {
    ids.sort(compare);
    return;
  }
  const prefix = commonPrefix(table, ids);
  const at = newLocation();
  const packed = new Float64Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    table.locate(ids[i] as number, at);
    let word = 0;
    for (let b = at.start + prefix; b < at.start + prefix + 4; b++) {
      word = word * 256 + (b < at.split ? (at.bytes[b] as number) : 0);
    }
    packed[i] = word * packedMax + i;
  }
  packed.sort();
  const old = ids.slice();
  for (let i = 0; i < ids.length; i++) ids[i] = old[(packed[i] as number) % packedMax] as number;
  let run = 0;
  for (let i = 1; i <= ids.length; i++) {
    const same =
      i < ids.length &&
      Math.floor((packed[i] as number) / packedMax) === Math.floor((packed[run] as number) / packedMax);
    if (same) continue;
    if (i - run > 1) ids.subarray(run, i).sort(compare);
    run = i;
  }
}

/** Length of what all keys begin with. */
function commonPrefix(table: EntryTable, ids: Int32Array): number {
  const first = newLocation();
  const other = newLocation();
  table.locate(ids[0] as number, first);
  let length = first.split - first.start;
  for (let i = 1; i < ids.length && length > 0; i++) {
    table.locate(ids[i] as number, other);
    length = Math.min(length, other.split - other.start);
    for (let b = 0; b < length; b++) {
      if (first.bytes[first.start + b] !== other.bytes[other.start + b]) length = b;
    }
  }
  return length;
}

/** Total order of entries of one key group: key bytes, sub key bytes, doubles. */
export function entryComparator(table: EntryTable): (a: number, b: number) => number {
  const left = newLocation();
  const right = newLocation();
  return (a, b) => {
    table.locate(a, left);
    table.locate(b, right);
    const keys = compareBytes(left.bytes, left.start, left.split, right.bytes, right.start, right.split);
    if (keys !== 0) return keys;
    const subs = compareBytes(left.bytes, left.split, left.end, right.bytes, right.split, right.end);
    if (subs !== 0) return subs;
    for (let which = 0; which < table.doublesPerEntry; which++) {
      const difference = table.doubleOf(a, which) - table.doubleOf(b, which);
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
