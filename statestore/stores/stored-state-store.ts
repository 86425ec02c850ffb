import { assert } from '../../base/index.js';
import {
  blocksOf,
  compareBytes,
  LoadedSegment,
  SegmentBuilder,
  SegmentCursor,
  type SegmentState,
} from '../../checkpoint/index.js';
import { describeStates, EXPIRES, hashBytes, type StateDescription, stateMeta } from '../segment/segment-format.js';
import { stateIncompatible } from '../segment/state-incompatible.js';
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
import { EntryChanges } from '../tables/entry-changes.js';
import { Generations } from '../tables/generations.js';
import type { KeyedKind } from '../tables/keyed-table.js';
import { MemoryOperatorValue } from '../tables/operator-value.js';
import type { EntryStorage } from './entry-storage.js';
import { StoredByteTable } from './stored-byte-table.js';
import { StoredLaneTable } from './stored-lane-table.js';
import { doubleOfSub, hashOf, payloadOf, StoredState, tombstoneOf, valueIn } from './stored-state.js';
import { StoredTimerQueue } from './stored-timer-queue.js';

type Table = StoredByteTable | StoredLaneTable | StoredTimerQueue;

interface Keyed {
  readonly name: string;
  readonly state: StoredState;
  readonly table: Table;
}

const chainLengthMaxDefault = 16;

/**
 * A StateStore over any `EntryStorage`, complete and simple. It writes the same segments as `MemoryStateStore`, byte for byte, but
 * at the barrier, on the task's own thread: its pause grows with what has changed. Changes between two checkpoints are
 * remembered in memory, by their keys.
 */
export class StoredStateStore implements StateStore {
  readonly range: KeyGroupRange;
  readonly #storage: EntryStorage;
  readonly #chainLengthMax: number;
  readonly #generations = new Generations();
  readonly #changes = new EntryChanges(this.#generations);
  readonly #keyed = new Map<string, Keyed>();
  readonly #operator = new Map<string, MemoryOperatorValue>();
  /** Numbers of states, those of the timers' indexes included. */
  #states = 0;
  #closing: Promise<void> | undefined;

  /** The storage is empty, and belongs to this store: `close` closes it. `chainLengthMax`: as of `MemoryStateStore`. */
  constructor(range: KeyGroupRange, storage: EntryStorage, options: { readonly chainLengthMax?: number } = {}) {
    assert(range.first >= 0 && range.first <= range.last && range.last <= 0xffff, 'key groups');
    this.range = range;
    this.#storage = storage;
    this.#chainLengthMax = options.chainLengthMax ?? chainLengthMaxDefault;
    this.#generations.start(0, 0);
  }

  laneTable(name: string, lanes: number): LaneTable {
    assert(Number.isInteger(lanes) && lanes >= 0 && lanes <= 0xffff, `state ${name}: ${lanes} lanes`);
    return this.#open(name, 'lanes', lanes).table as StoredLaneTable;
  }

  byteTable(name: string): ByteTable {
    return this.#open(name, 'bytes', 0).table as StoredByteTable;
  }

  timers(name: string): TimerQueue {
    return this.#open(name, 'timers', 0).table as StoredTimerQueue;
  }

  operatorValue(name: string): OperatorValue {
    return this.#operatorValue(name);
  }

