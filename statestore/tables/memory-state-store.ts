import { assert } from '../../base/index.js';
import { LoadedSegment } from '../../checkpoint/index.js';
import { applySegment, describeStates, LEFT, type StateDescription } from '../segment/segment-format.js';
import type { FrozenState, FrozenStates } from '../segment/segment-write.js';
import { stateIncompatible } from '../segment/state-incompatible.js';
import { immediateWriter, type StateWriter } from '../segment/state-writer.js';
import type {
  ByteTable,
  KeyGroupRange,
  LaneTable,
  OperatorValue,
  StateSegment,
  StateSnapshot,
  StateStats,
  StateStore,
  TimerQueue,
} from '../spi.js';
import type { ColdState } from '../view/cold-state.js';
import { BeneathTable } from './beneath-table.js';
import { MemoryByteTable } from './byte-table.js';
import { Generations } from './generations.js';
import type { KeyedTable, StateKind } from './keyed-table.js';
import { MemoryLaneTable } from './lane-table.js';
import { MemoryBudget } from './memory-budget.js';
import { MemoryOperatorValue } from './operator-value.js';
import { MemoryTimerQueue } from './timer-queue.js';

/** A chain of this many segments is replaced by a full one, where nobody compacts: what a restore has to read stays bounded. */
const chainLengthMaxDefault = 16;
/** Chains with fewer bytes of deltas are left alone, however small the state is. */
const deltaBytesMin = 64 * 1024;

type AnyState = KeyedTable | MemoryOperatorValue;

export interface MemoryStateStoreOptions {
  /** Infinity where the checkpoint store compacts; then only the first segment is full. */
  readonly chainLengthMax?: number;
  /** Makes the segments; without one, `snapshot` does itself, at once. */
  readonly writer?: StateWriter;
  /** State at the checkpoint that is restored, or nothing where none is. It goes on as checkpoints complete: see `advanced`. */
  readonly cold?: ColdState;
  /** Of memory, with `cold`: beyond it, lanes and bytes that have not changed since are let go of. */
  readonly memoryBytesMax?: number;
}

/**
 * StateStore in the memory of one task, in typed tables over SharedArrayBuffers; with a `cold` state, larger than that. Then tables
 * tell of what is in memory only in `size`, `stats` and `scan`, and once something is not, there are no more full snapshots.
 */
export class MemoryStateStore implements StateStore {
  readonly range: KeyGroupRange;
  readonly #states = new Map<string, AnyState>();
  /** By name, bytewise; made anew when there is one more. */
  #sorted: (readonly [string, AnyState])[] = [];
  readonly #generations: Generations;
  readonly #cold: ColdState | undefined;
  readonly #budget: MemoryBudget;
  /** There were entries beneath from the start. */
  #isLeft = false;
  readonly #chainLengthMax: number;
  readonly #writer: StateWriter;

  constructor(range: KeyGroupRange, options: MemoryStateStoreOptions = {}) {
    assert(
      range.first >= 0 && range.first <= range.last && range.last <= 0xffff,
      `key groups ${range.first}..${range.last}`,
    );
    this.range = range;
    this.#chainLengthMax = options.chainLengthMax ?? chainLengthMaxDefault;
    this.#writer = options.writer ?? immediateWriter;
    this.#cold = options.cold;
    this.#generations = new Generations(options.cold !== undefined);
    this.#generations.start(0, 0);
    this.#budget = new MemoryBudget(options.memoryBytesMax ?? Number.POSITIVE_INFINITY, () => this.#fixedBytes());
  }

  laneTable(name: string, lanes: number): LaneTable {
    assert(Number.isInteger(lanes) && lanes >= 0 && lanes <= 0xffff, `state ${name}: ${lanes} lanes`);
    return this.#state(name, 'lanes', lanes) as MemoryLaneTable;
  }

  byteTable(name: string): ByteTable {
    return this.#state(name, 'bytes', 0) as MemoryByteTable;
  }

  timers(name: string): TimerQueue {
    return this.#state(name, 'timers', 0) as MemoryTimerQueue;
  }

  operatorValue(name: string): OperatorValue {
    return this.#state(name, 'operator', 0) as MemoryOperatorValue;
  }

