/** Columnar data: schemas, batches in the Arrow layout, row views, rows as bytes, keys. See README.md. */
export { endOfStream, schemaMessage } from './arrow-message.js';
export { Batch } from './batch.js';
export { BatchBuilder, type BatchBuilderOptions } from './batch-builder.js';
export type { Column } from './column.js';
export { type ColumnsOf, encodeColumns } from './column-batch.js';
export { decodeKeyValues, encodeKeyValues, keyTypesOf } from './key-encoding.js';
export { KeyExtractor } from './key-extractor.js';
export { keyGroupOf, keyGroupRange, subtaskOfKeyGroup } from './key-group.js';
export { hashKey } from './key-hash.js';
export { KeyRows } from './key-rows.js';
export { decodeRow, encodeRow } from './row-codec.js';
export { RowCursor, type RowView, rowCursor, seek, toRow } from './row-view.js';
export {
  type ColumnInfo,
  type ColumnSpec,
  type ColumnType,
  type CompiledSchema,
  compileSchema,
  type RowOf,
  type Schema,
  type Value,
  type ValueOf,
} from './schema.js';
