import type { StateStore } from '../spi.js';
import { AggregatesState, lanesShape } from './aggregates-state.js';
import { Cells } from './cells.js';
import type { CurrentKey } from './current-key.js';
import { Expiry } from './expiry.js';
import { FoldingState } from './folding-state.js';
import { keyCodec } from './key-codec.js';
import { ListState } from './list-state.js';
import { MapState } from './map-state.js';
import { checkStateName, declareSchema, type StateSchema } from './state-schema.js';
import type { KeyedStateSpec, KeyedStateSpecs, StatesOf } from './state-specs.js';
import { ValueCodec } from './value-codec.js';
import { type KeyTypes, shapeOf, type ValueShape } from './value-spec.js';
import { ValueState } from './value-state.js';

export interface KeyedStatesOptions {
  readonly store: StateStore;
  /** Before the names of the states: several operators of one task share a store. */
  readonly prefix?: string;
  /** Types of the columns that rows are partitioned by. */
  readonly key: KeyTypes;
  /**
   * Task time in ms since 1970, for entries with a TTL: the same at every call within one step, never lower than before (also
   * before a restart), and the same again when a step is replayed. Asked for within steps only.
   */
  readonly now: () => number;
}

/** What can be swept for expired entries; examines at most so many. */
type Sweep = (entriesMax: number) => void;

/**
 * The keyed states of one operator over any StateStore. `setKey` says whose state the user's function sees next.
 *
 * @example
 * const states = new KeyedStates({ store, key: ['utf8'], now });
 * const { seen } = states.open({ seen: valueState('int64', { ttl: { ms: 3_600_000 } }) });
 * states.setKey(keyGroup, hash, key);
 * seen.set((seen.get() ?? 0) + 1);
 */
export class KeyedStates {
  readonly #store: StateStore;
  readonly #prefix: string;
  readonly #key: KeyTypes;
  readonly #now: () => number;
  readonly #current = { keyGroup: 0, hash: 0, key: new Uint8Array(0) as Uint8Array };
  readonly #opened = new Set<string>();
  readonly #expiries: Expiry[] = [];
  #started = false;
  readonly #sweeps: Sweep[] = [];
  #nextSweep = 0;

  constructor(options: KeyedStatesOptions) {
    this.#store = options.store;
    this.#prefix = options.prefix ?? '';
    this.#key = options.key;
    this.#now = options.now;
  }

  /** `key` is not copied: it must stay as it is until the next key is set. */
  setKey(keyGroup: number, hash: number, key: Uint8Array): void {
    if (!this.#started) this.#start();
    this.#current.keyGroup = keyGroup;
    this.#current.hash = hash;
    this.#current.key = key;
  }

  /**
   * Makes the states, after `restore` of the store and before the first row.
   * @throws MillraceError `STATE_INCOMPATIBLE` (invalid) naming state and field, when what is stored cannot be read as declared;
   *   `STATE_NAME` (invalid).
   */
  open<const D extends KeyedStateSpecs>(specs: D): StatesOf<D> {
    const states: Record<string, unknown> = {};
    for (const [name, spec] of Object.entries(specs)) {
      checkStateName(name, this.#opened);
      this.#opened.add(name);
      states[name] = this.#open(`${this.#prefix}${name}`, spec);
    }
    return states as StatesOf<D>;
  }

  /** Removes expired entries among the next `entriesMax`: one state at a call, round and round. Costs nothing without a TTL. */
  sweep(entriesMax: number): void {
    if (!this.#started) this.#start();
    const sweep = this.#sweeps[this.#nextSweep++ % this.#sweeps.length];
    sweep?.(entriesMax);
  }

  #start(): void {
    this.#started = true;
    for (const expiry of this.#expiries) expiry.start();
  }

  #open(state: string, spec: KeyedStateSpec): unknown {
    const older = declareSchema(this.#store, state, schemaOf(spec, this.#key));
    const expiry = new Expiry(this.#store, state, spec.options.ttl, this.#now);
    this.#expiries.push(expiry);
    this.#started = false;
    const current: CurrentKey = this.#current;
    if (spec.kind === 'aggregates') {
      const { aggregates } = spec;
      const made = new AggregatesState({ store: this.#store, state, aggregates, older, current, expiry });
      if (expiry.isOn) this.#sweeps.push((entriesMax) => made.sweep(entriesMax));
      return made;
    }
    const codec = new ValueCodec<unknown>(state, spec.value, older as ValueShape[], spec.options.defaults);
    const cells = new Cells({ table: this.#store.byteTable(state), codec, expiry });
    if (spec.kind === 'list') {
      const made = new ListState(cells, current);
      if (expiry.isOn) {
        this.#sweeps.push((entriesMax) => cells.sweep(entriesMax, (at, sub) => made.removeElement(at, sub), 'with'));
      }
      return made;
    }
    if (expiry.isOn) this.#sweeps.push((entriesMax) => cells.sweep(entriesMax, (at, sub) => cells.remove(at, sub)));
    if (spec.kind === 'map') return new MapState(cells, current, keyCodec(spec.mapKey));
    if (spec.kind === 'value') return new ValueState(cells, current);
    return new FoldingState(cells, current, foldingOf(spec));
  }
}

function schemaOf(spec: KeyedStateSpec, key: KeyTypes): StateSchema {
  if (spec.kind === 'aggregates') return { kind: spec.kind, key, value: lanesShape(spec.aggregates) };
  const value = shapeOf(spec.value);
  return spec.kind === 'map' ? { kind: spec.kind, key, mapKey: [spec.mapKey], value } : { kind: spec.kind, key, value };
}

type FoldingSpec = Extract<KeyedStateSpec, { readonly kind: 'reducing' | 'aggregating' }>;

function foldingOf(spec: FoldingSpec): ConstructorParameters<typeof FoldingState<unknown, unknown, unknown>>[2] {
  if (spec.kind === 'reducing') {
    return { start: (input) => input, add: (kept, input) => spec.reduce(kept, input), result: (kept) => kept };
  }
  return {
    start: (input) => spec.add(spec.create(), input),
    add: (kept, input) => spec.add(kept, input),
    result: (kept) => spec.result(kept),
  };
}
