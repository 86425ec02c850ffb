import type { KeyedRows } from '../spi.js';
import { type EntryTable, mixHash } from './entry-table.js';
import {
  codeOfTag,
  FREE,
  IDENTITY,
  identityOf,
  inlineTags,
  KEY,
  META,
  REMOVED,
  STAMP_SHIFT,
  taggedBytes,
} from './record-layout.js';

/** Rows whose cells and records are in the processor's cache at the same time; a multiple of 8. */
const rowsAtOnce = 256;
const noBytes = new Uint8Array(0);

/**
 * Finds the entries of many rows. Most of a lookup is waiting for memory, once for the index's cell and once for the record: so
 * the cells of all rows are fetched first, then the records, in loops that do nothing else (`fetch`); only then are they looked at.
 * Measured with a million entries: 230 ns a row when each is looked at as it comes, 100 ns so.
 */
export class BatchLookup {
  readonly #table: EntryTable;
  readonly #mixed = new Int32Array(rowsAtOnce);
  /** Where the search for each row begins in the index. */
  readonly #homes = new Int32Array(rowsAtOnce);
  /** Where each row's record begins. */
  readonly #bases = new Int32Array(rowsAtOnce);
  /** Of no use; without it nothing would be fetched. */
  readonly #fetched = new Int32Array(1);

  constructor(table: EntryTable) {
    this.#table = table;
  }

  /**
   * For rows from `from` on, as many as are looked up at once: where each one's payload begins, in doubles, its entry touched; -1
   * where a row must be looked up alone: it has no entry, only a tombstone, a key that is not in a record, or was missed.
   * @returns the first row that was left out.
   */
  find(rows: KeyedRows, from: number, slots: Int32Array): number {
    const to = Math.min(rows.rows, from + rowsAtOnce);
    const { index, records, layout } = this.#table;
    if (rows.namespaces === undefined) this.#hash(rows.hashes, from, to);
    else this.#hashWith(rows.hashes, rows.namespaces, from, to);
    this.#fetched[0] = fetch(index.cells, this.#homes, to - from, 0);
    this.#choose(to - from);
    this.#fetched[0] = fetch(records.words, this.#bases, to - from, META);
    // A record may stand across two lines of memory.
    this.#fetched[0] = fetch(records.words, this.#bases, to - from, layout.stride - 1);
    if (this.#isSimple(rows, from)) this.#compareSimple(rows, from, to, slots);
    else this.#compare(rows, from, to, slots);
    return to;
  }

  #hash(hashes: Uint32Array, from: number, to: number): void {
    const { scale } = this.#table.index;
    const mixed = this.#mixed;
    const homes = this.#homes;
    for (let row = from; row < to; row++) {
      const hash = mixHash((hashes[row] as number) | 0);
      mixed[row - from] = hash;
      homes[row - from] = ((hash >>> 0) * scale) | 0;
    }
  }

