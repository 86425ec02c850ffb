/** The door of the connectors: where rows come from and where they go. */
export { csv } from './csv.js';
export { jsonLines } from './json-lines.js';
export { readJsonLines } from './json-lines-transaction.js';
export { type ParquetOptions, parquet } from './parquet.js';
export { type RowAt, type RowsOptions, rows } from './rows.js';
export type {
  CheckEnvironment,
  ConnectorEnvironment,
  Sink,
  SinkContext,
  SinkWriter,
  Source,
  SourceContext,
  SourceReader,
} from './spi.js';
