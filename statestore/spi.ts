/**
 * The state SPI: keyed state of one task. Keys belong to key groups; a task owns a range of them. Interfaces only.
 *
 * Every method is synchronous and belongs to the task's thread; segments are written while the task goes on. Keys are canonical
 * bytes (base/columnar key encoding); the caller passes the key group with the key, so that the hash is computed once per row.
 */

export interface KeyGroupRange {
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
}

export interface StateStore {
  readonly range: KeyGroupRange;
  /** Fixed-size values of `lanes` float64 each, updated in place: aggregates at memory speed. */
  laneTable(name: string, lanes: number): LaneTable;
  /** Values of any size; `sub` keys within a key are ordered bytewise (value state uses the empty one, map state the map's key). */
  byteTable(name: string): ByteTable;
  /** Ordered timers: fire by (time, key group, key, namespace), the same order in every run. */
  timers(name: string): TimerQueue;
  /** Non-keyed state of the operator: one value per name, replaced as a whole. Of several owners' the last restored counts. */
  operatorValue(name: string): OperatorValue;
  /** Names of the operator values that there are, sorted; those of other owners after a rescale too. */
  operatorNames(): readonly string[];
  /**
   * Freezes everything that changed since the newest *completed* snapshot, as it is now, in a time that does not depend on how much
   * that is. It becomes one immutable delta segment, sorted by (key group, state, key), canonical bytes, while the store may be
   * changed, snapshot again, or dropped. What was born and deleted in between is not in it.
   * `full`: the segment stands alone and replaces all earlier ones (written when the chain has grown long, or on request).
   */
  snapshot(checkpointId: number, options?: { readonly full?: boolean }): StateSnapshot;
  /** The checkpoint is complete, its segment written long since: its changes need never be written again. */
  completed(checkpointId: number): void;
  /** The checkpoint will never complete: its changes belong to the next snapshot. */
  aborted(checkpointId: number): void;
  /**
   * Loads segments, oldest first; entries outside `range` are skipped. Only before first use.
   * @throws MillraceError `SEGMENT_CORRUPT` (corrupt), `STATE_INCOMPATIBLE` (invalid) naming the state.
   */
  restore(segments: readonly Uint8Array[]): void;
  /** For metrics. */
  stats(): StateStats;
  /** The task attempt has ended: nothing is asked any more. For stores that hold more than memory. */
  close?(): Promise<void>;
}

export interface StateStats {
  /** Live ones. */
  readonly entries: number;
  /** Of their keys and values. */
  readonly bytes: number;
  /** Bytes of memory that the store holds for them, whether in use or not. */
  readonly memoryBytes: number;
  /** At most so many entries are to be written by the next snapshot. */
  readonly dirtyEntries: number;
}

export interface StateSnapshot {
  readonly full: boolean;
  /** Rejects when the segment cannot be written: then the checkpoint cannot complete. */
  readonly segment: Promise<StateSegment>;
}

export interface StateSegment {
  readonly bytes: Uint8Array;
  readonly full: boolean;
  /** Keyed ones, tombstones included. */
  readonly entries: number;
  /** Nothing has changed, operator values neither: if it is never stored, nothing is lost. */
  readonly empty: boolean;
}

/**
 * Table with (key group, key, namespace) -> `lanes` float64. A *slot* is where an entry's lanes are. It stays valid until the
 * next `find`, `upsert` or `remove`, and its lanes may be changed until the next snapshot: later, `touch` it first. `namespace` is
 * a float64, e.g. a window's start.
 */
export interface LaneTable {
  readonly lanes: number;
  /**
   * Lane l of slot s is `values[s + l]`. Read this property again after each upsert or find: the table may have grown.
   * Never `table.values[table.upsert(..)]`: JavaScript reads `table.values` before it calls `upsert`.
   */
  readonly values: Float64Array;
  /** The slot, made with zeroed lanes when new (`created` tells), and marked dirty. `hash` is the key's 32-bit hash. */
  upsert(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number;
  readonly created: boolean;
  /**
   * As `upsert` for each of these rows, several times as fast: the slot of row r into `slots[r]`, and 1 into `created[r]` when it is
   * new, 0 otherwise. All slots are valid afterwards.
   */
  upsertAll(rows: KeyedRows, slots: Int32Array, created: Uint8Array): void;
  /** The slot or -1. Not marked dirty. */
  find(keyGroup: number, hash: number, key: Uint8Array, namespace: number): number;
  /** Marks a found slot dirty before its lanes are changed. */
  touch(slot: number): void;
  remove(slot: number): void;
  keyOf(slot: number): Uint8Array;
  /**
   * Looks at some entries, going on where the last call ended, round and round: at most `entriesMax` are examined. `visit` must
   * not change the table; the key is a view, valid during the call. Entries that are not in memory may be left out. Meant for
   * cleaning up.
   */
  scan(entriesMax: number, visit: VisitLanes): void;
  readonly size: number;
}

/** Keys of many rows, column by column. */
export interface KeyedRows {
  readonly rows: number;
  readonly keyGroups: Uint16Array;
  readonly hashes: Uint32Array;
  /** Keys end to end: that of row r is `keys[offsets[r]]` up to `keys[offsets[r + 1]]`. At least 8 more bytes follow the last. */
  readonly keys: Uint8Array;
  readonly offsets: Int32Array;
  /** What all keys are long, if they are; 0 says nothing. */
  readonly keyLength: number;
  /** The same bytes as `keys`: four at once are read faster. */
  readonly view: DataView;
  /** undefined: all 0. */
  readonly namespaces?: Float64Array;
}

export interface ByteTable {
  get(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): Uint8Array | undefined;
  put(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array, value: Uint8Array): void;
  remove(keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array): void;
  /** All (sub, value) of one key, ordered by sub. Copies: the table may be changed while iterating. */
  entries(keyGroup: number, hash: number, key: Uint8Array): readonly (readonly [sub: Uint8Array, value: Uint8Array])[];
  /** As `LaneTable.scan`. The bytes are views, valid during the call. */
  scan(entriesMax: number, visit: VisitBytes): void;
  readonly size: number;
}

export type VisitLanes = (slot: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number) => void;
export type VisitBytes = (keyGroup: number, hash: number, key: Uint8Array, sub: Uint8Array, value: Uint8Array) => void;

export interface Timer {
  readonly time: number;
  readonly keyGroup: number;
  readonly hash: number;
  readonly key: Uint8Array;
  readonly namespace: number;
}

export interface TimerQueue {
  /** Registering the same timer twice keeps one. */
  add(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void;
  remove(time: number, keyGroup: number, hash: number, key: Uint8Array, namespace: number): void;
  /** Removes and returns the first timer with time <= `upTo`, or undefined. */
  pop(upTo: number): Timer | undefined;
  /** The first timers, at most `count`, that `pop(upTo)` would return one after the other; all stay. */
  due(upTo: number, count: number): Timer[];
  /** Time of the first timer, +Infinity when there is none. */
  readonly next: number;
  readonly size: number;
}

export interface OperatorValue {
  get(): Uint8Array | undefined;
  /** One byte or more. */
  set(value: Uint8Array): void;
  /** Nothing is left of it, and its name is not listed any more. */
  remove(): void;
}
