/** The door of the shuffle service. */

export type { RpcPeer } from '../base/rpc/index.js';
export { type BuiltInOptions, builtInShuffle } from './built-in-shuffle.js';
export { ChainHash } from './chain-hash.js';
export { runShuffleConformance, SHUFFLE_CONFORMANCE_CASES, shuffleConformance } from './conformance.js';
export type { ShuffleConformanceCase, ShuffleUnderTest } from './conformance-kit.js';
export { type ConnectShuffleOptions, connectShuffle, type ShuffleConnection } from './connect.js';
export { type Doorbell, directDoorbell, noDoorbell } from './doorbell.js';
export { LocalEnvironment, type LocalEnvironmentOptions } from './local-environment.js';
export { LocalMaster, type LocalMasterOptions } from './local-master.js';
export { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
export { MasterServer } from './master-server.js';
export { type ShuffleMetrics, shuffleMetrics } from './metrics.js';
export {
  notAPlugin,
  type ShuffleClientEnd,
  type ShuffleClientHost,
  type ShuffleHost,
  type ShufflePlugin,
  type ShuffleServiceEnd,
} from './plugin.js';
export type { IdleLimits } from './reaper.js';
export type { RegionObjects } from './region-objects.js';
export {
  type RecoveredWriter,
  type RegionEvent,
  RegionStore,
  type RegionStoreMetrics,
  type RegionStoreOptions,
} from './region-store.js';
export { RemoteMaster } from './remote-master.js';
export { SHUFFLE_DEFAULTS, type ShuffleFaults, type ShuffleSettings } from './settings.js';
export { type ShuffleClient, type ShuffleClientOptions, shuffleClient } from './shuffle-client.js';
export {
  bufferCorrupt,
  bufferOutOfOrder,
  checkChannels,
  checkEmitted,
  checkEvent,
  consumerFenced,
  partitionLost,
  writerFenced,
  writerUnknown,
} from './shuffle-errors.js';
export { ShuffleService, type ShuffleServiceMetrics, type ShuffleServiceOptions } from './shuffle-service.js';
export * from './spi.js';
export { checkWriter, retentionOf } from './writer-spec.js';
