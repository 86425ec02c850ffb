/** The door of the shuffle service. */
export { runShuffleConformance, SHUFFLE_CONFORMANCE_CASES, shuffleConformance } from './conformance.js';
export type { ShuffleConformanceCase, ShuffleUnderTest } from './conformance-kit.js';
export { type Doorbell, directDoorbell, noDoorbell } from './doorbell.js';
export { LocalEnvironment, type LocalEnvironmentOptions } from './local-environment.js';
export { LocalMaster, type LocalMasterOptions } from './local-master.js';
export { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
export { type ShuffleMetrics, shuffleMetrics } from './metrics.js';
export { SHUFFLE_DEFAULTS, type ShuffleFaults, type ShuffleSettings } from './settings.js';
export { type ShuffleClient, type ShuffleClientOptions, shuffleClient } from './shuffle-client.js';
export { ShuffleService, type ShuffleServiceMetrics, type ShuffleServiceOptions } from './shuffle-service.js';
export * from './spi.js';
