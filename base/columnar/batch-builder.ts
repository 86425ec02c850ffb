import { assert, MillraceError } from '../errors.js';
import type { Batch } from './batch.js';
import { assembleBatch, type SizeEstimate, sizeEstimate } from './batch-assembly.js';
import { ColumnBuffer } from './column-buffer.js';
import { createRowAppender, type RowAppender } from './row-appender.js';
import type { CompiledSchema, RowOf, Schema } from './schema.js';

export interface BatchBuilderOptions {
  /** A batch is full at this many rows. */
  readonly rowsMax: number;
  /** A batch is full when its message would have this many bytes; the row that fills it may exceed it. */
  readonly bytesMax: number;
}

const FIRST_ROWS = 64;
const BYTES_MAX = 2 ** 28;
const ROWS_MAX = 2 ** 26;

/**
 * Builds one batch after another: `append` rows until `full`, then `finish`. Where a batch is cut depends on its rows
 * only, not on how they were appended, and its bytes are canonical.
 */
export class BatchBuilder<S extends Schema = Schema> {
  readonly schema: CompiledSchema<S>;
  readonly #rowsMax: number;
  readonly #bytesMax: number;
  readonly #estimate: SizeEstimate;
  readonly #columns: readonly ColumnBuffer[];
  readonly #appender: RowAppender;
  #capacity: number;
  #rows = 0;
  #stringBytes = 0;
  #output = new ArrayBuffer(0);

  /** @throws MillraceError `BATCH_OPTIONS_INVALID` (invalid) naming the option. */
  constructor(schema: CompiledSchema<S>, options: BatchBuilderOptions) {
    this.schema = schema;
    this.#rowsMax = checkOption('rowsMax', options.rowsMax, ROWS_MAX);
    this.#bytesMax = checkOption('bytesMax', options.bytesMax, BYTES_MAX);
    this.#estimate = sizeEstimate(schema);
    const capacity = Math.min(FIRST_ROWS, this.#rowsMax);
    this.#capacity = capacity;
    this.#columns = schema.columns.map((info) => new ColumnBuffer(info, capacity));
    this.#appender = createRowAppender(schema);
    this.#appender.bind(this.#columns);
  }

  get rows(): number {
    return this.#rows;
  }

  /** `rowsMax` is reached, or there is a row and the message would have `bytesMax` bytes (estimated, at most 8 bytes a buffer too high). */
  get full(): boolean {
    return this.#isFull(this.#rows, this.#stringBytes);
  }

  /** The size of the message so far, estimated from above. */
  get bytes(): number {
    return this.#bytesAt(this.#rows, this.#stringBytes);
  }

  /**
   * Appends any object with the schema's properties, such as a row view of another batch. A rejected row leaves no trace.
   * The batch must have fewer than `rowsMax` rows.
   * @throws MillraceError `ROW_INVALID`, `VALUE_OUT_OF_RANGE` (invalid) naming column and value.
   */
  append(row: RowOf<S>): void {
    const at = this.#rows;
    if (at === this.#capacity) this.#grow(at + 1);
    this.#stringBytes += this.#appender.append(row, at);
    this.#rows = at + 1;
  }

  /** Appends a row of a batch of the same schema, column by column; no strings are made. */
  appendFrom(batch: Batch<S>, row: number): void {
    const at = this.#rows;
    if (at === this.#capacity) this.#grow(at + 1);
    this.#appender.source(batch);
    this.#stringBytes += this.#appender.appendFrom(row, at);
    this.#rows = at + 1;
  }

  /**
   * Appends `rows[from]` up to (not including) `rows[to]` of a batch, in this order, until the batch is full, and returns
   * how many that were: exactly those that `appendFrom` would have taken, but column by column.
   */
  appendSelected(batch: Batch<S>, rows: ArrayLike<number>, from: number, to: number): number {
    const end = this.#cut(batch, rows, from, to);
    if (end === from) return 0;
    const at = this.#rows;
    if (at + end - from > this.#capacity) this.#grow(at + end - from);
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[i] as ColumnBuffer;
      column.copySelected(at, batch.column(i), rows, from, end);
      if (column.type === 'utf8') {
        this.#stringBytes += (column.offsets[at + end - from] as number) - (column.offsets[at] as number);
      }
    }
    this.#appender.bind(this.#columns);
    this.#rows = at + end - from;
    return end - from;
  }

  /**
   * The canonical message of the appended rows. The builder is empty again. The bytes lie in the builder's own memory:
   * they are valid until the next `finish`, callers copy them on.
   */
  finish(): Uint8Array {
    const bytes = assembleBatch(this.schema, this.#columns, this.#rows, (byteLength) => {
      if (byteLength > this.#output.byteLength) this.#output = new ArrayBuffer(Math.ceil(byteLength / 4096) * 4096);
      return new Uint8Array(this.#output, 0, byteLength);
    });
    this.#rows = 0;
    this.#stringBytes = 0;
    return bytes;
  }

  /** The end of the selection's prefix that fits: its last row is the one that fills the batch, if any does. */
  #cut(batch: Batch<S>, rows: ArrayLike<number>, from: number, to: number): number {
    assert(batch.schema === this.schema, 'rows are appended from a batch of another schema');
    if (this.full) return from;
    let end = Math.min(to, from + this.#rowsMax - this.#rows);
    const strings = this.schema.columns.filter((c) => c.type === 'utf8').map((c) => batch.column(c.index));
    let stringBytes = this.#stringBytes;
    for (const { offsets } of strings) {
      for (let i = from; i < end; i++) {
        const row = rows[i] as number;
        stringBytes += (offsets[row + 1] as number) - (offsets[row] as number);
      }
    }
    if (this.#bytesAt(this.#rows + end - from, stringBytes) < this.#bytesMax) return end;
    // Near the limit (rare): row by row. Bytes under a null are counted here, but not there; so count exactly.
    stringBytes = this.#stringBytes;
    for (let i = from; i < end; i++) {
      const row = rows[i] as number;
      for (const column of strings) {
        if (!column.isNull(row)) stringBytes += (column.offsets[row + 1] as number) - (column.offsets[row] as number);
      }
      if (this.#bytesAt(this.#rows + i + 1 - from, stringBytes) >= this.#bytesMax) end = i + 1;
    }
    return end;
  }

  #isFull(rows: number, stringBytes: number): boolean {
    return rows >= this.#rowsMax || (rows > 0 && this.#bytesAt(rows, stringBytes) >= this.#bytesMax);
  }

  #bytesAt(rows: number, stringBytes: number): number {
    return this.#estimate.fixedBytes + Math.ceil((rows * this.#estimate.bitsPerRow) / 8) + stringBytes;
  }

  #grow(rows: number): void {
    assert(rows <= this.#rowsMax, 'a full batch was appended to');
    this.#capacity = Math.min(this.#rowsMax, Math.max(rows, this.#capacity * 2));
    for (const column of this.#columns) column.resize(this.#capacity);
    this.#appender.bind(this.#columns);
  }
}

function checkOption(name: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  const message = `${name} must be an integer from 1 to ${max}, not ${value}`;
  throw new MillraceError('invalid', 'BATCH_OPTIONS_INVALID', message, { context: { option: name } });
}
