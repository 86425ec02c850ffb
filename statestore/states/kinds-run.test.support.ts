import { deepEqual, equal, ok } from 'node:assert/strict';
import { keyGroupRange, subtaskOfKeyGroup } from '../../base/columnar/index.js';
import { seededRandom } from '../../base/index.js';
import { MemoryBlobStore, mergeSegments, SegmentHome, StoredSegment } from '../../checkpoint/index.js';
import type { StateStore } from '../spi.js';
import type { MakeStateStore } from '../stores/state-store-contract-case.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import type { LaneAggregate } from './aggregates-state.js';
import type { TtlSettings } from './expiry.js';
import { KeyedStates } from './keyed-states.js';
import {
  COUNTS_M,
  copyOf,
  emptyKey,
  type Item,
  isVisible,
  itemsOf,
  type KeyModel,
  type Moment,
  type OwnerModel,
  RECORDS,
  type Row,
  rowAs,
  VALUES,
} from './kinds-model.test.support.js';
import { broadcastState, OperatorStates, operatorList } from './operator-states.js';
import { aggregatesState, listState, mapState, reducingState, valueState } from './state-specs.js';

export const GROUPS = 16;
export const KEYS = 4;
const utf8 = (text: string) => new Uint8Array(Buffer.from(text));
const keyBytes = Array.from({ length: KEYS }, (_, i) =>
  utf8(i % 2 === 0 ? `k${i}` : `a key longer than twelve bytes ${i}`),
);
const groupOf = (key: number) => (key * 5) % GROUPS;
const hashOf = (key: number) => key % 3;

const counting = (of: string, by: number): LaneAggregate<unknown, 'float64'> => ({
  type: 'float64',
  of,
  lanes: 1,
  add: (lanes, at) => {
    lanes[at] = (lanes[at] as number) + by;
  },
  result: (lanes, at) => lanes[at] as number,
});

export type Change =
  | { do: 'record'; key: number; a: number; b: string | null; c: boolean }
  | { do: 'add'; key: number; value: number }
  | { do: 'put'; key: number; sub: string; value: number }
  | { do: 'delete'; key: number; sub: string }
  | { do: 'sum' | 'count'; key: number; value: number }
  | { do: 'clear'; key: number; what: number }
  | { do: 'read'; key: number }
  | { do: 'timer' | 'cancel'; key: number; time: number }
  | { do: 'fire'; owner: number; upTo: number }
  | { do: 'part'; owner: number; value: number }
  | { do: 'rule'; name: string; value: number }
  | { do: 'sweep'; owner: number; entries: number }
  | { do: 'tick'; ms: number }
  | { do: 'checkpoint'; completes: boolean }
  | {
      do: 'restart';
      parallelism: number;
      upgrade: number;
      ttl: TtlSettings | undefined | 'same';
      merge: 'none' | 'deltas' | 'all';
      reversed: boolean;
    };

/** One subtask of the operator. */
class Owner {
  readonly store: StateStore;
  readonly keyed: KeyedStates;
  readonly states: ReturnType<typeof open>;
  readonly operatorStates: OperatorStates | undefined;
  readonly operator: ReturnType<typeof openOperator> | undefined;
  chain: readonly Uint8Array[];

  constructor(
    makeStore: MakeStateStore,
    moment: Moment,
    subtask: number,
    now: () => number,
    chain: readonly Uint8Array[],
    withOperator: boolean,
  ) {
    const { parallelism } = moment;
    this.store = makeStore(keyGroupRange(subtask, GROUPS, parallelism));
    this.chain = chain;
    if (chain.length > 0) this.store.restore(chain);
    this.keyed = new KeyedStates({ store: this.store, prefix: 'n1/', key: ['utf8'], now });
    this.states = open(this.keyed, moment);
    if (!withOperator) return;
    this.operatorStates = new OperatorStates({ store: this.store, prefix: 'n2/', subtask, parallelism });
    this.operator = openOperator(this.operatorStates);
  }
}

function open(keyed: KeyedStates, { version, ttl }: Moment) {
  const options = ttl === undefined ? {} : { ttl };
  const { fields, defaults } = RECORDS[version] as { fields: { a: 'float64' }; defaults: object };
  const n = counting('n', 1);
  return keyed.open({
    record: valueState(fields, { ...options, defaults }),
    list: listState(VALUES[version] as 'float64', options),
    map: mapState('utf8', VALUES[version] as 'float64', options),
    sum: reducingState(VALUES[version] as 'float64', (a, b) => a + b, options),
    counts: aggregatesState(COUNTS_M[version] ? { n, m: counting('m', 2) } : { n }, options),
  });
}

