/** The state store: keyed state, timers, delta segments, restore. Usable alone. */

export {
  type AggregatedRow,
  type AggregateResults,
  AggregatesState,
  type LaneAggregate,
  type LaneAggregates,
} from './aggregates-state.js';
export type { Line } from './base-record.js';
export type { BaseStores } from './base-store.js';
export { BroadcastState, type ReadonlyBroadcastState } from './broadcast-state.js';
export { ABSENT, AWAY, type ColdAnswer, type ColdEntry, type ColdState, type ColdTable, FOUND } from './cold-state.js';
export type { CurrentKey } from './current-key.js';
export { describeEntry, type EntryDescription } from './describe-entry.js';
export type { StateEntry } from './entries-of-key.js';
export type { EntryStorage, StoredEntry } from './entry-storage.js';
export type { TtlSettings } from './expiry.js';
export type { History } from './folder-list.js';
export { FoldingState } from './folding-state.js';
export {
  type HeadState,
  HostState,
  type HostStateOptions,
  type LocalRestore,
  type OperatorSegment,
} from './host-state.js';
export { KeyedStates, type KeyedStatesOptions } from './keyed-states.js';
export { ListState } from './list-state.js';
export { type LmdbSettings, lmdbBaseStores, loadLmdb } from './lmdb-base-store.js';
export { MapState } from './map-state.js';
export { MemoryBaseStores } from './memory-base-store.js';
export { MemoryStateStore, type MemoryStateStoreOptions } from './memory-state-store.js';
export { OperatorList, type Redistribution } from './operator-list.js';
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
} from './operator-states.js';
export type { QueryKey } from './query-key.js';
export {
  readState,
  type StateAnswer,
  type StateQuery,
  StateReader,
  type StateReaderOptions,
  type StateSummary,
} from './read-state.js';
export { type RemotePart, RemoteState, type RemoteStateOptions } from './remote-state.js';
export { operatorStatesOf, restoreSegment } from './restore-segment.js';

export { describeStates, type StateDescription } from './segment-format.js';
export type { FrozenStates } from './segment-write.js';
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
export { StateClient, type StateClientOptions } from './state-client.js';
export {
  type CompletedSegment,
  type FolderSettings,
  StateFolder,
  type StateFolderOptions,
} from './state-folder.js';
export { StateQueries, type StateQueriesOptions } from './state-queries.js';
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
} from './state-specs.js';
export { runStateStoreCase, stateStoreConformance } from './state-store-conformance.js';
export { stateStoreContract } from './state-store-contract.js';
export type { MakeStateStore, StateStoreContractCase } from './state-store-contract-case.js';
export {
  type BuiltInStateStore,
  builtInStateStore,
  notAStateStore,
  type StateStoreHost,
  type StateStorePlugin,
  type StateStores,
} from './state-store-plugin.js';
export { StateView, type StateViewOptions, type ViewEntry } from './state-view.js';
export { immediateWriter, type StateWriter, steppedWriter, writeAtOnce } from './state-writer.js';
export { StoredStateStore } from './stored-state-store.js';
export { json, type NamedCodec, type StateCodec, type StateValue, type ValueSpec } from './value-spec.js';
export { ValueState } from './value-state.js';
export type { OverlayEntry, ViewDescription } from './view-description.js';
export { PortWriter, WriterThread } from './writer-thread.js';
