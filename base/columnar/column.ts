import type { ColumnInfo, ColumnType, Value } from './schema.js';
import { readUtf8 } from './utf8.js';

const NO_INTS = new Int32Array(0);
const NO_FLOATS = new Float64Array(0);
const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(new ArrayBuffer(0));

/** Where a column's memory lies: absolute offsets and lengths in one ArrayBuffer, already verified. */
export interface ColumnMemory {
  readonly memory: ArrayBufferLike;
  readonly rows: number;
  /** -1: no nulls. */
  readonly validityAt: number;
  readonly valuesAt: number;
  readonly offsetsAt: number;
  readonly dataBytes: number;
}

/**
 * One column of a batch: views in place. One class for all types, so that code over columns stays monomorphic; views
 * that a type has no use for are empty. Valid as long as the memory of the batch is.
 */
export class Column {
  readonly type: ColumnType;
  readonly nullable: boolean;
  /** Bit r (least significant first) is set when row r is not null; undefined when no row is null. */
  readonly validity: Uint8Array | undefined;
  /** 32-bit words of the values: one for int32; low and high at 2r and 2r+1 for int64, timestamp and float64. */
  readonly words: Int32Array;
  /** Values of float64. */
  readonly floats: Float64Array;
  /** Values of bool: a bitmap like `validity`. */
  readonly bits: Uint8Array;
  /** utf8: row r is `data[offsets[r]]` up to `data[offsets[r + 1]]`. */
  readonly offsets: Int32Array;
  readonly data: Uint8Array;
  /** The same bytes as `data`: four at once are read faster. */
  readonly dataView: DataView;

  constructor(info: ColumnInfo, at: ColumnMemory) {
    const { memory, rows } = at;
    this.type = info.type;
    this.nullable = info.nullable;
    const bitmapBytes = (rows + 7) >>> 3;
    this.validity = at.validityAt < 0 ? undefined : new Uint8Array(memory, at.validityAt, bitmapBytes);
    this.words = NO_INTS;
    this.floats = NO_FLOATS;
    this.bits = NO_BYTES;
    this.offsets = NO_INTS;
    this.data = NO_BYTES;
    this.dataView = NO_VIEW;
    switch (info.type) {
      case 'bool':
        this.bits = new Uint8Array(memory, at.valuesAt, bitmapBytes);
        break;
      case 'int32':
        this.words = new Int32Array(memory, at.valuesAt, rows);
        break;
      case 'int64':
      case 'timestamp':
        this.words = new Int32Array(memory, at.valuesAt, rows * 2);
        break;
      case 'float64':
        this.words = new Int32Array(memory, at.valuesAt, rows * 2);
        this.floats = new Float64Array(memory, at.valuesAt, rows);
        break;
      case 'utf8':
        this.offsets = rows === 0 ? NO_INTS : new Int32Array(memory, at.offsetsAt, rows + 1);
        this.data = new Uint8Array(memory, at.valuesAt, at.dataBytes);
        this.dataView = new DataView(memory, at.valuesAt, at.dataBytes);
        break;
    }
  }

  /** The values as they lie in memory: `words` for int32, int64 and timestamp, `floats`, `bits`; undefined for utf8. */
  get values(): Int32Array | Float64Array | Uint8Array | undefined {
    if (this.type === 'float64') return this.floats;
    if (this.type === 'bool') return this.bits;
    return this.type === 'utf8' ? undefined : this.words;
  }

  isNull(row: number): boolean {
    const validity = this.validity;
    return validity !== undefined && ((validity[row >>> 3] as number) & (1 << (row & 7))) === 0;
  }

  /** The value of a row below the batch's row count (not checked). */
  get(row: number): Value {
    if (this.isNull(row)) return null;
    switch (this.type) {
      case 'bool':
        return ((this.bits[row >>> 3] as number) & (1 << (row & 7))) !== 0;
      case 'int32':
        return this.words[row] as number;
      case 'int64':
      case 'timestamp':
        return (this.words[2 * row + 1] as number) * 4294967296 + ((this.words[2 * row] as number) >>> 0);
      case 'float64':
        return this.floats[row] as number;
      case 'utf8':
        return readUtf8(this.data, this.offsets[row] as number, this.offsets[row + 1] as number);
    }
  }
}