function openOperator(states: OperatorStates) {
  return states.open({ parts: operatorList('int32'), rules: broadcastState('utf8', 'int32') });
}

/** The subtasks of an operator beside a model of them: every read is compared. */
export class KindsRun {
  owners: readonly Owner[] = [];
  readonly #makeStore: MakeStateStore;
  readonly #withOperator: boolean;
  #time = 1000;
  #moment: Moment;
  /** Of the newest completed checkpoint. */
  #saved: Moment;
  #savedChains: readonly (readonly Uint8Array[])[];
  #checkpoint = 0;

  constructor(
    parallelism: number,
    ttl: TtlSettings | undefined,
    withOperator: boolean,
    makeStore: MakeStateStore = (range) => new MemoryStateStore(range, { chainLengthMax: Number.POSITIVE_INFINITY }),
  ) {
    this.#makeStore = makeStore;
    this.#withOperator = withOperator;
    this.#moment = {
      parallelism,
      version: 0,
      ttl,
      owners: Array.from({ length: parallelism }, () => ({ since: undefined })),
      keys: Array.from({ length: KEYS }, emptyKey),
      parts: Array.from({ length: parallelism }, () => []),
      rules: new Map(),
    };
    this.#saved = copyOf(this.#moment);
    this.#savedChains = this.#moment.owners.map(() => []);
    this.#start(this.#savedChains);
  }

  async apply(change: Change): Promise<void> {
    if (change.do === 'tick') this.#time += change.ms;
    else if (change.do === 'checkpoint') await this.#takeCheckpoint(change.completes);
    else if (change.do === 'restart') await this.#restart(change);
    else if (change.do === 'sweep') {
      const owner = change.owner % this.owners.length;
      this.#begin(owner);
      this.owners[owner]?.keyed.sweep(change.entries);
    } else if (change.do === 'fire') this.#fire(change.owner % this.owners.length, change.upTo);
    else if (change.do === 'part') this.#addPart(change.owner % this.owners.length, change.value);
    else if (change.do === 'rule') this.#setRule(change.name, change.value);
    else this.#change(change);
    this.#markExpired();
  }

  #change(change: Extract<Change, { readonly key: number }>): void {
    const { key } = change;
    const model = this.#moment.keys[key] as KeyModel;
    const { states, store } = this.#at(key);
    if (change.do === 'timer' || change.do === 'cancel') {
      const timers = store.timers('n1/timers');
      const call = change.do === 'timer' ? timers.add.bind(timers) : timers.remove.bind(timers);
      call(change.time, groupOf(key), hashOf(key), keyBytes[key] as Uint8Array, 0);
      if (change.do === 'timer') model.timers.add(change.time);
      else model.timers.delete(change.time);
      return;
    }
    // What may or may not have been cleaned up is settled by looking.
    if (change.do === 'read' || itemsOf(model).some((item) => item.expired)) this.#read(key);
    if (change.do === 'record') {
      const row: Row = { a: change.a, b: change.b ?? (this.#moment.version === 4 ? 'b' : null), c: change.c };
      states.record.set(row);
      model.record = this.#item(only(row, this.#moment.version));
    } else if (change.do === 'add') {
      states.list.add(change.value);
      model.list.push(this.#item(change.value));
    } else if (change.do === 'put') {
      states.map.set(change.sub, change.value);
      model.map.set(change.sub, this.#item(change.value));
    } else if (change.do === 'delete') {
      states.map.delete(change.sub);
      model.map.delete(change.sub);
    } else if (change.do === 'sum') {
      states.sum.add(change.value);
      model.sum = this.#item((this.#shown(key, model.sum)?.value ?? 0) + change.value);
    } else if (change.do === 'count') {
      states.counts.add({} as never);
      const { n, m } = this.#shown(key, model.counts)?.value ?? { n: 0, m: 0 };
      model.counts = this.#item({ n: n + 1, m: COUNTS_M[this.#moment.version] ? m + 2 : 0 });
    } else if (change.do === 'clear') this.#clear(key, change.what);
  }

  #clear(key: number, what: number): void {
    const { states } = this.#at(key);
    const model = this.#moment.keys[key] as KeyModel;
    const all = [states.record, states.list, states.map, states.sum, states.counts];
    all[what]?.clear();
    if (what === 0) model.record = undefined;
    if (what === 1) model.list = [];
    if (what === 2) model.map = new Map();
    if (what === 3) model.sum = undefined;
    if (what === 4) model.counts = undefined;
  }

  /** Reads all of a key, holds it against the model, and settles what the model leaves open. */
  #read(key: number): void {
    const { states } = this.#at(key);
    const model = this.#moment.keys[key] as KeyModel;
    const { version } = this.#moment;
    model.record = this.#settle(key, model.record, states.record.get(), (row) => rowAs(version, row));
    model.sum = this.#settle(key, model.sum, states.sum.get(), (value) => value);
    if (model.counts !== undefined && !COUNTS_M[version]) model.counts.value.m = 0;
    model.counts = this.#settle(key, model.counts, states.counts.get(), ({ n, m }) =>
      COUNTS_M[version] ? { m, n } : { n },
    );
    const names = [...model.map.keys()].sort();
    const found = new Map(states.map.entries());
    deepEqual(
      [...found.keys()],
      names.filter((name) => found.has(name)),
      'in order, and none that was never put',
    );
    for (const name of names) {
      const item = this.#settle(key, model.map.get(name), found.get(name), (value) => value);
      if (item === undefined) model.map.delete(name);
      equal(item === undefined ? undefined : states.map.get(name), found.get(name));
    }
    // Of a list it shows by its length which of the doubtful elements are there: all or none of those with one stamp.
    const list = states.list.get();
    let at = 0;
    model.list = model.list.filter((item) => {
      const isSure = this.#shown(key, item) !== undefined && !item.expired;
      const isThere = list[at] === item.value && this.#shown(key, item) !== undefined;
      if (isSure) equal(list[at], item.value);
      if (isThere) at++;
      if (isThere) this.#refresh(item);
      return isThere;
    });
    equal(at, list.length, 'the list has nothing else');
  }

  /** @returns the item as it is now. */
  #settle<T>(key: number, item: Item<T> | undefined, found: unknown, view: (value: T) => unknown): Item<T> | undefined {
    const shown = this.#shown(key, item);
    if (shown === undefined || (shown.expired && found === undefined)) {
      equal(found, undefined);
      return undefined;
    }
    deepEqual(found, view(shown.value));
    this.#refresh(shown);
    return shown;
  }

  #refresh(item: Item<unknown>): void {
    const { ttl } = this.#moment;
    if (ttl?.refresh === 'read') item.stamp = this.#time + ttl.ms;
    item.expired = false;
  }

  #shown<T>(key: number, item: Item<T> | undefined): Item<T> | undefined {
    const owner = this.#moment.owners[this.#ownerOf(key)] as OwnerModel;
    return item !== undefined && isVisible(item, owner, this.#moment.ttl, this.#time) ? item : undefined;
  }

  #item<T>(value: T): Item<T> {
    const { ttl } = this.#moment;
    return { value, stamp: ttl === undefined ? 0 : this.#time + ttl.ms, expired: false };
  }

  #fire(owner: number, upTo: number): void {
    const { store } = this.owners[owner] as Owner;
    const due = this.#moment.keys.flatMap(({ timers }, key) =>
      this.#ownerOf(key) !== owner ? [] : [...timers].filter((time) => time <= upTo).map((time) => ({ time, key })),
    );
    const byKey = (a: number, b: number) => Buffer.compare(keyBytes[a] as Uint8Array, keyBytes[b] as Uint8Array);
    due.sort((a, b) => a.time - b.time || groupOf(a.key) - groupOf(b.key) || byKey(a.key, b.key));
    const timers = store.timers('n1/timers');
    for (const { time, key } of due) {
      const timer = timers.pop(upTo);
      deepEqual(
        [timer?.time, timer?.keyGroup, timer && [...timer.key]],
        [time, groupOf(key), [...(keyBytes[key] ?? [])]],
      );
      this.#moment.keys[key]?.timers.delete(time);
    }
    equal(timers.pop(upTo), undefined);
  }

  #addPart(owner: number, value: number): void {
    if (!this.#withOperator) return;
    this.owners[owner]?.operator?.parts.add(value);
    this.#moment.parts[owner]?.push(value);
  }

  #setRule(name: string, value: number): void {
    for (const { operator } of this.owners) operator?.rules.set(name, value);
    if (this.#withOperator) this.#moment.rules.set(name, value);
  }

  async #takeCheckpoint(completes: boolean): Promise<void> {
    const id = ++this.#checkpoint;
    const taken = this.owners.map(async ({ store, operatorStates, chain }) => {
      operatorStates?.save();
      const { bytes, full, empty } = await store.snapshot(id).segment;
      if (full) return [bytes];
      return empty ? chain : [...chain, bytes];
    });
    const chains = await Promise.all(taken);
    for (const { store } of this.owners) {
      if (completes) store.completed(id);
      else store.aborted(id);
    }
    if (!completes) return;
    this.owners.forEach((owner, i) => {
      owner.chain = chains[i] as Uint8Array[];
    });
    this.#saved = copyOf(this.#moment);
    this.#savedChains = chains;
  }

  async #restart(change: Extract<Change, { readonly do: 'restart' }>): Promise<void> {
    const before = copyOf(this.#saved);
    const parallelism = change.parallelism || before.parallelism;
    const version = Math.min(before.version + change.upgrade, RECORDS.length - 1);
    const ttl = change.ttl === 'same' ? before.ttl : change.ttl;
    const merged = await Promise.all(this.#savedChains.map((chain) => mergedChain(chain, change.merge)));
    const sources = Array.from({ length: parallelism }, (_, subtask) => {
      if (parallelism === before.parallelism) return [subtask];
      const { first, last } = keyGroupRange(subtask, GROUPS, parallelism);
      const all = before.owners
        .map((_, i) => i)
        .filter((i) => {
          const range = keyGroupRange(i, GROUPS, before.parallelism);
          return this.#withOperator || (range.first <= last && range.last >= first);
        });
      return change.reversed ? all.reverse() : all;
    });
    const owners = sources.map((from) => {
      const since = from.flatMap((i) => before.owners[i]?.since ?? []);
      return { since: ttl === undefined || since.length === 0 ? undefined : Math.min(...since) };
    });
    this.#moment = { ...before, parallelism, version, ttl, owners };
    this.#start(sources.map((from) => from.flatMap((i) => merged[i] as Uint8Array[])));
    if (!this.#withOperator) return;
    const parts = this.owners.map(({ operator }) => operator?.parts.get() as number[]);
    if (parallelism === before.parallelism) deepEqual(parts, before.parts);
    const sizes = parts.map((part) => part.length);
    deepEqual(parts.flat(), before.parts.flat());
    ok(parallelism === before.parallelism || Math.max(...sizes) - Math.min(...sizes) <= 1);
    this.#moment = { ...this.#moment, parts };
    const rules = [...before.rules].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const { operator } of this.owners) deepEqual(operator?.rules.entries(), rules);
  }

  #start(chains: readonly (readonly Uint8Array[])[]): void {
    const now = () => this.#time;
    this.owners = chains.map((chain, i) => new Owner(this.#makeStore, this.#moment, i, now, chain, this.#withOperator));
  }

  #at(key: number): Owner {
    const at = this.#ownerOf(key);
    this.#begin(at);
    const owner = this.owners[at] as Owner;
    owner.keyed.setKey(groupOf(key), hashOf(key), keyBytes[key] as Uint8Array);
    return owner;
  }

  #begin(owner: number): void {
    const model = this.#moment.owners[owner] as OwnerModel;
    if (this.#moment.ttl !== undefined) model.since ??= this.#time;
  }

  #ownerOf(key: number): number {
    return subtaskOfKeyGroup(groupOf(key), GROUPS, this.#moment.parallelism);
  }

  #markExpired(): void {
    for (const [key, model] of this.#moment.keys.entries()) {
      for (const item of itemsOf(model)) if (this.#shown(key, item) === undefined) item.expired = true;
    }
  }
}

