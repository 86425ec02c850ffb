import { MillraceError } from '../errors.js';
import { assembleBatch } from './batch-assembly.js';
import { ColumnBuffer } from './column-buffer.js';
import { rejectValue } from './row-appender.js';
import type { ColumnInfo, ColumnSpec, ColumnType, CompiledSchema, Schema } from './schema.js';
import { writeUtf8 } from './utf8.js';

type Cell<T extends string> = T extends 'bool'
  ? boolean
  : T extends 'utf8'
    ? string
    : T extends 'int64'
      ? number | bigint
      : T extends 'timestamp'
        ? number | bigint | Date
        : number;

type CellOf<C extends ColumnSpec> = C extends `${infer T}?` ? Cell<T> | null | undefined : Cell<C>;

/** Whole columns: arrays or typed arrays, one element a row. A missing element (undefined) is a null. */
export type ColumnsOf<S extends Schema> = { readonly [K in keyof S]: ArrayLike<CellOf<S[K]>> };

/**
 * Rows [from, to) of whole columns as one batch, for sources that read columns: the bytes that `BatchBuilder` would give
 * for the same rows. They are the caller's own.
 * @throws MillraceError `ROW_INVALID`, `VALUE_OUT_OF_RANGE`, `COLUMNS_INVALID` (invalid) naming the column.
 */
export function encodeColumns<S extends Schema>(
  schema: CompiledSchema<S>,
  columns: ColumnsOf<S>,
  from: number,
  to: number,
): Uint8Array {
  const buffers = schema.columns.map((info) => {
    const source = columns[info.name] as ArrayLike<unknown> | undefined;
    if (source === undefined || source.length < to) {
      const message = `column ${info.name} has ${source?.length ?? 'no'} rows, ${to} are needed`;
      throw new MillraceError('invalid', 'COLUMNS_INVALID', message, { context: { column: info.name } });
    }
    const buffer = new ColumnBuffer(info, to - from);
    fill(info, buffer, source, from, to);
    return buffer;
  });
  return assembleBatch(schema, buffers, to - from, (byteLength) => new Uint8Array(byteLength));
}

/** New buffers are zeroed, so nulls and false need no writing. */
function fill(info: ColumnInfo, to: ColumnBuffer, source: ArrayLike<unknown>, from: number, end: number): void {
  const { type, nullable } = info;
  const { validity } = to;
  for (let i = from, r = 0; i < end; i++, r++) {
    const value = source[i];
    if (value === null || value === undefined) {
      if (!nullable) rejectValue(info, value);
      if (type === 'utf8') to.offsets[r + 1] = to.offsets[r] as number;
      continue;
    }
    if (nullable) validity[r >>> 3] = (validity[r >>> 3] as number) | (1 << (r & 7));
    write(info, type, to, r, value);
  }
}

function write(info: ColumnInfo, type: ColumnType, to: ColumnBuffer, r: number, value: unknown): void {
  switch (type) {
    case 'bool':
      if (typeof value !== 'boolean') rejectValue(info, value);
      if (value) to.bits[r >>> 3] = (to.bits[r >>> 3] as number) | (1 << (r & 7));
      break;
    case 'int32':
      if (typeof value !== 'number' || value !== (value | 0)) rejectValue(info, value);
      to.words[r] = value;
      break;
    case 'int64':
    case 'timestamp': {
      const number = asInteger(type, value);
      if (!Number.isSafeInteger(number)) rejectValue(info, typeof value === 'bigint' ? number : value);
      to.words[2 * r] = (number as number) | 0;
      to.words[2 * r + 1] = Math.floor((number as number) / 4294967296);
      break;
    }
    case 'float64':
      if (typeof value !== 'number') rejectValue(info, value);
      to.floats[r] = Number.isNaN(value) ? Number.NaN : value;
      break;
    case 'utf8': {
      if (typeof value !== 'string') rejectValue(info, value);
      const start = to.offsets[r] as number;
      to.offsets[r + 1] = writeUtf8(to.reserve(start, value.length * 3), start, value);
      break;
    }
  }
}

function asInteger(type: ColumnType, value: unknown): unknown {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  return type === 'timestamp' && value instanceof Date ? value.getTime() : value;
}
