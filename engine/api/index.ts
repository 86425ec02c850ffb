export { type Duration, durationMs } from './duration.js';
export { type JobBuilder, type JobDefinition, type JobParams, job } from './job.js';
export {
  type Aggregated,
  type BroadcastTable,
  type Joined,
  type KeyedStream,
  type Stream,
  type TumblingWindow,
  tumbling,
  type WindowedStream,
} from './stream.js';
