/** The state store: keyed state, timers, delta segments, restore. Usable alone. */

export { MapState } from './map-state.js';
export { MemoryStateStore } from './memory-state-store.js';
export { describeStates, type StateDescription } from './segment-format.js';
export type {
  ByteTable,
  KeyGroupRange,
  LaneTable,
  OperatorValue,
  StateSegment,
  StateStore,
  Timer,
  TimerQueue,
  VisitBytes,
} from './spi.js';
export { stateStoreContract } from './state-store-contract.js';
export type { MakeStateStore, StateStoreContractCase } from './state-store-contract-case.js';
export { type CurrentKey, type StateCodec, ValueState } from './value-state.js';
