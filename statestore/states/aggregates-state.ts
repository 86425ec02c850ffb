import type { ColumnSpec, ValueOf } from '../../base/columnar/index.js';
import { stateIncompatible } from '../segment/state-incompatible.js';
import type { LaneTable, StateStore } from '../spi.js';
import type { CurrentKey } from './current-key.js';
import type { Expiry } from './expiry.js';
import { fingerprintOf, type LanesShape, type StateSchema } from './state-schema.js';

/** An aggregate that lives in so many float64. `Row` is the least a row must have, so that a misspelt column does not compile. */
export interface LaneAggregate<in Row = never, out Spec extends ColumnSpec = ColumnSpec> {
  readonly type: Spec;
  /** What it computes, with its column: `sum(delay)`. Another one does not go on with its lanes. */
  readonly of: string;
  readonly lanes: number;
  /** Takes one row into the lanes starting at `at`; lanes start zeroed. */
  readonly add: (lanes: Float64Array, at: number, row: Row) => void;
  readonly result: (lanes: Float64Array, at: number) => number | null;
}

export type LaneAggregates = Readonly<Record<string, LaneAggregate>>;

/** What a row must have for all of them. */
export type AggregatedRow<A extends LaneAggregates> = {
  [N in keyof A]: A[N] extends LaneAggregate<infer Row, ColumnSpec> ? (row: Row) => void : never;
}[keyof A] extends (row: infer All) => void
  ? All
  : never;

export type AggregateResults<A extends LaneAggregates> = { readonly [N in keyof A]: ValueOf<A[N]['type']> };

interface Placed {
  readonly name: string;
  readonly aggregate: LaneAggregate;
  readonly lane: number;
}

/** A table of a former set of aggregates: where each that is still wanted stands in it. */
interface Former {
  readonly table: LaneTable;
  readonly moves: readonly { readonly from: number; readonly to: number; readonly lanes: number }[];
}

/**
 * Several aggregates per key, in lanes that are changed in place: the fastest kind of state.
 *
 * The last lane is the expiry (0: none). Each set of aggregates has a table of its own, `STATE#<fingerprint>`: when the set
 * has changed, a key's lanes move over when they are first touched. A new aggregate counts from then on, one that is gone is
 * forgotten.
 */
export class AggregatesState<Row, Result> {
  readonly #table: LaneTable;
  readonly #placed: readonly Placed[];
  readonly #expiryLane: number;
  readonly #former: readonly Former[];
  readonly #current: CurrentKey;
  readonly #expiry: Expiry;

  /** @throws MillraceError `STATE_INCOMPATIBLE` (invalid) naming the aggregate that has become another one. */
  constructor(options: {
    readonly store: StateStore;
    readonly state: string;
    readonly aggregates: LaneAggregates;
    readonly older: readonly StateSchema['value'][];
    readonly current: CurrentKey;
    readonly expiry: Expiry;
  }) {
    const { store, state, aggregates, older } = options;
    this.#placed = place(aggregates);
    this.#expiryLane = lanesOf(lanesShape(aggregates));
    this.#former = older.map((shape) => former(store, state, shape as LanesShape, this.#placed));
    this.#table = store.laneTable(tableName(state, lanesShape(aggregates)), this.#expiryLane + 1);
    this.#current = options.current;
    this.#expiry = options.expiry;
  }

