export { type Aggregate, count, max, mean, min, share, sum } from './aggregate.js';
export { BroadcastJoin } from './broadcast-join.js';
export { EventTime } from './event-time.js';
export { FilterRows, MapRows } from './map-filter.js';
export type { KeyVisitor, Operator, OperatorContext, OperatorCounters, OperatorFactory, Output } from './operator.js';
export { TopRows } from './top-rows.js';
export { type TimeAttribute, WindowAggregate } from './window-aggregate.js';