  #hashWith(hashes: Uint32Array, namespaces: Float64Array, from: number, to: number): void {
    const table = this.#table;
    for (let row = from; row < to; row++) {
      const hash = table.mix(hashes[row] as number, noBytes, 0, 0, (namespaces[row] as number) + 0, 0);
      this.#mixed[row - from] = hash;
      this.#homes[row - from] = ((hash >>> 0) * table.index.scale) | 0;
    }
  }

  /** The record behind the first cell that has the hash's tag. */
  #choose(count: number): void {
    const { index, layout } = this.#table;
    const { cells, cellCount, tagMask, idBits } = index;
    const { stride } = layout;
    const mixed = this.#mixed;
    const homes = this.#homes;
    const bases = this.#bases;
    for (let i = 0; i < count; i++) {
      const tag = (mixed[i] as number) << idBits;
      let at = homes[i] as number;
      let cell = cells[at] as number;
      while (((cell ^ tag) & tagMask) !== 0 && cell !== 0) {
        at = at + 1 === cellCount ? 0 : at + 1;
        cell = cells[at] as number;
      }
      bases[i] = Math.imul(cell & ~tagMask, stride);
    }
  }

  /** Whether all keys are alike, short, and all of a key's identity but the namespace is in three words. */
  #isSimple({ keyLength, keys, offsets }: KeyedRows, from: number): boolean {
    const { keyBytes, groupAt } = this.#table.layout;
    if (keyBytes !== 8 || groupAt >= 0) return false;
    if (keyLength === keyBytes) return true;
    return keyLength === taggedBytes && (keys[offsets[from] as number] as number) < inlineTags;
  }

  #compareSimple(
    { keyGroups, keys, offsets, view, namespaces, keyLength }: KeyedRows,
    from: number,
    to: number,
    slots: Int32Array,
  ): void {
    const { words, doubles, layout, stamp } = this.#table;
    const { stride, payloadAt, doublesAt } = layout;
    const bases = this.#bases;
    const withDoubles = layout.doubles > 0;
    let at = offsets[from] as number;
    const step = keyLength as number;
    const skipped = step - 8;
    const tag = keys[at] as number;
    const code = skipped > 0 ? codeOfTag(tag) : step;
    const identity = identityOf(0, code) - layout.range.first;
    for (let row = from; row < to; row++, at += step) {
      const base = bases[row - from] as number;
      const meta = words[base + META] as number;
      const namespace = namespaces === undefined ? 0 : (namespaces[row] as number);
      const same =
        (meta & (IDENTITY | REMOVED | FREE)) === identity + (keyGroups[row] as number) &&
        words[base + KEY] === view.getInt32(at + skipped, true) &&
        words[base + KEY + 1] === view.getInt32(at + skipped + 4, true) &&
        (skipped === 0 || keys[at] === tag) &&
        (withDoubles ? doubles[(base + doublesAt) >> 1] : 0) === namespace;
      slots[row] = same ? (base + payloadAt) >> 1 : -1;
      if (same && meta >>> STAMP_SHIFT !== stamp) this.#table.touch((base / stride) | 0);
    }
  }

  #compare(
    { keyGroups, keys, offsets, view, namespaces }: KeyedRows,
    from: number,
    to: number,
    slots: Int32Array,
  ): void {
    const { words, doubles, layout, stamp } = this.#table;
    const { stride, keyBytes, groupAt, doublesAt, payloadAt } = layout;
    for (let row = from; row < to; row++) {
      const base = this.#bases[row - from] as number;
      const meta = words[base + META] as number;
      const keyGroup = keyGroups[row] as number;
      let at = offsets[row] as number;
      let length = (offsets[row + 1] as number) - at;
      let code = length;
      if (keyBytes === 8 && length === taggedBytes && (keys[at] as number) < inlineTags) {
        code = codeOfTag(keys[at] as number);
        at++;
        length--;
      }
      const identity = identityOf(groupAt < 0 ? keyGroup - layout.range.first : 0, code);
      const namespace = namespaces === undefined ? 0 : (namespaces[row] as number);
      const same =
        length <= keyBytes &&
        (meta & (IDENTITY | REMOVED | FREE)) === identity &&
        this.#sameWords(base, view, at, length) &&
        (groupAt < 0 || words[base + groupAt] === keyGroup) &&
        (layout.doubles > 0 ? doubles[(base + doublesAt) >> 1] : 0) === namespace;
      slots[row] = same ? (base + payloadAt) >> 1 : -1;
      if (same && meta >>> STAMP_SHIFT !== stamp) this.#table.touch((base / stride) | 0);
    }
  }

  #sameWords(base: number, view: DataView, at: number, length: number): boolean {
    const { words, layout } = this.#table;
    for (let from = 0; from < layout.keyBytes; from += 4) {
      const left = length - from;
      let word = 0;
      if (left >= 4) word = view.getInt32(at + from, true);
      else if (left > 0) word = view.getInt32(at + from, true) & ((1 << (left << 3)) - 1);
      if (words[base + KEY + (from >> 2)] !== word) return false;
    }
    return true;
  }
}

/**
 * Reads `array[positions[i] + offset]` for all i, so that it is in the cache. Eight in a row: so many reads are under way at the
 * same time that the last ones cost little. (Some positions behind the last are read as well: those of rows before, which exist.)
 */
function fetch(array: Int32Array, positions: Int32Array, count: number, offset: number): number {
  let sum = 0;
  for (let i = 0; i < count; i += 8) {
    sum ^=
      (array[(positions[i] as number) + offset] as number) ^
      (array[(positions[i + 1] as number) + offset] as number) ^
      (array[(positions[i + 2] as number) + offset] as number) ^
      (array[(positions[i + 3] as number) + offset] as number) ^
      (array[(positions[i + 4] as number) + offset] as number) ^
      (array[(positions[i + 5] as number) + offset] as number) ^
      (array[(positions[i + 6] as number) + offset] as number) ^
      (array[(positions[i + 7] as number) + offset] as number);
  }
  return sum;
}
