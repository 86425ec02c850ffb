import zlib from 'node:zlib';
import type { ColumnMetaData, DecodedArray } from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { decompressPage, readDataPage, readDataPageV2 } from 'hyparquet/src/datapage.js';
import { readPlain } from 'hyparquet/src/plain.js';
import type { PageHeader, SchemaTree } from 'hyparquet/src/types.js';
import { compressors } from 'hyparquet-compressors';
import type { Value } from '../../base/columnar/index.js';
import type { ParquetConversion } from './parquet-type.js';

/**
 * One column of one row group, decoded from the bytes of its chunk.
 *
 * This uses hyparquet's page functions rather than its `parquetRead`, which gives values one `push` at a time and 64-bit
 * integers as one BigInt a row: 1.6 M rows/s of five columns against 5 M. Here a page keeps its dictionary indexes, and a
 * dictionary entry is converted once.
 */
export interface ChunkColumn {
  /** The column's path in the file's schema: the root and the column. */
  readonly path: SchemaTree[];
  readonly meta: ColumnMetaData;
  readonly convert: ParquetConversion;
  readonly nullable: boolean;
  /** Values are numbers, and kept as such. */
  readonly numeric: boolean;
}

/** A value that a column cannot hold, at a row of the row group. */
export class ValueMismatch extends Error {
  readonly row: number;
  readonly stored: unknown;

  constructor(row: number, stored: unknown) {
    super(stored === null ? 'null' : 'does not fit');
    this.row = row;
    this.stored = stored;
  }
}

/** Values by row of the row group; index below `rows`. */
export type ChunkValues = Value[] | Float64Array;

/** @throws ValueMismatch naming the row; anything else thrown means that the bytes are damaged. */
export function decodeChunk(column: ChunkColumn, bytes: Uint8Array, rows: number): ChunkValues {
  const { path, meta } = column;
  const element = (path[path.length - 1] as SchemaTree).element;
  const decoder = { pathInSchema: meta.path_in_schema, type: meta.type, codec: meta.codec, element, schemaPath: path };
  const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
  const values: ChunkValues = column.numeric && !column.nullable ? new Float64Array(rows) : new Array<Value>(rows);
  let dictionary: Dictionary | undefined;
  let row = 0;
  while (row < rows) {
    const header = parquetHeader(reader);
    const page = takePage(bytes, reader, header);
    if (header.type === 'DICTIONARY_PAGE') {
      const raw = decompressPage(page, header.uncompressed_page_size, meta.codec, compressors);
      const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
      const count = header.dictionary_page_header?.num_values ?? 0;
      dictionary = new Dictionary(
        readPlain({ view, offset: 0 }, meta.type, count, element.type_length),
        column.convert,
      );
    } else if (header.type === 'DATA_PAGE' || header.type === 'DATA_PAGE_V2') {
      const data = readPage(page, header, { ...decoder, parsers: NO_PARSERS, compressors });
      row = fill(values, row, data, column, dictionary);
    }
  }
  if (row !== rows) throw new Error(`${row} values for ${rows} rows`);
  return values;
}

// The page functions used here never call a parser; their type asks for them.
const NO_PARSERS = {} as never;

type Decoder = Parameters<typeof readDataPage>[2];

interface PageData {
  readonly count: number;
  readonly byDictionary: boolean;
  /** Empty when the page has no nulls; else 1 for a value and 0 for null. */
  readonly levels: ArrayLike<number>;
  /** Values that are not null, or their dictionary indexes. */
  readonly stored: DecodedArray;
}

function takePage(bytes: Uint8Array, reader: { offset: number }, header: PageHeader): Uint8Array {
  const from = reader.offset;
  const to = from + header.compressed_page_size;
  if (!(header.compressed_page_size >= 0) || to > bytes.length)
    throw new Error(`a page ends at ${to} of ${bytes.length}`);
  reader.offset = to;
  const page = bytes.subarray(from, to);
  // Node before 20.15 has no crc32: then as without checksums, which are optional in the format.
  if (header.crc !== undefined && zlib.crc32 !== undefined && zlib.crc32(page) !== header.crc >>> 0) {
    throw new Error('a page has a wrong checksum');
  }
  return page;
}