  operatorNames(): readonly string[] {
    return [...this.#operator].flatMap(([name, value]) => (value.isSet ? [name] : [])).sort();
  }

  snapshot(checkpointId: number, options: { readonly full?: boolean } = {}): StateSnapshot {
    const generations = this.#generations;
    assert(!generations.isPending(checkpointId), `checkpoint ${checkpointId} has a snapshot already`);
    const { chainLength } = generations;
    const full = options.full === true || chainLength === 0 || chainLength >= this.#chainLengthMax;
    for (const { table } of this.#keyed.values()) if (table instanceof StoredLaneTable) table.save();
    const segment = this.#write(checkpointId, full);
    generations.taken(checkpointId, full, Int32Array.of(1));
    generations.written(checkpointId, segment.bytes.length);
    return { full, segment: Promise.resolve(segment) };
  }

  completed(checkpointId: number): void {
    if (this.#generations.complete(checkpointId)) this.#changes.settle();
  }

  aborted(checkpointId: number): void {
    this.#generations.abort(checkpointId);
  }

  restore(segments: readonly Uint8Array[]): void {
    const used = this.#changes.count > 0 || [...this.#keyed.values()].some(({ state }) => state.size > 0);
    assert(this.#generations.current === 1 && !used, 'restore comes before first use');
    let chainLength = 0;
    let ownOnly = true;
    for (const bytes of segments) {
      const segment = new LoadedSegment(bytes);
      const { full, range } = segment.index;
      ownOnly &&= range.first >= this.range.first && range.last <= this.range.last;
      chainLength = full ? 1 : chainLength + 1;
      if (full) this.#clear(range);
      this.#apply(segment);
    }
    // A chain that holds others' key groups, too, is not gone on with: see `MemoryStateStore`.
    this.#generations.start(ownOnly ? chainLength : 0, 0);
  }

  stats(): StateStats {
    let [entries, bytes] = [0, 0];
    for (const { state } of this.#keyed.values()) {
      entries += state.size;
      bytes += state.bytes;
    }
    for (const value of this.#operator.values()) bytes += value.byteLength;
    return { entries, bytes, memoryBytes: 0, dirtyEntries: this.#changes.count };
  }

  close(): Promise<void> {
    this.#closing ??= this.#storage.close();
    return this.#closing;
  }

  #write(checkpointId: number, full: boolean): StateSegment {
    const keyed = [...this.#keyed.values()];
    const states = [
      ...keyed.map(({ name, state }) => ({ name, meta: stateMeta(state.kind, state.lanes), value: undefined })),
      ...[...this.#operator].flatMap(([name, value]): SegmentState[] => {
        if (!value.isSet && (full || !value.isDirty)) return [];
        return [{ name, meta: stateMeta('operator', 0), value: value.freeze(full) }];
      }),
    ].sort((a, b) => compareBytes(Buffer.from(a.name), Buffer.from(b.name)));
    const builder = new SegmentBuilder({ checkpointId, full, range: this.range, states });
    const ranks = new Map(keyed.map(({ name, state }) => [state, states.findIndex((s) => s.name === name)]));
    if (full) this.#writeAll(builder, ranks);
    else this.#writeChanges(builder, ranks);
    const unchanged = states.every(({ value }) => value === undefined);
    const segment = builder.finish();
    return { ...segment, empty: !full && segment.entries === 0 && unchanged };
  }

  #writeAll(builder: SegmentBuilder, ranks: ReadonlyMap<StoredState, number>): void {
    const ordered = [...ranks].sort(([, a], [, b]) => a - b);
    for (let keyGroup = this.range.first; keyGroup <= this.range.last; keyGroup++) {
      for (const [state, rank] of ordered) {
        if (state.size === 0) continue;
        for (const { key, sub, payload } of state.walk(keyGroup)) builder.add(keyGroup, rank, key, sub, payload, false);
      }
    }
  }

  #writeChanges(builder: SegmentBuilder, ranks: ReadonlyMap<StoredState, number>): void {
    const byNumber = new Map([...ranks].map(([state, rank]) => [state.number, { state, rank }]));
    const rankOf = (number: number) => byNumber.get(number)?.rank as number;
    for (const { keyGroup, state: number, key, sub, hash, removed } of this.#changes.sorted(rankOf)) {
      const { state, rank } = byNumber.get(number) as { readonly state: StoredState; readonly rank: number };
      const payload = removed ? tombstoneOf(hash) : (state.payload(keyGroup, key, sub) as Uint8Array);
      builder.add(keyGroup, rank, key, sub, payload, removed);
    }
  }

  #apply(segment: LoadedSegment): void {
    const states = describeStates(segment.index.states).map((state) => this.#restoreState(state));
    const cursor = new SegmentCursor();
    const { from, to } = blocksOf(segment.index, this.range);
    for (let at = from; at < to; at++) {
      cursor.load(segment.block(at));
      while (cursor.next()) {
        const { keyGroup } = cursor;
        if (keyGroup < this.range.first || keyGroup > this.range.last) continue;
        const keyed = states[cursor.state];
        if (keyed === undefined) continue;
        if (cursor.tombstone) remove(keyed, keyGroup, cursor.key, cursor.sub);
        else store(keyed, keyGroup, cursor.key, cursor.sub, withoutExpiry(cursor.payload));
      }
    }
  }

  /** What is older than a full segment counts for nothing within its key groups. */
  #clear(range: KeyGroupRange): void {
    const [first, last] = [Math.max(range.first, this.range.first), Math.min(range.last, this.range.last)];
    for (const keyed of this.#keyed.values()) {
      for (let keyGroup = first; keyGroup <= last; keyGroup++) {
        for (const { key, sub } of [...keyed.state.walk(keyGroup)]) remove(keyed, keyGroup, key, sub);
      }
    }
  }

  #restoreState({ name, kind, lanes, schemaVersion, operatorValue }: StateDescription): Keyed | undefined {
    if (schemaVersion !== 1) {
      throw stateIncompatible(name, `has schema version ${schemaVersion}, the job reads version 1`);
    }
    if (kind !== 'operator') return this.#open(name, kind, lanes);
    const value = this.#operatorValue(name);
    if (operatorValue !== undefined) value.restore(operatorValue);
    return undefined;
  }

  #operatorValue(name: string): MemoryOperatorValue {
    const keyed = this.#keyed.get(name);
    if (keyed !== undefined) throw stateIncompatible(name, `is of kind ${keyed.state.kind}, not operator`);
    let value = this.#operator.get(name);
    if (value === undefined) {
      value = new MemoryOperatorValue(this.#generations);
      this.#operator.set(name, value);
    }
    return value;
  }

  #open(name: string, kind: KeyedKind, lanes: number): Keyed {
    let keyed = this.#keyed.get(name);
    if (keyed === undefined) {
      if (this.#operator.has(name)) throw stateIncompatible(name, `is of kind operator, not ${kind}`);
      assert(Buffer.byteLength(name) <= 0xffff, 'the name of a state is too long');
      const state = this.#newState(kind, lanes);
      keyed = { name, state, table: this.#tableOf(state) };
      this.#keyed.set(name, keyed);
    }
    const { state } = keyed;
    if (state.kind !== kind) throw stateIncompatible(name, `is of kind ${state.kind}, not ${kind}`);
    if (state.lanes !== lanes) throw stateIncompatible(name, `has ${state.lanes} lanes, not ${lanes}`);
    return keyed;
  }

  #tableOf(state: StoredState): Table {
    if (state.kind === 'bytes') return new StoredByteTable(state);
    if (state.kind === 'lanes') return new StoredLaneTable(state);
    return new StoredTimerQueue(state, this.#newState('timers', 0));
  }

  #newState(kind: KeyedKind, lanes: number): StoredState {
    return new StoredState(kind, lanes, this.#states++, this.range, this.#storage, this.#changes);
  }
}

function store({ state, table }: Keyed, keyGroup: number, key: Uint8Array, sub: Uint8Array, payload: Uint8Array): void {
  const isNew = state.store(keyGroup, key, sub, payload);
  if (isNew && table instanceof StoredTimerQueue) {
    table.restored(doubleOfSub(sub, 0), keyGroup, hashOf(payload), key, doubleOfSub(sub, 1));
  }
}

function remove({ state, table }: Keyed, keyGroup: number, key: Uint8Array, sub: Uint8Array): void {
  if (state.drop(keyGroup, key, sub) && table instanceof StoredTimerQueue) {
    table.removed(doubleOfSub(sub, 0), keyGroup, key, doubleOfSub(sub, 1));
  }
}

/** The TTL slot of a segment's entry is not kept: nobody has written one yet. */
function withoutExpiry(payload: Uint8Array): Uint8Array {
  if (((payload[hashBytes] as number) & EXPIRES) === 0) return payload;
  return payloadOf(hashOf(payload), valueIn(payload).subarray(8));
}
