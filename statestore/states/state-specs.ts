import type { ColumnType, Schema, ValueOf } from '../../base/columnar/index.js';
import type { AggregatedRow, AggregateResults, AggregatesState, LaneAggregates } from './aggregates-state.js';
import type { TtlSettings } from './expiry.js';
import type { FoldingState } from './folding-state.js';
import type { ListState } from './list-state.js';
import type { MapState } from './map-state.js';
import type { FieldDefaults } from './schema-evolution.js';
import type { StateValue, ValueSpec } from './value-spec.js';
import type { ValueState } from './value-state.js';

/*
 * How a job declares its keyed state: plain data and functions, made once; `KeyedStates.open` makes the states of them.
 * Functions are methods here, so that a spec of any value fits where one of some value is asked for.
 */

export interface StateOptions<V extends ValueSpec = ValueSpec> {
  /** Entries expire. Without it they stay until they are removed. May be given, changed and taken away between versions of a job. */
  readonly ttl?: TtlSettings;
  /** For fields that entries of an older version of the job do not have, or have as null. */
  readonly defaults?: V extends Schema ? { readonly [F in keyof V]?: ValueOf<V[F]> } : FieldDefaults;
}

export interface ValueStateSpec<V extends ValueSpec = ValueSpec> {
  readonly kind: 'value';
  readonly value: V;
  readonly options: StateOptions;
}

export interface ListStateSpec<V extends ValueSpec = ValueSpec> {
  readonly kind: 'list';
  readonly value: V;
  readonly options: StateOptions;
}

export interface MapStateSpec<K extends ColumnType = ColumnType, V extends ValueSpec = ValueSpec> {
  readonly kind: 'map';
  readonly mapKey: K;
  readonly value: V;
  readonly options: StateOptions;
}

export interface ReducingStateSpec<V extends ValueSpec = ValueSpec> {
  readonly kind: 'reducing';
  readonly value: V;
  reduce(kept: StateValue<V>, added: StateValue<V>): StateValue<V>;
  readonly options: StateOptions;
}

export interface AggregatingStateSpec<V extends ValueSpec = ValueSpec, In = unknown, Out = unknown> {
  readonly kind: 'aggregating';
  readonly value: V;
  create(): StateValue<V>;
  add(kept: StateValue<V>, input: In): StateValue<V>;
  result(kept: StateValue<V>): Out;
  readonly options: StateOptions;
}

export interface AggregatesStateSpec<A extends LaneAggregates = LaneAggregates> {
  readonly kind: 'aggregates';
  readonly aggregates: A;
  readonly options: Pick<StateOptions, 'ttl'>;
}

export type KeyedStateSpec =
  | ValueStateSpec
  | ListStateSpec
  | MapStateSpec
  | ReducingStateSpec
  | AggregatingStateSpec
  | AggregatesStateSpec;

export type KeyedStateSpecs = Readonly<Record<string, KeyedStateSpec>>;

/** What a user's function gets for a spec. */
export type StateOf<S> =
  S extends ValueStateSpec<infer V>
    ? ValueState<StateValue<V>>
    : S extends ListStateSpec<infer V>
      ? ListState<StateValue<V>>
      : S extends MapStateSpec<infer K, infer V>
        ? MapState<ValueOf<K>, StateValue<V>>
        : S extends ReducingStateSpec<infer V>
          ? FoldingState<StateValue<V>, StateValue<V>, StateValue<V>>
          : S extends AggregatingStateSpec<infer V, infer In, infer Out>
            ? FoldingState<StateValue<V>, In, Out>
            : S extends AggregatesStateSpec<infer A>
              ? AggregatesState<AggregatedRow<A>, AggregateResults<A>>
              : never;

export type StatesOf<D> = { readonly [N in keyof D]: StateOf<D[N]> };

/** One value per key. */
export function valueState<const V extends ValueSpec>(value: V, options: StateOptions<V> = {}): ValueStateSpec<V> {
  return { kind: 'value', value, options: options as StateOptions };
}

/** A list per key. */
export function listState<const V extends ValueSpec>(value: V, options: StateOptions<V> = {}): ListStateSpec<V> {
  return { kind: 'list', value, options: options as StateOptions };
}

/** A map per key, ordered by its own keys. */
export function mapState<const K extends ColumnType, const V extends ValueSpec>(
  mapKey: K,
  value: V,
  options: StateOptions<V> = {},
): MapStateSpec<K, V> {
  return { kind: 'map', mapKey, value, options: options as StateOptions };
}

/** One value per key, into which `reduce` takes what is added. */
export function reducingState<const V extends ValueSpec>(
  value: V,
  reduce: (kept: StateValue<V>, added: StateValue<V>) => StateValue<V>,
  options: StateOptions<V> = {},
): ReducingStateSpec<V> {
  return { kind: 'reducing', value, reduce, options: options as StateOptions };
}

/** As `reducingState`, where what is added, what is kept and what comes out may be of different types. */
export function aggregatingState<const V extends ValueSpec, In, Out>(
  accumulator: V,
  functions: {
    readonly create: () => StateValue<V>;
    readonly add: (kept: StateValue<V>, input: In) => StateValue<V>;
    readonly result: (kept: StateValue<V>) => Out;
  },
  options: StateOptions<V> = {},
): AggregatingStateSpec<V, In, Out> {
  return { kind: 'aggregating', value: accumulator, ...functions, options: options as StateOptions };
}

/** Several ready-made aggregates per key: `aggregatesState({ flights: count(), delay: mean('delay') })`. The fastest kind of state. */
export function aggregatesState<const A extends LaneAggregates>(
  aggregates: A,
  options: Pick<StateOptions, 'ttl'> = {},
): AggregatesStateSpec<A> {
  return { kind: 'aggregates', aggregates, options };
}
