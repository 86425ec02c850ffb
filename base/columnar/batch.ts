import { batchCorrupt, readBatchNumbers } from './arrow-message.js';
import { Column } from './column.js';
import { createRowView, type RowView } from './row-view.js';
import type { ColumnInfo, CompiledSchema, Schema } from './schema.js';

/**
 * Rows in columns: one Arrow record batch message, read in place. The memory must not change while the batch is used.
 */
export class Batch<S extends Schema = Schema> {
  readonly schema: CompiledSchema<S>;
  readonly rows: number;
  /** The whole message, 8-byte aligned. */
  readonly bytes: Uint8Array;
  readonly #columns: readonly Column[];

  private constructor(schema: CompiledSchema<S>, rows: number, bytes: Uint8Array, columns: readonly Column[]) {
    this.schema = schema;
    this.rows = rows;
    this.bytes = bytes;
    this.#columns = columns;
  }

  /**
   * Views over `bytes`, which hold exactly one message; nothing is copied, unless they are not 8-byte aligned. Every
   * length and offset is verified first, so that reading rows below `rows` never leaves the bytes.
   * @throws MillraceError `BATCH_CORRUPT` (corrupt) naming what is wrong.
   */
  static decode<S extends Schema>(schema: CompiledSchema<S>, bytes: Uint8Array): Batch<S> {
    const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
    const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2);
    const { rows, bodyStart, bodyLength, nodes, buffers } = readBatchNumbers(schema, aligned, words);
    if (bodyStart + bodyLength !== aligned.length) {
      throw batchCorrupt(`${aligned.length} bytes, but metadata and body have ${bodyStart + bodyLength}`);
    }
    const body: Body = { memory: aligned.buffer, start: aligned.byteOffset + bodyStart, length: bodyLength, buffers };
    const columns: Column[] = new Array(schema.columns.length);
    let buffer = 0;
    for (let i = 0; i < columns.length; i++) {
      const info = schema.columns[i] as ColumnInfo;
      if (nodes[2 * i] !== rows) throw batchCorrupt(`column ${info.name} has ${nodes[2 * i]} rows of ${rows}`);
      columns[i] = readColumn(info, rows, nodes[2 * i + 1] as number, body, buffer);
      buffer += info.type === 'utf8' ? 3 : 2;
    }
    return new Batch(schema, rows, aligned, columns);
  }

  /** The column at `index` of the schema. */
  column(index: number): Column {
    return this.#columns[index] as Column;
  }

  /** A flyweight over this batch, at row 0; move it with `seek`, or through its cursor. */
  rowView(): RowView<S> {
    return createRowView(this.schema, this.#columns);
  }
}

interface Body {
  readonly memory: ArrayBufferLike;
  readonly start: number;
  readonly length: number;
  readonly buffers: ArrayLike<number>;
}

function readColumn(info: ColumnInfo, rows: number, nulls: number, body: Body, buffer: number): Column {
  if (nulls > rows) throw batchCorrupt(`column ${info.name} has ${nulls} nulls in ${rows} rows`);
  if (nulls > 0 && !info.nullable) throw batchCorrupt(`column ${info.name} has nulls but is not nullable`);
  const bitmapBytes = (rows + 7) >>> 3;
  const validityAt = nulls === 0 ? -1 : place(info, 'validity', body, buffer, bitmapBytes);
  if (info.type !== 'utf8') {
    const wanted = info.type === 'bool' ? bitmapBytes : rows * (info.type === 'int32' ? 4 : 8);
    const valuesAt = place(info, 'values', body, buffer + 1, wanted);
    return new Column(info, { memory: body.memory, rows, validityAt, valuesAt, offsetsAt: 0, dataBytes: 0 });
  }
  // Arrow allows the offsets of no rows to be left out.
  const offsetsAt = place(info, 'offsets', body, buffer + 1, rows === 0 ? 0 : (rows + 1) * 4);
  const dataBytes = body.buffers[2 * (buffer + 2) + 1] as number;
  const valuesAt = place(info, 'data', body, buffer + 2, dataBytes);
  const column = new Column(info, { memory: body.memory, rows, validityAt, valuesAt, offsetsAt, dataBytes });
  checkOffsets(info, column.offsets, rows, dataBytes);
  return column;
}

/** The absolute place of a buffer of at least `wanted` bytes. */
function place(info: ColumnInfo, what: string, body: Body, buffer: number, wanted: number): number {
  const offset = body.buffers[2 * buffer] as number;
  const length = body.buffers[2 * buffer + 1] as number;
  if (length < wanted) throw batchCorrupt(`${what} of column ${info.name} have ${length} bytes of ${wanted}`);
  if (offset % 8 !== 0) throw batchCorrupt(`${what} of column ${info.name} start unaligned at ${offset}`);
  if (offset + length > body.length) {
    throw batchCorrupt(`${what} of column ${info.name} end at ${offset + length} of ${body.length}`);
  }
  return body.start + offset;
}

function checkOffsets(info: ColumnInfo, offsets: Int32Array, rows: number, dataBytes: number): void {
  if (rows === 0) return;
  let last = offsets[0] as number;
  let smallest = last;
  for (let i = 1; i <= rows; i++) {
    const next = offsets[i] as number;
    const length = next - last;
    if (length < smallest) smallest = length;
    last = next;
  }
  if (smallest < 0 || last > dataBytes) throw batchCorrupt(`offsets of column ${info.name} are out of order or range`);
}
