import { BatchBuilder, compileSchema, type RowOf, type Schema } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { Source, SourceContext, SourceReader } from './spi.js';

const BATCH_BYTES_MAX = 2 ** 24;

export interface RowsOptions {
  /** How many rows the function gives. */
  readonly count: number;
}

/** Row i of a made-up source; called again for the same i after a recovery, and must then give the same row. */
export type RowAt<S extends Schema> = (index: number) => RowOf<S>;

/**
 * Rows from memory, for examples and tests: an array, or a function of the row's index. Subtask s of p reads the rows
 * from `floor(count * s / p)` up to where the next one starts.
 */
export function rows<const S extends Schema>(schema: S, array: readonly RowOf<S>[]): Source<S>;
export function rows<const S extends Schema>(schema: S, rowAt: RowAt<S>, options: RowsOptions): Source<S>;
export function rows<const S extends Schema>(
  schema: S,
  from: readonly RowOf<S>[] | RowAt<S>,
  options?: RowsOptions,
): Source<S> {
  compileSchema(schema);
  const count = typeof from === 'function' ? options?.count : from.length;
  if (count === undefined || !Number.isSafeInteger(count) || count < 0) {
    throw new MillraceError('invalid', 'OPTION_INVALID', `count of rows() must be a whole number from 0, not ${count}`);
  }
  const rowAt = typeof from === 'function' ? from : (index: number) => from[index] as RowOf<S>;
  return {
    name: 'rows',
    schema,
    open: async (context) => new RowsReader(schema, rowAt, count, context),
  };
}

class RowsReader<S extends Schema> implements SourceReader {
  readonly #rowAt: RowAt<S>;
  readonly #builder: BatchBuilder<S>;
  readonly #end: number;
  #row: number;

  constructor(schema: S, rowAt: RowAt<S>, count: number, context: SourceContext) {
    const { subtask, parallelism, position } = context;
    const start = Math.floor((count * subtask) / parallelism);
    this.#rowAt = rowAt;
    this.#builder = new BatchBuilder(compileSchema(schema), { rowsMax: context.batchRows, bytesMax: BATCH_BYTES_MAX });
    this.#end = Math.floor((count * (subtask + 1)) / parallelism);
    this.#row = position === undefined ? start : (JSON.parse(position) as { readonly row: number }).row;
    if (!Number.isInteger(this.#row) || this.#row < start || this.#row > this.#end) {
      const message = `subtask ${subtask} of rows() has the rows ${start} to ${this.#end}, not the position ${position}`;
      throw new MillraceError('invalid', 'POSITION_INVALID', message);
    }
  }

  async next(): Promise<Uint8Array | undefined> {
    while (this.#row < this.#end && !this.#builder.full) {
      this.#builder.append(this.#rowAt(this.#row));
      this.#row++;
    }
    return this.#builder.rows === 0 ? undefined : this.#builder.finish();
  }

  position(): string {
    return JSON.stringify({ row: this.#row });
  }

  async close(): Promise<void> {}
}
