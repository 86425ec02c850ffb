export type { JobEdge, JobGraph, JobVertex } from './job-graph.js';
export { KEY_GROUPS, planJob, subpartitionsOf, taskName } from './job-graph.js';
export type { Partitioning, StreamEdge, StreamNode } from './stream-graph.js';
export { StreamGraph } from './stream-graph.js';