  add(row: Row): void {
    let slot = this.#find();
    if (slot < 0) {
      const { keyGroup, hash, key } = this.#current;
      slot = this.#table.upsert(keyGroup, hash, key, 0);
    } else {
      this.#table.touch(slot);
    }
    const { values } = this.#table;
    for (const { aggregate, lane } of this.#placed) aggregate.add(values, slot + lane, row as never);
    values[slot + this.#expiryLane] = this.#expiry.stamp();
  }

  /** Undefined when nothing was added. */
  get(): Result | undefined {
    const slot = this.#find();
    if (slot < 0) return undefined;
    const lane = slot + this.#expiryLane;
    if (this.#expiry.refreshesOnRead && this.#table.values[lane] !== this.#expiry.stamp()) {
      this.#table.touch(slot);
      this.#table.values[lane] = this.#expiry.stamp();
    }
    const { values } = this.#table;
    const result: Record<string, number | null> = {};
    for (const { name, aggregate, lane } of this.#placed) result[name] = aggregate.result(values, slot + lane);
    return result as Result;
  }

  clear(): void {
    for (const table of [this.#table, ...this.#former.map((f) => f.table)]) removeKey(table, this.#current);
  }

  /** Removes expired ones among so many entries. */
  sweep(entriesMax: number): void {
    if (!this.#expiry.isOn) return;
    const tables = [this.#table, ...this.#former.map((f) => f.table)].filter((table) => table.size > 0);
    for (const table of tables) {
      const expired: CurrentKey[] = [];
      table.scan(Math.ceil(entriesMax / tables.length), (slot, keyGroup, hash, key) => {
        if (this.#isExpired(table, slot)) expired.push({ keyGroup, hash, key: key.slice() });
      });
      for (const at of expired) removeKey(table, at);
    }
  }

  /** The current key's slot or -1, moved from a former table when it is still there, gone when it has expired. */
  #find(): number {
    const { keyGroup, hash, key } = this.#current;
    let slot = this.#table.find(keyGroup, hash, key, 0);
    if (slot < 0) slot = this.#moveIn();
    if (slot < 0 || !this.#isExpired(this.#table, slot)) return slot;
    this.#table.remove(slot);
    return -1;
  }

  #moveIn(): number {
    const { keyGroup, hash, key } = this.#current;
    for (const { table, moves } of this.#former) {
      const from = table.size === 0 ? -1 : table.find(keyGroup, hash, key, 0);
      if (from < 0) continue;
      const slot = this.#table.upsert(keyGroup, hash, key, 0);
      const source = table.values;
      const { values } = this.#table;
      for (const move of moves) {
        const at = from + move.from;
        values.set(source.subarray(at, at + move.lanes), slot + move.to);
      }
      table.remove(from);
      return slot;
    }
    return -1;
  }

  #isExpired(table: LaneTable, slot: number): boolean {
    return this.#expiry.isExpired(table.values[slot + table.lanes - 1] as number);
  }
}

/** Sorted by name, so that the order in which a job names them means nothing. */
export function lanesShape(aggregates: LaneAggregates): LanesShape {
  const sorted = Object.entries(aggregates).sort(([a], [b]) => (a < b ? -1 : 1));
  return { aggregates: sorted.map(([name, { of, lanes }]) => ({ name, of, lanes })) };
}

/** The lane table that has them. */
export function tableName(state: string, shape: LanesShape): string {
  return `${state}#${fingerprintOf(shape).toString(16).padStart(6, '0')}`;
}

function place(aggregates: LaneAggregates): Placed[] {
  let lane = 0;
  return lanesShape(aggregates).aggregates.map(({ name, lanes }) => {
    const placed = { name, aggregate: aggregates[name] as LaneAggregate, lane };
    lane += lanes;
    return placed;
  });
}

function former(store: StateStore, state: string, shape: LanesShape, placed: readonly Placed[]): Former {
  let lane = 0;
  const moves: { from: number; to: number; lanes: number }[] = [];
  for (const { name, of, lanes } of shape.aggregates) {
    const now = placed.find((p) => p.name === name);
    if (now !== undefined && (now.aggregate.of !== of || now.aggregate.lanes !== lanes)) {
      throw stateIncompatible(state, `was ${of} and cannot become ${now.aggregate.of}`, name);
    }
    if (now !== undefined) moves.push({ from: lane, to: now.lane, lanes });
    lane += lanes;
  }
  const expiryLane = lanesOf({ aggregates: placed.map(({ name, aggregate }) => ({ name, ...aggregate })) });
  moves.push({ from: lane, to: expiryLane, lanes: 1 });
  return { table: store.laneTable(tableName(state, shape), lane + 1), moves };
}

function lanesOf({ aggregates }: LanesShape): number {
  return aggregates.reduce((sum, { lanes }) => sum + lanes, 0);
}

function removeKey(table: LaneTable, { keyGroup, hash, key }: CurrentKey): void {
  const slot = table.find(keyGroup, hash, key, 0);
  if (slot >= 0) table.remove(slot);
}
