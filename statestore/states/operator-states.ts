import type { ColumnType, Schema, ValueOf } from '../../base/columnar/index.js';
import type { StateStore } from '../spi.js';
import { BroadcastState } from './broadcast-state.js';
import { keyCodec } from './key-codec.js';
import { OperatorList, type Redistribution } from './operator-list.js';
import type { Subtask } from './operator-owners.js';
import type { FieldDefaults } from './schema-evolution.js';
import { checkStateName, declareSchema } from './state-schema.js';
import { ValueCodec } from './value-codec.js';
import { type StateCodec, type StateValue, shapeOf, type ValueShape, type ValueSpec } from './value-spec.js';

export interface OperatorStateOptions<V extends ValueSpec = ValueSpec> {
  /** For fields that elements of an older version of the job do not have, or have as null. */
  readonly defaults?: V extends Schema ? { readonly [F in keyof V]?: ValueOf<V[F]> } : FieldDefaults;
}

export interface OperatorListSpec<V extends ValueSpec = ValueSpec> {
  readonly kind: 'operatorList';
  readonly value: V;
  readonly redistribute: Redistribution;
  readonly options: OperatorStateOptions;
}

export interface BroadcastStateSpec<K extends ColumnType = ColumnType, V extends ValueSpec = ValueSpec> {
  readonly kind: 'broadcast';
  readonly mapKey: K;
  readonly value: V;
  readonly options: OperatorStateOptions;
}

export type OperatorStateSpec = OperatorListSpec | BroadcastStateSpec;
export type OperatorStateSpecs = Readonly<Record<string, OperatorStateSpec>>;

/** What a user's function gets for a spec. */
export type OperatorStateOf<S> =
  S extends OperatorListSpec<infer V>
    ? OperatorList<StateValue<V>>
    : S extends BroadcastStateSpec<infer K, infer V>
      ? BroadcastState<ValueOf<K>, StateValue<V>>
      : never;

export type OperatorStatesOf<D> = { readonly [N in keyof D]: OperatorStateOf<D[N]> };

/** A list of each subtask, which follows a change of parallelism. */
export function operatorList<const V extends ValueSpec>(
  value: V,
  options: OperatorStateOptions<V> & { readonly redistribute?: Redistribution } = {},
): OperatorListSpec<V> {
  const { redistribute = 'split', ...rest } = options;
  return { kind: 'operatorList', value, redistribute, options: rest as OperatorStateOptions };
}

/** A map that is the same on every subtask. */
export function broadcastState<const K extends ColumnType, const V extends ValueSpec>(
  mapKey: K,
  value: V,
  options: OperatorStateOptions<V> = {},
): BroadcastStateSpec<K, V> {
  return { kind: 'broadcast', mapKey, value, options: options as OperatorStateOptions };
}

/**
 * The states of one operator that belong to no key, over any StateStore. After a change of parallelism the store must have
 * been given the segments of *all* former subtasks, whatever key groups are in them.
 */
export class OperatorStates {
  readonly #store: StateStore;
  readonly #prefix: string;
  readonly #owner: Subtask;
  readonly #opened = new Map<string, { save(): void }>();

  constructor(options: Subtask & { readonly store: StateStore; readonly prefix?: string }) {
    this.#store = options.store;
    this.#prefix = options.prefix ?? '';
    this.#owner = { subtask: options.subtask, parallelism: options.parallelism };
  }

  /**
   * Makes the states, after `restore` of the store and before the first row.
   * @throws MillraceError `STATE_INCOMPATIBLE`, `STATE_NAME`, `RESTORE_INCOMPLETE`, `BROADCAST_STATE_DIFFERS` (invalid).
   */
  open<const D extends OperatorStateSpecs>(specs: D): OperatorStatesOf<D> {
    const states: Record<string, unknown> = {};
    for (const [name, spec] of Object.entries(specs)) {
      checkStateName(name, this.#opened);
      const made = this.#open(`${this.#prefix}${name}`, spec);
      this.#opened.set(name, made);
      states[name] = made;
    }
    return states as OperatorStatesOf<D>;
  }

  /** Hands what has changed to the store: before each of its snapshots. */
  save(): void {
    for (const state of this.#opened.values()) state.save();
  }

  #open(state: string, spec: OperatorStateSpec): { save(): void } {
    const value = shapeOf(spec.value);
    const mapKey = spec.kind === 'broadcast' ? { mapKey: [spec.mapKey] } : {};
    const older = declareSchema(this.#store, state, { kind: spec.kind, key: [], ...mapKey, value });
    const codec = new ValueCodec<unknown>(state, spec.value, older as ValueShape[], spec.options.defaults);
    if (spec.kind === 'operatorList')
      return new OperatorList(this.#store, state, codec, spec.redistribute, this.#owner);
    return new BroadcastState(this.#store, state, keyCodec(spec.mapKey) as StateCodec<unknown>, codec, this.#owner);
  }
}