function readPage(page: Uint8Array, header: PageHeader, decoder: Decoder): PageData {
  const v1 = header.data_page_header;
  const v2 = header.data_page_header_v2;
  if (v1 !== undefined) {
    const raw = decompressPage(page, header.uncompressed_page_size, decoder.codec, compressors);
    const { definitionLevels, dataPage } = readDataPage(raw, v1, decoder);
    const byDictionary = v1.encoding.endsWith('_DICTIONARY');
    return { count: v1.num_values, byDictionary, levels: definitionLevels ?? [], stored: dataPage };
  }
  if (v2 === undefined) throw new Error('a data page has no header');
  const { definitionLevels, dataPage } = readDataPageV2(page, header, decoder);
  const byDictionary = v2.encoding.endsWith('_DICTIONARY');
  return { count: v2.num_values, byDictionary, levels: definitionLevels ?? [], stored: dataPage };
}

/** Entries converted once; one that does not fit is an error only where a row uses it. */
class Dictionary {
  readonly values: (Value | undefined)[];
  readonly stored: DecodedArray;

  constructor(stored: DecodedArray, convert: ParquetConversion) {
    this.stored = stored;
    this.values = Array.from(stored as unknown as ArrayLike<never>, convert);
  }
}

/** Puts the values of a page at `row` and after; returns the row after the last. */
function fill(values: ChunkValues, row: number, page: PageData, column: ChunkColumn, dictionary?: Dictionary): number {
  const end = row + page.count;
  if (end > values.length) throw new Error(`${end} values for ${values.length} rows`);
  if (page.byDictionary && dictionary === undefined) throw new Error('a page refers to a dictionary that is not there');
  if (page.levels.length > 0) return fillWithNulls(values, row, page, column, dictionary);
  if (page.stored.length < page.count) throw new Error(`a page of ${page.count} rows has ${page.stored.length} values`);
  if (dictionary !== undefined && page.byDictionary) fillFromDictionary(values, row, page, dictionary);
  else fillPlain(values, row, page, column.convert);
  return end;
}

function fillFromDictionary(values: ChunkValues, row: number, page: PageData, dictionary: Dictionary): void {
  const { stored, count } = page;
  const entries = dictionary.values;
  for (let i = 0; i < count; i++) {
    const value = entries[stored[i] as number];
    if (value === undefined) throw mismatchInDictionary(row + i, stored[i] as number, dictionary);
    (values as Value[])[row + i] = value;
  }
}

function fillPlain(values: ChunkValues, row: number, page: PageData, convert: ParquetConversion): void {
  const { stored, count } = page;
  for (let i = 0; i < count; i++) {
    const value = convert(stored[i] as never);
    if (value === undefined) throw new ValueMismatch(row + i, stored[i]);
    (values as Value[])[row + i] = value;
  }
}

function fillWithNulls(
  values: ChunkValues,
  row: number,
  { stored, count, levels, byDictionary }: PageData,
  column: ChunkColumn,
  dictionary?: Dictionary,
): number {
  let next = 0;
  for (let i = 0; i < count; i++) {
    if (levels[i] === 0) {
      if (!column.nullable) throw new ValueMismatch(row + i, null);
      (values as Value[])[row + i] = null;
      continue;
    }
    const raw = stored[next++];
    const value = byDictionary ? dictionary?.values[raw as number] : column.convert(raw as never);
    if (value === undefined) {
      throw dictionary === undefined || !byDictionary
        ? new ValueMismatch(row + i, raw)
        : mismatchInDictionary(row + i, raw as number, dictionary);
    }
    (values as Value[])[row + i] = value;
  }
  return row + count;
}

function mismatchInDictionary(row: number, index: number, dictionary: Dictionary): Error {
  if (!(index < dictionary.stored.length)) return new Error(`dictionary entry ${index} of ${dictionary.stored.length}`);
  return new ValueMismatch(row, dictionary.stored[index]);
}
