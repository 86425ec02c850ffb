/**
 * Column buffers -> one canonical Arrow message. The same rows in the same order give the same bytes: buffers in column
 * order, each at the next multiple of 8; validity only where the column is nullable and has a null; all padding zero.
 */

import { MillraceError } from '../errors.js';
import { messageLayout, STRUCT_WORDS } from './arrow-message.js';
import type { ColumnBuffer } from './column-buffer.js';
import type { CompiledSchema } from './schema.js';

const MESSAGE_BYTES_MAX = 2 ** 31 - 8;

const align8 = (n: number) => (n + 7) & ~7;

/** Makes the target of `byteLength` bytes at the start of 8-byte aligned memory; its content is overwritten. */
export type AllocateBytes = (byteLength: number) => Uint8Array;

export function assembleBatch(
  schema: CompiledSchema,
  columns: readonly ColumnBuffer[],
  rows: number,
  allocate: AllocateBytes,
): Uint8Array {
  const layout = messageLayout(schema);
  const nulls = columns.map((c) => (c.nullable ? rows - countBits(c.validity, rows) : 0));
  const bodyLength = columns.reduce((sum, c, i) => sum + bodyBytes(c, rows, (nulls[i] as number) > 0), 0);
  if (layout.headerBytes + bodyLength > MESSAGE_BYTES_MAX) {
    throw new MillraceError('invalid', 'BATCH_TOO_LARGE', `a batch of ${rows} rows would have ${bodyLength} bytes`);
  }
  const bytes = allocate(layout.headerBytes + bodyLength);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  words.set(layout.template);
  words[layout.rowsWord] = rows;
  words[layout.bodyLengthWord] = bodyLength;
  let at = 0;
  let buffer = layout.buffersWord;
  const place = (source: Uint8Array, bitmap: boolean) => {
    words[buffer] = at;
    words[buffer + 2] = source.length;
    buffer += STRUCT_WORDS;
    const start = layout.headerBytes + at;
    at += align8(source.length);
    bytes.set(source, start);
    bytes.fill(0, start + source.length, layout.headerBytes + at);
    const last = start + source.length - 1;
    if (bitmap && source.length > 0 && (rows & 7) !== 0)
      bytes[last] = (bytes[last] as number) & ((1 << (rows & 7)) - 1);
  };
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i] as ColumnBuffer;
    const nullCount = nulls[i] as number;
    words[layout.nodesWord + i * STRUCT_WORDS] = rows;
    words[layout.nodesWord + i * STRUCT_WORDS + 2] = nullCount;
    place(column.validity.subarray(0, nullCount > 0 ? (rows + 7) >>> 3 : 0), true);
    if (column.type === 'utf8') {
      place(bytesOf(column.offsets, rows + 1), false);
      place(column.data.subarray(0, column.offsets[rows]), false);
    } else if (column.type === 'bool') place(column.bits.subarray(0, (rows + 7) >>> 3), true);
    else place(bytesOf(column.words, column.type === 'int32' ? rows : 2 * rows), false);
  }
  return bytes;
}

function bytesOf(words: Int32Array, count: number): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, count * 4);
}

function bodyBytes(column: ColumnBuffer, rows: number, validity: boolean): number {
  const bitmap = align8((rows + 7) >>> 3);
  const nullBytes = validity ? bitmap : 0;
  switch (column.type) {
    case 'bool':
      return nullBytes + bitmap;
    case 'int32':
      return nullBytes + align8(rows * 4);
    case 'utf8':
      return nullBytes + align8((rows + 1) * 4) + align8(column.offsets[rows] as number);
    default:
      return nullBytes + rows * 8;
  }
}

/** How many of the first `count` bits are set. */
function countBits(bitmap: Uint8Array, count: number): number {
  let set = 0;
  const whole = count >>> 3;
  for (let i = 0; i < whole; i++) set += BIT_COUNTS[bitmap[i] as number] as number;
  if ((count & 7) !== 0) set += BIT_COUNTS[(bitmap[whole] as number) & ((1 << (count & 7)) - 1)] as number;
  return set;
}

const BIT_COUNTS = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);

/** An upper bound of a batch's size, linear in rows and string bytes, that is at most 8 bytes a buffer too high. */
export interface SizeEstimate {
  readonly fixedBytes: number;
  readonly bitsPerRow: number;
}

export function sizeEstimate(schema: CompiledSchema): SizeEstimate {
  const layout = messageLayout(schema);
  let bitsPerRow = 0;
  for (const { type, nullable } of schema.columns) {
    bitsPerRow += (nullable ? 1 : 0) + { bool: 1, int32: 32, int64: 64, timestamp: 64, float64: 64, utf8: 32 }[type];
  }
  return { fixedBytes: layout.headerBytes + layout.buffers * 8, bitsPerRow };
}
