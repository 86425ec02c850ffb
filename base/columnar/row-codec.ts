/**
 * One row <-> canonical bytes, for values in state. All numbers little-endian:
 *
 *     null bits: one per nullable column, in column order, least significant first, padded to a byte; set = null
 *     then each column that is not null, in order:
 *       bool 1 byte | int32 4 | int64, timestamp, float64 8 (one NaN) | utf8: LEB128 length, bytes
 */
import { MillraceError } from '../errors.js';
import { compileCode } from './compile-code.js';
import { rejectValue } from './row-appender.js';
import type { ColumnInfo, CompiledSchema, RowOf, Schema, Value } from './schema.js';
import { readUtf8, writeUtf8 } from './utf8.js';

const LENGTH_BYTES_MAX = 5;

const float = new Float64Array(1);
const floatWords = new Int32Array(float.buffer);

/** The scratch memory that rows are written to before they are copied out. */
let scratch = new Uint8Array(4096);
let view = new DataView(scratch.buffer);

/** The canonical bytes of a row; the caller's own. @throws MillraceError `ROW_INVALID`, `VALUE_OUT_OF_RANGE` (invalid). */
export function encodeRow<S extends Schema>(schema: CompiledSchema<S>, row: RowOf<S>): Uint8Array {
  const { columns } = schema;
  const codec = codecOf(schema);
  codec.read(row, codec.values);
  scratch.fill(0, 0, codec.nullBytes);
  let at = codec.nullBytes;
  let nullable = 0;
  for (let i = 0; i < columns.length; i++) {
    const info = columns[i] as ColumnInfo;
    const value = codec.values[i] as Value;
    if (info.nullable) {
      if (value === null) scratch[nullable >>> 3] = (scratch[nullable >>> 3] as number) | (1 << (nullable & 7));
      nullable++;
      if (value === null) continue;
    }
    reserve(at, 8);
    at = writeValue(info, at, value);
  }
  return scratch.slice(0, at);
}

function writeValue(info: ColumnInfo, at: number, value: Value): number {
  switch (info.type) {
    case 'bool':
      if (typeof value !== 'boolean') return rejectValue(info, value);
      scratch[at] = value ? 1 : 0;
      return at + 1;
    case 'int32':
      if (typeof value !== 'number' || value !== (value | 0)) return rejectValue(info, value);
      view.setInt32(at, value, true);
      return at + 4;
    case 'int64':
    case 'timestamp':
      if (typeof value !== 'number' || !Number.isSafeInteger(value)) return rejectValue(info, value);
      view.setInt32(at, value | 0, true);
      view.setInt32(at + 4, Math.floor(value / 4294967296), true);
      return at + 8;
    case 'float64':
      if (typeof value !== 'number') return rejectValue(info, value);
      view.setFloat64(at, Number.isNaN(value) ? Number.NaN : value, true);
      return at + 8;
    case 'utf8':
      if (typeof value !== 'string') return rejectValue(info, value);
      return writeString(at, value);
  }
}

/** Writes the string where it stands when its length has one byte, and shifts it right otherwise. */
function writeString(at: number, text: string): number {
  reserve(at, LENGTH_BYTES_MAX + 3 * text.length);
  const length = writeUtf8(scratch, at + 1, text) - at - 1;
  let end = at;
  let rest = length;
  const lengthBytes = length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x200000 ? 3 : length < 0x10000000 ? 4 : 5;
  if (lengthBytes > 1) scratch.copyWithin(at + lengthBytes, at + 1, at + 1 + length);
  for (; rest >= 0x80; rest >>>= 7) scratch[end++] = (rest & 0x7f) | 0x80;
  scratch[end++] = rest;
  return end + length;
}

function reserve(used: number, more: number): void {
  if (used + more <= scratch.length) return;
  const larger = new Uint8Array(Math.max(scratch.length * 2, used + more));
  larger.set(scratch.subarray(0, used));
  scratch = larger;
  view = new DataView(scratch.buffer);
}

/** The row as a plain object. @throws MillraceError `ROW_CORRUPT` (corrupt): no more than these bytes is ever read. */
export function decodeRow<S extends Schema>(schema: CompiledSchema<S>, bytes: Uint8Array): RowOf<S> {
  const { columns } = schema;
  const codec = codecOf(schema);
  const reader = new RowReader(bytes, codec.nullBytes);
  let nullable = 0;
  for (let i = 0; i < columns.length; i++) {
    const info = columns[i] as ColumnInfo;
    const isNull = info.nullable && reader.isNull(nullable++);
    codec.values[i] = isNull ? null : reader.value(info);
  }
  reader.end();
  return codec.make(codec.values) as RowOf<S>;
}

class RowReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array, nullBytes: number) {
    this.#bytes = bytes;
    this.#take(nullBytes);
  }

  isNull(bit: number): boolean {
    return ((this.#bytes[bit >>> 3] as number) & (1 << (bit & 7))) !== 0;
  }

  value(info: ColumnInfo): Value {
    switch (info.type) {
      case 'bool': {
        const byte = this.#bytes[this.#take(1)] as number;
        if (byte > 1) throw rowCorrupt(`column ${info.name} has the boolean ${byte}`);
        return byte === 1;
      }
      case 'int32':
        return this.#word(this.#take(4));
      case 'int64':
      case 'timestamp': {
        const at = this.#take(8);
        return this.#word(at + 4) * 4294967296 + (this.#word(at) >>> 0);
      }
      case 'float64': {
        const at = this.#take(8);
        floatWords[0] = this.#word(at);
        floatWords[1] = this.#word(at + 4);
        return float[0] as number;
      }
      case 'utf8': {
        const length = this.#length();
        const at = this.#take(length);
        return readUtf8(this.#bytes, at, at + length);
      }
    }
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw rowCorrupt(`${this.#bytes.length - this.#at} bytes too many`);
  }

  /** Composed of bytes: a DataView of its own would cost more than reading a whole row. */
  #word(at: number): number {
    const bytes = this.#bytes;
    return (
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    );
  }

  #length(): number {
    let length = 0;
    for (let factor = 1; factor <= 0x10000000; factor *= 0x80) {
      const byte = this.#bytes[this.#take(1)] as number;
      length += (byte & 0x7f) * factor;
      if (byte < 0x80) return length;
    }
    throw rowCorrupt('a length has too many bytes');
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#bytes.length) throw rowCorrupt(`it ends at ${this.#bytes.length} within a value`);
    this.#at = at + bytes;
    return at;
  }
}

function rowCorrupt(what: string): MillraceError {
  return new MillraceError('corrupt', 'ROW_CORRUPT', `row is corrupt: ${what}`);
}

/** Generated per schema, so that properties are read and objects made at fixed shapes. `values` is reused by every call. */
interface RowCodec {
  readonly nullBytes: number;
  readonly values: Value[];
  read(row: object, values: Value[]): void;
  make(values: readonly Value[]): object;
}

const codecs = new WeakMap<CompiledSchema, RowCodec>();

function codecOf(schema: CompiledSchema): RowCodec {
  let codec = codecs.get(schema);
  if (codec === undefined) {
    const { columns } = schema;
    const body = `return {
  nullBytes: ${Math.ceil(columns.filter((c) => c.nullable).length / 8)},
  values: new Array(${columns.length}).fill(null),
  read(row, values) { ${columns.map((c) => `values[${c.index}] = row.${c.name};`).join(' ')} },
  make(values) { return { ${columns.map((c) => `${c.name}: values[${c.index}]`).join(', ')} }; },
};`;
    codec = compileCode<RowCodec>('row-codec', {}, body);
    codecs.set(schema, codec);
  }
  return codec;
}
