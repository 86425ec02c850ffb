import { assert, MillraceError } from '../errors.js';
import type { Batch } from './batch.js';
import { decodeKeyValues, KEY_INT64, KEY_TIMESTAMP, KeyWriter } from './key-encoding.js';
import { keyGroupOf } from './key-group.js';
import { finishHashes, hashColumn, startHashes } from './key-hash.js';
import type { KeyRows } from './key-rows.js';
import type { ColumnInfo, ColumnType, CompiledSchema, Value } from './schema.js';

const SIGN = 0x80000000 | 0;
const INT64_BYTES = 9;

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

  /** Hashes, key groups and keys of all rows of a batch: the same as row by row, in one pass over the columns. */
  rows(batch: Batch, keyGroups: number, out: KeyRows): void {
    const { rows } = batch;
    out.reset(rows);
    this.hashes(batch, out.hashes);
    const { hashes, keyGroups: groups } = out;
    for (let row = 0; row < rows; row++) groups[row] = keyGroupOf(hashes[row] as number, keyGroups);
    const column = batch.column(this.#indexes[0] as number);
    const numbers = column.type === 'int64' || column.type === 'timestamp';
    if (numbers && this.#indexes.length === 1 && column.validity === undefined) {
      encodeNumbers(column.type === 'int64' ? KEY_INT64 : KEY_TIMESTAMP, column.words, rows, out);
      return;
    }
    let end = 0;
    for (let row = 0; row < rows; row++) {
      const key = this.encode(batch, row);
      out.offsets[row] = end;
      out.reserve(end + key.length);
      for (let i = 0; i < key.length; i++) out.keys[end + i] = key[i] as number;
      end += key.length;
    }
    out.offsets[rows] = end;
  }

  /** The values of the key columns. @throws MillraceError `KEY_CORRUPT` (corrupt). */
  decode(key: Uint8Array): Value[] {
    return decodeKeyValues(key);
  }
}

/** Keys that are one number each. */
function encodeNumbers(tag: number, words: Int32Array, rows: number, out: KeyRows): void {
  out.reserve(rows * INT64_BYTES);
  out.keyLength = INT64_BYTES;
  const { view, offsets } = out;
  let at = 0;
  for (let row = 0; row < rows; row++) {
    offsets[row] = at;
    view.setUint8(at, tag);
    view.setInt32(at + 1, (words[2 * row + 1] as number) ^ SIGN);
    view.setInt32(at + 5, words[2 * row] as number);
    at += INT64_BYTES;
  }
  offsets[rows] = at;
}
