/** Tasks, slots and workers; and the messages they exchange with the scheduler and the daemon. */

export { decodeTaskEvent, encodeDeployment, encodeTaskCommand, pack, text, unpack } from './control-codec.js';
export type { TaskChannel, TaskCommand, TaskDeployment, TaskEvent, TaskPosition, TaskRestore } from './deployment.js';
export { type JobArtefact, loadJob } from './job-loader.js';
export { LocalState, type LocalStateOptions, openOnLocalState } from './local-state.js';
export {
  decodeDescribe,
  decodeDescription,
  decodeRead,
  decodeRestore,
  decodeRestored,
  encodeDescribe,
  encodeDescription,
  encodeRead,
  encodeRestore,
  encodeRestored,
} from './local-state-codec.js';
export type { ModuleUrl } from './plugin-module.js';

export { decodeProgress, decodeRegisterSlot, decodeRegisterWorker, type TaskProgress } from './registration-codec.js';
export {
  decodeCompact,
  decodeCompacted,
  decodeFetch,
  decodeForget,
  decodeHold,
  decodePersist,
  decodePersisted,
  encodeCompact,
  encodeCompacted,
  encodeForget,
  encodePersist,
  encodePersisted,
} from './segment-codec.js';
export { SERVICE } from './services.js';
export {
  type BuiltInShuffleKind,
  isShuffleModule,
  loadShuffle,
  type ShuffleKind,
} from './shuffle-kind.js';
export { SHUFFLE_SETTINGS } from './shuffle-settings.js';
export { Slot, type SlotOptions } from './slot.js';
export { loadStateStore, type StateStoreKind } from './state-store-kind.js';
export type { TaskEnvironment, TaskFaults } from './task-environment.js';
export { type SlotThreads, Worker, type WorkerOptions } from './worker.js';
export type { SlotSettings, WorkerSettings } from './worker-settings.js';
