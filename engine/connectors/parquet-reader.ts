import { type ColumnsOf, compileSchema, encodeColumns, type Schema } from '../../base/columnar/index.js';
import { MillraceError, yieldTurn } from '../../base/index.js';
import type { ChunkValues } from './parquet-chunk.js';
import { decodeColumn, openParquet, type ParquetFile, type ParquetRowGroup, readRowGroup } from './parquet-file.js';
import type { SourceContext, SourceReader } from './spi.js';

interface Position {
  readonly rowGroup: number;
  readonly row: number;
}

/** By column name. */
type GroupColumns = Readonly<Record<string, ChunkValues>>;

/** Reads one subtask's row groups. Holds a decoded one, and the bytes (not yet decoded) of the next. */
export class ParquetReader implements SourceReader {
  readonly #file: ParquetFile;
  readonly #schema: ReturnType<typeof compileSchema>;
  readonly #context: SourceContext;
  /** Rows to be read of each row group, by its index in the file. */
  readonly #groupRows: readonly number[];
  #at: Position;
  #current: { readonly rowGroup: number; readonly columns: GroupColumns } | undefined;
  #ahead: { readonly rowGroup: number; readonly bytes: Promise<Uint8Array[]> } | undefined;

  private constructor(file: ParquetFile, schema: Schema, rows: number, context: SourceContext) {
    this.#file = file;
    this.#schema = compileSchema(schema);
    this.#context = context;
    let left = rows;
    this.#groupRows = file.rowGroups.map((group) => {
      const used = Math.min(group.rows, left);
      left -= used;
      return used;
    });
    this.#at = this.#startAt(context.position);
    this.#readAhead(this.#at.rowGroup);
  }

  /** @throws MillraceError (invalid) as `openParquet` does, and `POSITION_INVALID`. */
  static async open(path: string, schema: Schema, rows: number, context: SourceContext): Promise<ParquetReader> {
    return new ParquetReader(await openParquet(context.disk, path, schema), schema, rows, context);
  }

  async next(): Promise<Uint8Array | undefined> {
    const { rowGroup, row } = this.#at;
    const group = this.#file.rowGroups[rowGroup];
    if (group === undefined) return undefined;
    const columns = await this.#columnsOf(group);
    const rows = this.#groupRows[rowGroup] as number;
    const end = Math.min(row + this.#context.batchRows, rows);
    const bytes = encodeColumns(this.#schema, columns as ColumnsOf<Schema>, row, end);
    this.#at = end < rows ? { rowGroup, row: end } : { rowGroup: this.#nextGroup(rowGroup), row: 0 };
    return bytes;
  }

  position(): string {
    return JSON.stringify({ rowGroup: this.#at.rowGroup, row: this.#at.row });
  }

  async close(): Promise<void> {
    this.#current = undefined;
    await this.#ahead?.bytes.catch(() => {});
    this.#ahead = undefined;
  }

  #startAt(position: string | undefined): Position {
    const { subtask, parallelism } = this.#context;
    // A position of another parallelism would read the row groups of another subtask again.
    if (position === undefined) return { rowGroup: this.#nextGroup(subtask - parallelism), row: 0 };
    const { rowGroup, row } = JSON.parse(position) as Position;
    const end = this.#file.rowGroups.length;
    const mine = rowGroup % parallelism === subtask && row >= 0 && row < (this.#groupRows[rowGroup] ?? 0);
    if (Number.isInteger(row) && (rowGroup === end ? row === 0 : mine)) return { rowGroup, row };
    const message = `${this.#file.path} has no position ${position}: it is not the file that the job read before`;
    throw new MillraceError('invalid', 'POSITION_INVALID', message, { context: { path: this.#file.path } });
  }

  /** This subtask's next row group with rows to read, or the number of row groups when there is none. */
  #nextGroup(after: number): number {
    const end = this.#file.rowGroups.length;
    for (let i = after + this.#context.parallelism; i < end; i += this.#context.parallelism) {
      if ((this.#groupRows[i] as number) > 0) return i;
    }
    return end;
  }

  async #columnsOf(group: ParquetRowGroup): Promise<GroupColumns> {
    if (this.#current?.rowGroup === group.index) return this.#current.columns;
    this.#current = undefined;
    const bytes = await this.#readAhead(group.index);
    this.#ahead = undefined;
    this.#readAhead(this.#nextGroup(group.index));
    const columns: Record<string, ChunkValues> = {};
    for (let i = 0; i < group.chunks.length; i++) {
      // A column takes some 10 ms per 300,000 rows: others on this thread get a turn in between.
      if (i > 0) await yieldTurn(this.#context.clock);
      const chunk = group.chunks[i] as (typeof group.chunks)[number];
      columns[chunk.info.name] = decodeColumn(this.#file, group, chunk, bytes[i] as Uint8Array);
    }
    this.#current = { rowGroup: group.index, columns };
    return columns;
  }

  #readAhead(rowGroup: number): Promise<Uint8Array[]> {
    const group = this.#file.rowGroups[rowGroup];
    if (group === undefined) return Promise.resolve([]);
    if (this.#ahead?.rowGroup !== rowGroup) {
      const bytes = readRowGroup(this.#context.disk, this.#file, group);
      // A failure shows when the row group is needed.
      bytes.catch(() => {});
      this.#ahead = { rowGroup, bytes };
    }
    return this.#ahead.bytes;
  }
}
