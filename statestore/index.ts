/** The state store: keyed state, timers, delta segments, restore. Usable alone. */

export { encodeKeyValues, hashKey, keyGroupOf } from '../base/columnar/index.js';
export type { Line } from './host/base-record.js';
export type { BaseStore, BaseStores, WritableBaseStore } from './host/base-store.js';
export { type BaseStoreContractCase, baseStoreContract } from './host/base-store-contract.js';
export type { History } from './host/folder-list.js';
export {
  type HeadState,
  HostState,
  type HostStateOptions,
  type KeyGroupHeat,
  type LocalRestore,
  type OperatorSegment,
} from './host/host-state.js';
export { type LmdbSettings, lmdbBaseStores, loadLmdb } from './host/lmdb-base-store.js';
export { MemoryBaseStores } from './host/memory-base-store.js';
export {
  type CompletedSegment,
  type FolderSettings,
  StateFolder,
  type StateFolderOptions,
} from './host/state-folder.js';
export type { StateEntry } from './query/entries-of-key.js';
export type { QueryKey } from './query/query-key.js';
export {
  readState,
  type StateAnswer,
  type StateQuery,
  StateReader,
  type StateReaderOptions,
  type StateSummary,
} from './query/read-state.js';
export { StateClient, type StateClientOptions } from './query/state-client.js';
export { StateQueries, type StateQueriesOptions } from './query/state-queries.js';
export { describeEntry, type EntryDescription } from './segment/describe-entry.js';
export { describeStates, type StateDescription } from './segment/segment-format.js';
export type { FrozenStates } from './segment/segment-write.js';
export { immediateWriter, type StateWriter, steppedWriter, writeAtOnce } from './segment/state-writer.js';
export { PortWriter, WriterThread } from './segment/writer-thread.js';
export type {
  ByteTable,
  KeyedRows,
  KeyGroupRange,
  LaneTable,
  OperatorValue,
  StateSegment,
  StateSnapshot,
  StateStats,
  StateStore,
  Timer,
  TimerQueue,
  VisitBytes,
  VisitLanes,
} from './spi.js';
export {
  type AggregatedRow,
  type AggregateResults,
  AggregatesState,
  type LaneAggregate,
  type LaneAggregates,
} from './states/aggregates-state.js';
export { BroadcastState, type ReadonlyBroadcastState } from './states/broadcast-state.js';
export type { CurrentKey } from './states/current-key.js';
export type { TtlSettings } from './states/expiry.js';
export { FoldingState } from './states/folding-state.js';
export { KeyedStates, type KeyedStatesOptions } from './states/keyed-states.js';
export { ListState } from './states/list-state.js';
export { MapState } from './states/map-state.js';
export { OperatorList, type Redistribution } from './states/operator-list.js';
export {
  type BroadcastStateSpec,
  broadcastState,
  type OperatorListSpec,
  type OperatorStateOf,
  type OperatorStateSpec,
  type OperatorStateSpecs,
  OperatorStates,
  type OperatorStatesOf,
  operatorList,
} from './states/operator-states.js';
export {
  type AggregatesStateSpec,
  type AggregatingStateSpec,
  aggregatesState,
  aggregatingState,
  type KeyedStateSpec,
  type KeyedStateSpecs,
  type ListStateSpec,
  listState,
  type MapStateSpec,
  mapState,
  type ReducingStateSpec,
  reducingState,
  type StateOf,
  type StateOptions,
  type StatesOf,
  type ValueStateSpec,
  valueState,
} from './states/state-specs.js';
export { json, type NamedCodec, type StateCodec, type StateValue, type ValueSpec } from './states/value-spec.js';
export { ValueState } from './states/value-state.js';
export type { EntryStorage, StoredEntry } from './stores/entry-storage.js';
export { runStateStoreCase, stateStoreConformance } from './stores/state-store-conformance.js';
export { stateStoreContract } from './stores/state-store-contract.js';
export type { MakeStateStore, StateStoreContractCase } from './stores/state-store-contract-case.js';
export {
  type BuiltInStateStore,
  builtInStateStore,
  notAStateStore,
  type StateStoreHost,
  type StateStorePlugin,
  type StateStores,
} from './stores/state-store-plugin.js';
export { StoredStateStore } from './stores/stored-state-store.js';
export { MemoryStateStore, type MemoryStateStoreOptions } from './tables/memory-state-store.js';
export {
  ABSENT,
  AWAY,
  type ColdAnswer,
  type ColdEntry,
  type ColdState,
  type ColdTable,
  FOUND,
} from './view/cold-state.js';
export { type RemotePart, RemoteState, type RemoteStateOptions } from './view/remote-state.js';
export { restoreSegment } from './view/restore-segment.js';
export { StateView, type StateViewOptions, type ViewEntry } from './view/state-view.js';
export type { OverlayEntry, ViewDescription } from './view/view-description.js';
