/**
 * Keys as bytes: canonical (equal keys, equal bytes), self-describing, and ordered bytewise as the values are ordered,
 * column by column: null first, false before true, numbers by value (-0 = 0, NaN last), strings by code point.
 * After FoundationDB's tuple layer. Each value is a tag and its bytes:
 *
 *     01                    null
 *     04 / 05               false / true
 *     08 + 4 bytes          int32, big-endian, sign bit flipped
 *     09 / 0A + 8 bytes     int64 / timestamp, likewise
 *     0B + 8 bytes          float64, big-endian; sign bit flipped when positive, all bits when negative
 *     0C + bytes + 00       utf8, each 00 within written as 00 FF
 */
import { MillraceError } from '../errors.js';
import type { Column } from './column.js';
import { rejectValue } from './row-appender.js';
import type { ColumnType, Value } from './schema.js';
import { readUtf8, writeUtf8 } from './utf8.js';

export const KEY_NULL = 0x01;
export const KEY_FALSE = 0x04;
export const KEY_TRUE = 0x05;
export const KEY_INT32 = 0x08;
export const KEY_INT64 = 0x09;
export const KEY_TIMESTAMP = 0x0a;
export const KEY_FLOAT64 = 0x0b;
export const KEY_UTF8 = 0x0c;

const TYPE_OF_TAG: Readonly<Record<number, ColumnType>> = {
  [KEY_FALSE]: 'bool',
  [KEY_TRUE]: 'bool',
  [KEY_INT32]: 'int32',
  [KEY_INT64]: 'int64',
  [KEY_TIMESTAMP]: 'timestamp',
  [KEY_FLOAT64]: 'float64',
  [KEY_UTF8]: 'utf8',
};

const NAN_HIGH = 0x7ff80000;
const SIGN = 0x80000000 | 0;
const VIEWS_MAX = 256;

const float = new Float64Array(1);
const floatWords = new Int32Array(float.buffer);

/** Writes keys into one growing buffer. `take` gives a view of what was written since `reset`, valid until the next reset. */
export class KeyWriter {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  /** Views of the buffer's first n bytes: short keys cost no allocation. */
  #views: (Uint8Array | undefined)[] = new Array(VIEWS_MAX).fill(undefined);

  reset(): void {
    this.#length = 0;
  }

  take(): Uint8Array {
    const length = this.#length;
    if (length >= VIEWS_MAX) return new Uint8Array(this.#bytes.buffer, 0, length);
    let view = this.#views[length];
    if (view === undefined) {
      view = new Uint8Array(this.#bytes.buffer, 0, length);
      this.#views[length] = view;
    }
    return view;
  }

  /** One value of a column. */
  column(column: Column, row: number): void {
    if (column.isNull(row)) {
      this.#tag(KEY_NULL, 0);
      return;
    }
    switch (column.type) {
      case 'bool':
        this.#tag(((column.bits[row >>> 3] as number) & (1 << (row & 7))) !== 0 ? KEY_TRUE : KEY_FALSE, 0);
        break;
      case 'int32':
        this.#int32(column.words[row] as number);
        break;
      case 'int64':
      case 'timestamp':
        this.#int64(column.type, column.words[2 * row] as number, column.words[2 * row + 1] as number);
        break;
      case 'float64':
        this.#float64(column.words[2 * row] as number, column.words[2 * row + 1] as number);
        break;
      case 'utf8':
        this.#utf8(column.data, column.dataView, column.offsets[row] as number, column.offsets[row + 1] as number);
        break;
    }
  }

  /** @throws MillraceError `ROW_INVALID`, `VALUE_OUT_OF_RANGE` (invalid) naming the position. */
  value(type: ColumnType, value: Value, index: number): void {
    if (value === null) {
      this.#tag(KEY_NULL, 0);
      return;
    }
    switch (type) {
      case 'bool':
        if (typeof value !== 'boolean') throw rejected(type, value, index);
        this.#tag(value ? KEY_TRUE : KEY_FALSE, 0);
        break;
      case 'int32':
        if (typeof value !== 'number' || value !== (value | 0)) throw rejected(type, value, index);
        this.#int32(value);
        break;
      case 'int64':
      case 'timestamp':
        if (!Number.isSafeInteger(value)) throw rejected(type, value, index);
        this.#int64(type, (value as number) | 0, Math.floor((value as number) / 4294967296));
        break;
      case 'float64':
        if (typeof value !== 'number') throw rejected(type, value, index);
        float[0] = value;
        this.#float64(floatWords[0] as number, floatWords[1] as number);
        break;
      case 'utf8': {
        if (typeof value !== 'string') throw rejected(type, value, index);
        const text = new Uint8Array(value.length * 3);
        this.#utf8(text, new DataView(text.buffer), 0, writeUtf8(text, 0, value));
        break;
      }
    }
  }

  #tag(tag: number, more: number): void {
    if (this.#length + 1 + more > this.#bytes.length) this.#grow(1 + more);
    this.#bytes[this.#length++] = tag;
  }

  #grow(more: number): void {
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
    this.#views = new Array(VIEWS_MAX).fill(undefined);
  }

  #word(word: number): void {
    const at = this.#length;
    const bytes = this.#bytes;
    bytes[at] = word >>> 24;
    bytes[at + 1] = word >>> 16;
    bytes[at + 2] = word >>> 8;
    bytes[at + 3] = word;
    this.#length = at + 4;
  }

