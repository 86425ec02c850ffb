import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetSchema } from 'hyparquet';
import { type ColumnInfo, compileSchema, type Schema } from '../../base/columnar/index.js';
import { type Disk, MillraceError } from '../../base/index.js';
import { type ChunkColumn, type ChunkValues, decodeChunk, ValueMismatch } from './parquet-chunk.js';
import { describeSpec, describeStored, parquetConversion } from './parquet-type.js';

/** One column's bytes in the file. */
interface Chunk {
  readonly info: ColumnInfo;
  readonly column: ChunkColumn;
  readonly offset: number;
  readonly length: number;
}

export interface ParquetRowGroup {
  readonly index: number;
  readonly rows: number;
  /** In the order of the schema's columns. */
  readonly chunks: readonly Chunk[];
}

/** A parquet file whose footer fits the schema: what is left to go wrong lies in the pages. */
export interface ParquetFile {
  readonly path: string;
  readonly rowGroups: readonly ParquetRowGroup[];
}

const MAGIC_BYTES = 4;
/** Magic at both ends, and the length of the footer. */
const FILE_BYTES_MIN = 12;

/**
 * Reads the footer and checks it against the schema.
 * @throws MillraceError (invalid) `FILE_NOT_FOUND`, `FILE_CORRUPT`, `COLUMN_MISSING`, `COLUMN_TYPE`.
 */
export async function openParquet(disk: Disk, path: string, schema: Schema): Promise<ParquetFile> {
  const found = await disk.stat(path);
  if (found === undefined) {
    throw new MillraceError('invalid', 'FILE_NOT_FOUND', `${path} does not exist`, { context: { path } });
  }
  if (found.folder || found.bytes < FILE_BYTES_MIN) throw corruptFile(path, 'it is not a parquet file');
  const file: AsyncBuffer = {
    byteLength: found.bytes,
    slice: async (start, end = found.bytes) => {
      // A copy of its own memory: a disk may give a part of a larger one.
      return new Uint8Array(await readExactly(disk, path, start, end - start)).buffer;
    },
  };
  const head = await readExactly(disk, path, 0, MAGIC_BYTES);
  if (Buffer.from(head).toString('latin1') !== 'PAR1') throw corruptFile(path, 'it does not start as a parquet file');
  const metadata = await damageNamed(path, 'the footer', () => parquetMetadataAsync(file, { geoparquet: false }));
  const chunkBytes = found.bytes - metadata.metadata_length - 2 * MAGIC_BYTES;
  return damageNamed(path, 'the footer', async () => ({
    path,
    rowGroups: rowGroupsOf(path, metadata, schema, chunkBytes),
  }));
}

function rowGroupsOf(path: string, metadata: FileMetaData, schema: Schema, bytesMax: number): ParquetRowGroup[] {
  const columns = compileSchema(schema).columns.map((info) => matchColumn(path, metadata, info));
  let rows = 0;
  const groups = metadata.row_groups.map((group, index) => {
    const groupRows = Number(group.num_rows);
    if (!Number.isSafeInteger(groupRows) || groupRows < 0)
      throw corruptFile(path, `row group ${index} has ${groupRows} rows`);
    rows += groupRows;
    const chunks = columns.map(({ info, path: treePath, convert }) => {
      const meta = group.columns.find((c) => c.meta_data?.path_in_schema.join('.') === info.name)?.meta_data;
      if (meta === undefined) throw corruptFile(path, `row group ${index} has no column ${info.name}`);
      const offset = Number(meta.dictionary_page_offset || meta.data_page_offset);
      const length = Number(meta.total_compressed_size);
      if (!(offset >= MAGIC_BYTES && length >= 0 && offset + length <= bytesMax)) {
        throw corruptFile(path, `column ${info.name} of row group ${index} lies outside the file`);
      }
      const numeric = info.type !== 'utf8' && info.type !== 'bool';
      const column: ChunkColumn = { path: treePath, meta, convert, nullable: info.nullable, numeric };
      return { info, column, offset, length };
    });
    return { index, rows: groupRows, chunks };
  });
  if (rows !== Number(metadata.num_rows)) throw corruptFile(path, `it has ${rows} rows of ${metadata.num_rows}`);
  return groups;
}

function matchColumn(path: string, metadata: FileMetaData, info: ColumnInfo) {
  const root = parquetSchema(metadata);
  const child = root.children.find((c) => c.element.name === info.name);
  const context = { path, column: info.name };
  if (child === undefined) {
    const names = root.children.map((c) => c.element.name).join(', ');
    const message = `${path} has no column ${info.name}; it has: ${names}`;
    throw new MillraceError('invalid', 'COLUMN_MISSING', message, { context });
  }
  const flat = child.children.length === 0 && child.element.repetition_type !== 'REPEATED';
  const convert = flat ? parquetConversion(child.element, info.type) : undefined;
  if (convert === undefined) {
    const stored = flat ? describeStored(child.element) : 'nested';
    const message = `column ${info.name} of ${path} is ${stored}, which cannot be read as ${describeSpec(info)}`;
    throw new MillraceError('invalid', 'COLUMN_TYPE', message, { context });
  }
  return { info, path: [root, child], convert };
}

/** The bytes of a row group's columns, in the order of the schema. */
export async function readRowGroup(disk: Disk, file: ParquetFile, group: ParquetRowGroup): Promise<Uint8Array[]> {
  const bytes: Uint8Array[] = [];
  for (const chunk of group.chunks) bytes.push(await readExactly(disk, file.path, chunk.offset, chunk.length));
  return bytes;
}

/**
 * One column of a row group.
 * @throws MillraceError (invalid) `FILE_CORRUPT`; `COLUMN_NULL` or `COLUMN_RANGE` naming file, column, row group and row.
 */
export function decodeColumn(file: ParquetFile, group: ParquetRowGroup, chunk: Chunk, bytes: Uint8Array): ChunkValues {
  try {
    return decodeChunk(chunk.column, bytes, group.rows);
  } catch (e) {
    const { path } = file;
    const column = chunk.info.name;
    if (!(e instanceof ValueMismatch)) throw corruptFile(path, `column ${column} of row group ${group.index}`, e);
    const at = `column ${column} of ${path}, row group ${group.index}, row ${e.row}`;
    const context = { path, column, rowGroup: group.index, row: e.row };
    if (e.stored === null) {
      const message = `${at}: null in a column read as ${describeSpec(chunk.info)}; read it as ${chunk.info.type}?`;
      throw new MillraceError('invalid', 'COLUMN_NULL', message, { context });
    }
    const message = `${at}: ${String(e.stored)} does not fit ${describeSpec(chunk.info)}`;
    throw new MillraceError('invalid', 'COLUMN_RANGE', message, { context });
  }
}

async function readExactly(disk: Disk, path: string, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await disk.read(path, { offset, length });
  if (bytes.length !== length) throw corruptFile(path, `it ends at byte ${offset + bytes.length}`);
  return bytes;
}

async function damageNamed<T>(path: string, what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (e) {
    throw e instanceof MillraceError ? e : corruptFile(path, what, e);
  }
}

function corruptFile(path: string, what: string, cause?: unknown): MillraceError {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  const message = `${path} is damaged or not a parquet file: ${what}${why}`;
  return new MillraceError('invalid', 'FILE_CORRUPT', message, { cause, context: { path } });
}