  operatorNames(): readonly string[] {
    return [...this.#states]
      .flatMap(([name, state]) => (state.kind === 'operator' && state.isSet ? [name] : []))
      .sort();
  }

  snapshot(checkpointId: number, options: { readonly full?: boolean } = {}): StateSnapshot {
    assert(!this.#generations.isPending(checkpointId), `checkpoint ${checkpointId} has a snapshot already`);
    const full = this.#isWhole && (options.full === true || this.#needsFull());
    const frozen = this.#freeze(checkpointId, full);
    this.#generations.taken(checkpointId, full, frozen.finished);
    return { full, segment: this.#write(frozen) };
  }

  completed(checkpointId: number): void {
    if (!this.#generations.complete(checkpointId)) return;
    for (const { table } of this.#tables()) table.settle();
  }

  /** After `completed`: `cold` has gone on to that checkpoint. What has not changed since may leave the memory. */
  advanced(checkpointId: number): void {
    if (!this.#generations.settle(checkpointId)) return;
    for (const { table } of this.#tables()) table.settle();
  }

  aborted(checkpointId: number): void {
    this.#generations.abort(checkpointId);
  }

  restore(segments: readonly Uint8Array[]): void {
    const generations = this.#generations;
    assert(generations.current === 1 && this.#tables().every((t) => t.size === 0), 'restore comes before first use');
    generations.restoring();
    let chainLength = 0;
    let deltaBytes = 0;
    const loaded = segments.map((bytes) => new LoadedSegment(bytes));
    const ownOnly = loaded.every(
      ({ index: { range } }) => range.first >= this.range.first && range.last <= this.range.last,
    );
    // Of others' segments a full one must be made, of entries that are in memory.
    this.#isLeft = this.#cold !== undefined && ownOnly && segments.length > 0;
    for (const [at, segment] of loaded.entries()) {
      const { full, range, states } = segment.index;
      chainLength = full ? 1 : chainLength + 1;
      deltaBytes = full ? 0 : deltaBytes + (segments[at] as Uint8Array).byteLength;
      if (full) this.#clear(range);
      const tables = describeStates(states).map((state) => this.#restoreState(state));
      applySegment(segment, this.range, tables);
    }
    // After a rescale the chain also holds key groups of others, at states that their owners have since left behind. A
    // chain that begins with a full segment of our key groups alone can always be restored together with those of others.
    generations.start(ownOnly ? chainLength : 0, deltaBytes, ownOnly);
    for (const { table } of this.#tables()) table.restored();
  }

  stats(): StateStats {
    let [entries, bytes, memoryBytes, dirtyEntries] = [0, 0, 0, 0];
    for (const state of this.#states.values()) {
      memoryBytes += state.byteLength;
      if (state.kind === 'operator') {
        bytes += state.byteLength;
        continue;
      }
      entries += state.size;
      bytes += state.payloadBytes + state.table.keyBytes;
      dirtyEntries += state.table.changes;
    }
    return { entries, bytes, memoryBytes, dirtyEntries };
  }

  /** Whether all there is is in memory. */
  get #isWhole(): boolean {
    return !this.#isLeft && this.#tables().every((table) => table.isWhole !== false);
  }

  /** Of what is never let go of. */
  #fixedBytes(): number {
    let bytes = 0;
    for (const state of this.#states.values()) {
      if (state.kind === 'timers' || state.kind === 'operator') bytes += state.byteLength;
    }
    return bytes;
  }

  #needsFull(): boolean {
    const { chainLength, deltaBytes } = this.#generations;
    if (chainLength === 0 || chainLength >= this.#chainLengthMax) return true;
    return (
      this.#chainLengthMax !== Number.POSITIVE_INFINITY && deltaBytes > Math.max(deltaBytesMin, this.stats().bytes)
    );
  }

  #freeze(checkpointId: number, full: boolean): FrozenStates {
    if (this.#sorted.length < this.#states.size) {
      this.#sorted = [...this.#states].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }
    const states = this.#sorted.flatMap(([name, state]): FrozenState[] => {
      if (state.kind !== 'operator') {
        return [{ name, kind: state.kind, lanes: state.lanes, value: undefined, records: state.freeze(full) }];
      }
      if (!state.isSet && (full || !state.isDirty)) return [];
      return [{ name, kind: 'operator', lanes: 0, value: state.freeze(full), records: undefined }];
    });
    const finished = new Int32Array(new SharedArrayBuffer(4));
    return { checkpointId, full, range: this.range, states, finished };
  }

  async #write(frozen: FrozenStates): Promise<StateSegment> {
    try {
      const segment = await this.#writer.write(frozen);
      this.#generations.written(frozen.checkpointId, segment.bytes.byteLength);
      return segment;
    } catch (error) {
      Atomics.store(frozen.finished, 0, 1);
      throw error;
    }
  }

  #tables(): KeyedTable[] {
    return [...this.#states.values()].filter((s) => s.kind !== 'operator');
  }

  #clear(range: KeyGroupRange): void {
    for (const table of this.#tables()) {
      for (let id = 1; id < table.table.limit; id++) {
        if (!table.table.isLive(id)) continue;
        const keyGroup = table.table.keyGroupOf(id);
        if (keyGroup >= range.first && keyGroup <= range.last) table.removeId(id);
      }
    }
  }

  #restoreState(entry: StateDescription): KeyedTable | typeof LEFT | undefined {
    if (entry.schemaVersion !== 1) {
      throw stateIncompatible(entry.name, `has schema version ${entry.schemaVersion}, the job reads version 1`);
    }
    const state = this.#state(entry.name, entry.kind, entry.lanes);
    if (state.kind !== 'operator') return this.#isLeft && state.kind !== 'timers' ? LEFT : state;
    if (entry.operatorValue !== undefined) state.restore(entry.operatorValue);
    return undefined;
  }

  #state(name: string, kind: StateKind, lanes: number): AnyState {
    let state = this.#states.get(name);
    if (state === undefined) {
      assert(Buffer.byteLength(name) <= 0xffff, 'the name of a state is too long');
      state = this.#newState(name, kind, lanes);
      this.#states.set(name, state);
    }
    if (state.kind !== kind) throw stateIncompatible(name, `is of kind ${state.kind}, not ${kind}`);
    if (state.kind === 'lanes' && state.lanes !== lanes) {
      throw stateIncompatible(name, `has ${state.lanes} lanes, not ${lanes}`);
    }
    return state;
  }

  #newState(name: string, kind: StateKind, lanes: number): AnyState {
    const generations = this.#generations;
    if (kind === 'operator') return new MemoryOperatorValue(generations);
    if (kind === 'timers') return new MemoryTimerQueue(generations, this.range);
    const cold = this.#cold;
    const parts = { cold, budget: this.#budget, isAsked: this.#isLeft };
    const beneath = cold && new BeneathTable({ ...parts, cold }, { name, kind, lanes });
    const table =
      kind === 'lanes'
        ? new MemoryLaneTable(generations, this.range, lanes, beneath)
        : new MemoryByteTable(generations, this.range, beneath);
    this.#budget.add(table);
    return table;
  }
}