  #int32(value: number): void {
    this.#tag(KEY_INT32, 4);
    this.#word(value ^ SIGN);
  }

  #int64(type: ColumnType, low: number, high: number): void {
    this.#tag(type === 'int64' ? KEY_INT64 : KEY_TIMESTAMP, 8);
    this.#word(high ^ SIGN);
    this.#word(low);
  }

  #float64(low: number, high: number): void {
    this.#tag(KEY_FLOAT64, 8);
    if (isNaNWords(low, high)) {
      this.#word(NAN_HIGH ^ SIGN);
      this.#word(0);
    } else if (high >= 0 || (high === SIGN && low === 0)) {
      this.#word(high | SIGN);
      this.#word(low);
    } else {
      this.#word(~high);
      this.#word(~low);
    }
  }

  #utf8(source: Uint8Array, sourceView: DataView, from: number, to: number): void {
    this.#tag(KEY_UTF8, 2 * (to - from) + 1);
    const bytes = this.#bytes;
    const view = this.#view;
    let at = this.#length;
    let i = from;
    for (; i + 4 <= to; i += 4, at += 4) {
      const word = sourceView.getInt32(i, true);
      // Has it a zero byte? (Mycroft's test)
      if (((word - 0x01010101) & ~word & 0x80808080) !== 0) break;
      view.setInt32(at, word, true);
    }
    for (; i < to; i++) {
      const byte = source[i] as number;
      bytes[at++] = byte;
      if (byte === 0) bytes[at++] = 0xff;
    }
    bytes[at++] = 0;
    this.#length = at;
  }
}

/** Never returns: the error is thrown where errors of columns are made. */
function rejected(type: ColumnType, value: Value, index: number): never {
  return rejectValue({ name: `${index} of the key`, type, nullable: true, index }, value);
}

/** Whether the two words of a float64 are any NaN. */
export function isNaNWords(low: number, high: number): boolean {
  const exponentAndMore = high & 0x7fffffff;
  return exponentAndMore > 0x7ff00000 || (exponentAndMore === 0x7ff00000 && low !== 0);
}

const writer = new KeyWriter();

/** The key of plain values; a copy. Any position may be null. @throws like `BatchBuilder.append`, naming the position. */
export function encodeKeyValues(types: readonly ColumnType[], values: readonly Value[]): Uint8Array {
  writer.reset();
  for (let i = 0; i < types.length; i++) writer.value(types[i] as ColumnType, values[i] as Value, i);
  return writer.take().slice();
}

/** The values of a key, in order. @throws MillraceError `KEY_CORRUPT` (corrupt). */
export function decodeKeyValues(key: Uint8Array): Value[] {
  const values: Value[] = [];
  for (let at = 0; at < key.length; ) {
    const [value, next] = decodeValue(key, at);
    values.push(value);
    at = next;
  }
  return values;
}

/** The types of the values that a key is made of; null where the value is null. @throws MillraceError `KEY_CORRUPT` (corrupt). */
export function keyTypesOf(key: Uint8Array): (ColumnType | null)[] {
  const types: (ColumnType | null)[] = [];
  for (let at = 0; at < key.length; ) {
    types.push(TYPE_OF_TAG[key[at] as number] ?? null);
    at = decodeValue(key, at)[1];
  }
  return types;
}

function decodeValue(key: Uint8Array, at: number): [value: Value, next: number] {
  switch (key[at]) {
    case KEY_NULL:
      return [null, at + 1];
    case KEY_FALSE:
      return [false, at + 1];
    case KEY_TRUE:
      return [true, at + 1];
    case KEY_INT32:
      return [wordAt(key, at + 1) ^ SIGN, at + 5];
    case KEY_INT64:
    case KEY_TIMESTAMP:
      return [(wordAt(key, at + 1) ^ SIGN) * 4294967296 + (wordAt(key, at + 5) >>> 0), at + 9];
    case KEY_FLOAT64: {
      const high = wordAt(key, at + 1);
      const low = wordAt(key, at + 5);
      floatWords[1] = high < 0 ? high ^ SIGN : ~high;
      floatWords[0] = high < 0 ? low : ~low;
      return [float[0] as number, at + 9];
    }
    case KEY_UTF8: {
      const { text, next } = unescapeUtf8(key, at + 1);
      return [readUtf8(text, 0, text.length), next];
    }
    default:
      throw keyCorrupt(`tag ${key[at]} at ${at}`);
  }
}

/** Big-endian word. */
export function wordAt(key: Uint8Array, at: number): number {
  if (at + 4 > key.length) throw keyCorrupt('it ends within a number');
  return (
    ((key[at] as number) << 24) |
    ((key[at + 1] as number) << 16) |
    ((key[at + 2] as number) << 8) |
    (key[at + 3] as number)
  );
}

/** The string that starts at `from` and where the next value starts; a view of `key` when nothing was escaped. */
export function unescapeUtf8(key: Uint8Array, from: number): { text: Uint8Array; next: number } {
  let zero = from;
  while (zero < key.length && key[zero] !== 0) zero++;
  if (zero === key.length) throw keyCorrupt('a string does not end');
  if (key[zero + 1] !== 0xff) return { text: key.subarray(from, zero), next: zero + 1 };
  const text: number[] = [];
  let at = from;
  while (zero >= 0) {
    for (; at < zero; at++) text.push(key[at] as number);
    if (key[zero + 1] !== 0xff) return { text: Uint8Array.from(text), next: zero + 1 };
    text.push(0);
    at = zero + 2;
    zero = key.indexOf(0, at);
  }
  throw keyCorrupt('a string does not end');
}

export function keyCorrupt(what: string): MillraceError {
  return new MillraceError('corrupt', 'KEY_CORRUPT', `key is corrupt: ${what}`);
}