/** The fields that a version has. */
function only(row: Row, version: number): Row {
  const { fields } = RECORDS[version] as { fields: object };
  return Object.fromEntries(Object.entries(row).filter(([field]) => field in fields)) as unknown as Row;
}

/** As the checkpoint store merges a task's segments: those after the last full one, or everything. */
async function mergedChain(
  chain: readonly Uint8Array[],
  how: 'none' | 'deltas' | 'all',
): Promise<readonly Uint8Array[]> {
  if (how === 'none' || chain.length < 2) return chain;
  const store = new MemoryBlobStore();
  const home = new SegmentHome({ store, random: seededRandom(1), host: 'h' });
  const segments: StoredSegment[] = [];
  for (const [i, bytes] of chain.entries()) {
    home.hold('t', 1, i + 1, bytes);
    const refs = await home.persist(i + 1, 1, [{ task: 't', attempt: 1 }]);
    segments.push(await StoredSegment.open(store, refs.get('t') as never));
  }
  const full = how === 'all';
  const lastFull = segments.findLastIndex(({ index }) => index.full);
  const inputs = full ? segments : segments.slice(lastFull + 1);
  if (inputs.length < 2) return chain;
  const outputs: Uint8Array[] = full ? [] : chain.slice(0, lastFull + 1);
  const ranges = inputs.map(({ index }) => index.range);
  const range = { first: Math.min(...ranges.map((r) => r.first)), last: Math.max(...ranges.map((r) => r.last)) };
  const options = { checkpointId: 1, range, full, bytesTarget: 200, breathe: async () => {} };
  for await (const { bytes } of mergeSegments(inputs, options)) outputs.push(bytes.slice());
  return outputs;
}
