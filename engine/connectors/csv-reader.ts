import { Readable } from 'node:stream';
import { CsvError, type InfoRecord, type Parser, parse } from 'csv-parse';
import {
  BatchBuilder,
  type ColumnInfo,
  type CompiledSchema,
  type RowOf,
  type Schema,
  type Value,
} from '../../base/columnar/index.js';
import { type Disk, MillraceError } from '../../base/index.js';
import { parseCell } from './csv-cell.js';
import type { SourceContext, SourceReader } from './spi.js';

const READ_BYTES = 256 * 1024;
const BATCH_BYTES_MAX = 2 ** 24;

/** Reads the first line. @throws MillraceError (invalid) `FILE_NOT_FOUND`, `FILE_CORRUPT`, `COLUMN_MISSING`. */
export async function checkCsv(disk: Disk, path: string, schema: CompiledSchema): Promise<void> {
  const records = new CsvRecords(disk, path, await sizeOf(disk, path));
  try {
    await records.header(schema);
  } finally {
    records.close();
  }
}

/** Reads a whole file, record by record. */
export class CsvReader implements SourceReader {
  readonly #records: CsvRecords;
  readonly #path: string;
  readonly #columns: readonly ColumnInfo[];
  readonly #fields: readonly number[];
  readonly #builder: BatchBuilder;
  /** Filled again for each row; the builder copies it. */
  readonly #cells: Record<string, Value> = {};
  #row = 0;

  private constructor(
    records: CsvRecords,
    path: string,
    schema: CompiledSchema,
    fields: readonly number[],
    context: SourceContext,
  ) {
    this.#records = records;
    this.#path = path;
    this.#columns = schema.columns;
    this.#fields = fields;
    this.#builder = new BatchBuilder(schema, { rowsMax: context.batchRows, bytesMax: BATCH_BYTES_MAX });
  }

  /** @throws MillraceError (invalid) as `checkCsv` does, and `POSITION_INVALID`. */
  static async open(path: string, schema: CompiledSchema, context: SourceContext): Promise<CsvReader> {
    const records = new CsvRecords(context.disk, path, await sizeOf(context.disk, path));
    const fields = await records.header(schema);
    const reader = new CsvReader(records, path, schema, fields, context);
    await reader.#skipTo(context.position);
    return reader;
  }

  async #skipTo(position: string | undefined): Promise<void> {
    if (position === undefined) return;
    const { row } = JSON.parse(position) as { readonly row: number };
    while (this.#row < row) {
      if ((await this.#records.next()) === undefined) {
        const message = `${this.#path} ends before row ${row}: it is not the file that the job read before`;
        throw new MillraceError('invalid', 'POSITION_INVALID', message, { context: { path: this.#path } });
      }
      this.#row++;
    }
  }

  async next(): Promise<Uint8Array | undefined> {
    while (!this.#builder.full) {
      const record = await this.#records.next();
      if (record === undefined) break;
      this.#builder.append(this.#parse(record));
      this.#row++;
    }
    return this.#builder.rows === 0 ? undefined : this.#builder.finish();
  }

  position(): string {
    return JSON.stringify({ row: this.#row });
  }

  async close(): Promise<void> {
    this.#records.close();
  }

  #parse({ record, info }: CsvRecord): RowOf<Schema> {
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[i] as ColumnInfo;
      const text = record[this.#fields[i] as number] ?? '';
      const value = parseCell(column, text);
      if (value === undefined) {
        const line = info.lines;
        const message = `${this.#path}, line ${line}, column ${column.name}: ${JSON.stringify(text)} is not ${column.type}`;
        const context = { path: this.#path, line, column: column.name };
        throw new MillraceError('invalid', 'VALUE_INVALID', message, { context });
      }
      this.#cells[column.name] = value;
    }
    return this.#cells as RowOf<Schema>;
  }
}

interface CsvRecord {
  readonly record: string[];
  readonly info: InfoRecord;
}

/** The records of a file, read piece by piece. */
class CsvRecords {
  readonly #path: string;
  readonly #parser: Parser;
  readonly #records: AsyncIterator<CsvRecord>;

  constructor(disk: Disk, path: string, bytes: number) {
    this.#path = path;
    const text = Readable.from(pieces(disk, path, bytes), { objectMode: false });
    const parser = parse({ bom: true, info: true, skip_empty_lines: true });
    text.on('error', (e) => parser.destroy(e));
    this.#parser = text.pipe(parser);
    this.#records = this.#parser[Symbol.asyncIterator]() as AsyncIterator<CsvRecord>;
  }

  /** @throws MillraceError (invalid) `FILE_CORRUPT` naming file and line. */
  async next(): Promise<CsvRecord | undefined> {
    try {
      const { value, done } = await this.#records.next();
      return done === true ? undefined : value;
    } catch (e) {
      if (!(e instanceof CsvError)) throw e;
      const line = Number(e.lines ?? 0);
      const message = `${this.#path}, line ${line}: ${e.message}`;
      throw new MillraceError('invalid', 'FILE_CORRUPT', message, { cause: e, context: { path: this.#path, line } });
    }
  }

  /** Where in a record each column of the schema is. @throws MillraceError (invalid) `COLUMN_MISSING`. */
  async header(schema: CompiledSchema): Promise<number[]> {
    const names = (await this.next())?.record ?? [];
    return schema.columns.map(({ name }) => {
      const field = names.indexOf(name);
      if (field >= 0) return field;
      const message = `${this.#path} has no column ${name}; its first line names: ${names.join(', ')}`;
      throw new MillraceError('invalid', 'COLUMN_MISSING', message, { context: { path: this.#path, column: name } });
    });
  }

  close(): void {
    this.#parser.on('error', () => {});
    this.#parser.destroy();
  }
}

async function* pieces(disk: Disk, path: string, bytes: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes; offset += READ_BYTES) {
    yield await disk.read(path, { offset, length: Math.min(READ_BYTES, bytes - offset) });
  }
}

async function sizeOf(disk: Disk, path: string): Promise<number> {
  const found = await disk.stat(path);
  if (found !== undefined && !found.folder) return found.bytes;
  const message = `${path} ${found === undefined ? 'does not exist' : 'is a folder, not a CSV file'}`;
  throw new MillraceError('invalid', found === undefined ? 'FILE_NOT_FOUND' : 'FILE_CORRUPT', message, {
    context: { path },
  });
}
