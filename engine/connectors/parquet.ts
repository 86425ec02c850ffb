import { resolve } from 'node:path';
import { compileSchema, type Schema } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { Source } from './spi.js';

export interface ParquetOptions {
  /** Only the first so many rows of the file, in file order. All by default. */
  readonly rows?: number;
}

/**
 * The rows of a parquet file. Row group i belongs to subtask i modulo the parallelism, and each subtask reads its row
 * groups in file order; a batch never spans two. Columns that the schema does not name are not read. Timestamps are cut
 * to milliseconds and taken as UTC. A column that may hold nulls can be read as one that may not: a null is then an error.
 *
 * A job is described in every process, and read in few: what decodes the file is loaded by those.
 */
export function parquet<const S extends Schema>(file: string, schema: S, options: ParquetOptions = {}): Source<S> {
  compileSchema(schema);
  const path = resolve(file);
  const rows = options.rows ?? Number.MAX_SAFE_INTEGER;
  if (!Number.isSafeInteger(rows) || rows < 0) {
    const message = `rows of parquet(${path}) must be a whole number from 0, not ${rows}`;
    throw new MillraceError('invalid', 'OPTION_INVALID', message, { context: { path, option: 'rows' } });
  }
  return {
    name: `parquet(${path})`,
    schema,
    check: async ({ disk }) => {
      const { openParquet } = await import('./parquet-file.js');
      await openParquet(disk, path, schema);
    },
    open: async (context) => {
      const { ParquetReader } = await import('./parquet-reader.js');
      return ParquetReader.open(path, schema, rows, context);
    },
  };
}
