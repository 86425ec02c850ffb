export type { JobEdge, JobGraph, JobVertex } from './job-graph.js';
export { KEY_GROUPS, planJob, subpartitionsOf, taskName } from './job-graph.js';
export type { EdgeLimits, Partitioning, StreamEdge, StreamNode } from './stream-graph.js';
export { EDGE_LIMITS, StreamGraph } from './stream-graph.js';
