import { assert, MillraceError } from '../errors.js';
import type { Batch } from './batch.js';
import { decodeKeyValues, KeyWriter } from './key-encoding.js';
import { finishHashes, hashColumn, startHashes } from './key-hash.js';
import type { ColumnInfo, ColumnType, CompiledSchema, Value } from './schema.js';

/** Takes the key columns out of batches of one schema: as hashes, as canonical bytes, and back as values. */
export class KeyExtractor {
  readonly columns: readonly string[];
  readonly types: readonly ColumnType[];
  readonly #schema: CompiledSchema;
  readonly #indexes: readonly number[];
  readonly #writer = new KeyWriter();

  /** @throws MillraceError `COLUMN_UNKNOWN` (invalid) naming the column; `KEY_EMPTY` (invalid). */
  constructor(schema: CompiledSchema, columns: readonly string[]) {
    if (columns.length === 0) throw new MillraceError('invalid', 'KEY_EMPTY', 'a key needs at least one column');
    this.#schema = schema;
    this.columns = [...columns];
    this.#indexes = columns.map((name) => schema.indexOf(name));
    this.types = this.#indexes.map((index) => (schema.columns[index] as ColumnInfo).type);
  }

  /** The hash of each row's key into the first `batch.rows` elements of `out`; equal to `hashKey(encode(batch, row))`. */
  hashes(batch: Batch, out: Uint32Array): void {
    assert(batch.schema === this.#schema, 'a key is extracted from a batch of another schema');
    assert(out.length >= batch.rows, 'the array for the hashes is too short');
    startHashes(out, batch.rows);
    for (const index of this.#indexes) hashColumn(batch.column(index), batch.rows, out);
    finishHashes(out, batch.rows);
  }

  /** The key of a row. A view into the extractor's own buffer, valid until the next call. */
  encode(batch: Batch, row: number): Uint8Array {
    const writer = this.#writer;
    const indexes = this.#indexes;
    writer.reset();
    for (let i = 0; i < indexes.length; i++) writer.column(batch.column(indexes[i] as number), row);
    return writer.take();
  }

  /** The values of the key columns. @throws MillraceError `KEY_CORRUPT` (corrupt). */
  decode(key: Uint8Array): Value[] {
    return decodeKeyValues(key);
  }
}
