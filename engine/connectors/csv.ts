import { resolve } from 'node:path';
import { compileSchema, type Schema } from '../../base/columnar/index.js';
import type { Source } from './spi.js';

/**
 * The rows of a CSV file (RFC 4180, UTF-8) whose first line names the columns. Columns that the schema does not name are
 * skipped. An empty field is null in a column that may be null. One subtask reads the whole file; resuming reads the file
 * from its start and skips what was read before.
 *
 * A job is described in every process, and read in few: the parser is loaded by those.
 */
export function csv<const S extends Schema>(file: string, schema: S): Source<S> {
  const compiled = compileSchema(schema);
  const path = resolve(file);
  return {
    name: `csv(${path})`,
    schema,
    parallelismMax: 1,
    check: async ({ disk }) => {
      const { checkCsv } = await import('./csv-reader.js');
      await checkCsv(disk, path, compiled);
    },
    open: async (context) => {
      const { CsvReader } = await import('./csv-reader.js');
      return CsvReader.open(path, compiled, context);
    },
  };
}
