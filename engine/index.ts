export type { ColumnSpec, RowOf, Schema } from '../base/columnar/index.js';
export { MillraceError } from '../base/index.js';
export * from './api/index.js';
export * from './connectors/index.js';
export type { Aggregate } from './operators/index.js';
export { count, max, mean, min, share, sum } from './operators/index.js';
