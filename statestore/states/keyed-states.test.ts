import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { it } from 'node:test';
import { encodeKeyValues } from '../../base/columnar/index.js';
import type { LaneAggregate } from './aggregates-state.js';
import { KeyedStates } from './keyed-states.js';
import {
  aggregatesState,
  aggregatingState,
  listState,
  mapState,
  reducingState,
  type StatesOf,
  valueState,
} from './state-specs.js';
import { StoreAtOnce } from './store-at-once.test.support.js';
import { json } from './value-spec.js';

const count: LaneAggregate<unknown, 'int64'> = {
  type: 'int64',
  of: 'count',
  lanes: 1,
  add: (lanes, at) => {
    lanes[at] = (lanes[at] as number) + 1;
  },
  result: (lanes, at) => lanes[at] as number,
};
const sumOfDelay: LaneAggregate<{ readonly delay: number }, 'float64'> = {
  type: 'float64',
  of: 'sum(delay)',
  lanes: 1,
  add: (lanes, at, row) => {
    lanes[at] = (lanes[at] as number) + row.delay;
  },
  result: (lanes, at) => lanes[at] as number,
};

const SPECS = {
  single: valueState('utf8?'),
  fields: valueState({ n: 'int64', name: 'utf8?' }),
  any: valueState(json<{ readonly tags: readonly string[] }>()),
  list: listState('int32'),
  map: mapState('utf8', { at: 'timestamp' }),
  most: reducingState('float64', (a, b) => Math.max(a, b)),
  mean: aggregatingState(
    { n: 'int64', sum: 'float64' },
    {
      create: () => ({ n: 0, sum: 0 }),
      add: (kept, delay: number) => ({ n: kept.n + 1, sum: kept.sum + delay }),
      result: (kept) => kept.sum / kept.n,
    },
  ),
  flights: aggregatesState({ n: count, delay: sumOfDelay }),
} as const;

/** A store and states over it, at some key; `at` moves to another. */
class Fixture {
  readonly store: StoreAtOnce;
  readonly keyed: KeyedStates;
  readonly states: StatesOf<typeof SPECS>;

  constructor(segments: readonly Uint8Array[] = []) {
    this.store = new StoreAtOnce({ first: 0, last: 127 });
    if (segments.length > 0) this.store.restore(segments);
    this.keyed = new KeyedStates({ store: this.store, prefix: 'n1/', key: ['utf8'], now: () => 1 });
    this.states = this.keyed.open(SPECS);
    this.at('a');
  }

  at(key: string): StatesOf<typeof SPECS> {
    this.keyed.setKey(key.length, 7, encodeKeyValues(['utf8'], [key]));
    return this.states;
  }
}

function fill({ single, fields, any, list, map, most, mean, flights }: StatesOf<typeof SPECS>, by: number): void {
  single.set(by === 1 ? null : `${by}`);
  fields.set({ n: by, name: null });
  any.set({ tags: ['x', `${by}`] });
  list.add(by, by + 1);
  list.add(by + 2);
  map.set('z', { at: by });
  map.set('b', { at: by + 1 });
  for (const value of [by, by + 5, by + 2]) {
    most.add(value);
    mean.add(value);
    flights.add({ delay: value });
  }
}

function seen({ single, fields, any, list, map, most, mean, flights }: StatesOf<typeof SPECS>): unknown[] {
  return [
    single.get(),
    fields.get(),
    any.get(),
    list.get(),
    map.entries(),
    map.get('b'),
    most.get(),
    mean.get(),
    flights.get(),
  ];
}

const expected = (by: number) => [
  by === 1 ? null : `${by}`,
  { n: by, name: null },
  { tags: ['x', `${by}`] },
  [by, by + 1, by + 2],
  [
    ['b', { at: by + 1 }],
    ['z', { at: by }],
  ],
  { at: by + 1 },
  by + 5,
  (3 * by + 7) / 3,
  { n: 3, delay: 3 * by + 7 },
];
const nothing = [undefined, undefined, undefined, [], [], undefined, undefined, undefined, undefined];

it('every kind of state is per key, and comes back from segments', () => {
  const fixture = new Fixture();
  fill(fixture.at('a'), 1);
  fill(fixture.at('bb'), 20);
  deepEqual(seen(fixture.at('c')), nothing);
  deepEqual(seen(fixture.at('a')), expected(1));
  const first = fixture.store.snapshotAtOnce(1).bytes;
  fixture.store.completed(1);
  fixture.at('bb').list.add(99);
  const second = fixture.store.snapshotAtOnce(2);
  // The head and the element: the rest of the list is not written again.
  equal(second.entries, 2);
  const copy = new Fixture([first, second.bytes]);
  deepEqual(seen(copy.at('a')), expected(1));
  deepEqual(copy.at('bb').list.get(), [20, 21, 22, 99]);
  for (const state of Object.values(copy.at('a'))) state.clear();
  deepEqual(seen(copy.at('a')), nothing);
  deepEqual(copy.at('bb').list.get(), [20, 21, 22, 99]);
  for (const state of Object.values(copy.at('bb'))) state.clear();
  equal(copy.store.stats().entries, 0, 'nothing is left of what is cleared');
});

it('what a state returns is a copy: changing it changes nothing', () => {
  const { any, fields } = new Fixture().states;
  any.set({ tags: ['a'] });
  const tags = any.get()?.tags as string[] | undefined;
  tags?.push('b');
  deepEqual(any.get(), { tags: ['a'] });
  fields.set({ n: 1, name: 'x' });
  Object.assign(fields.get() as object, { n: 2 });
  deepEqual(fields.get(), { n: 1, name: 'x' });
});

it('maps and lists may be changed while they are iterated', () => {
  const { map, list } = new Fixture().states;
  for (const key of ['c', 'a', 'b']) map.set(key, { at: key.charCodeAt(0) });
  const keys: string[] = [];
  for (const [key] of map.entries()) {
    keys.push(key);
    map.delete('c');
    map.set('d', { at: 0 });
  }
  deepEqual([keys, map.keys(), map.values().length], [['a', 'b', 'c'], ['a', 'b', 'd'], 3]);
  list.update([1, 2, 3]);
  for (const element of list.get()) list.add(element * 10);
  deepEqual(list.get(), [1, 2, 3, 10, 20, 30]);
  list.update([]);
  deepEqual(list.get(), []);
});

it('values that do not fit the declared type are refused, and nothing is stored', () => {
  const { fields, list } = new Fixture().states;
  throws(() => fields.set({ n: 0.5, name: null }), { kind: 'invalid' });
  throws(() => list.add(2 ** 31), { kind: 'invalid' });
  deepEqual([fields.get(), list.get()], [undefined, []]);
});

it('names of states are identifiers, once each', () => {
  const keyed = new KeyedStates({ store: new StoreAtOnce({ first: 0, last: 1 }), key: ['utf8'], now: () => 1 });
  for (const name of ['', 'a:b', 'a/b', '0a', 'x'.repeat(65)]) {
    throws(() => keyed.open({ [name]: valueState('utf8') }), { code: 'STATE_NAME', kind: 'invalid' });
  }
  keyed.open({ a: valueState('utf8') });
  throws(() => keyed.open({ a: valueState('utf8') }), { code: 'STATE_NAME' });
});

it('two operators of a task do not see each other by their prefixes', () => {
  const store = new StoreAtOnce({ first: 0, last: 127 });
  const [one, two] = ['n1/', 'n11/'].map((prefix) => {
    const keyed = new KeyedStates({ store, prefix, key: ['utf8'], now: () => 1 });
    const states = keyed.open({ n: valueState('int32') });
    keyed.setKey(1, 7, encodeKeyValues(['utf8'], ['a']));
    return states;
  });
  one?.n.set(1);
  ok(two?.n.get() === undefined);
});

/** Never called: none of it may compile. */
export function misspelt({ fields, map, flights, mean, list, ...others }: StatesOf<typeof SPECS>): void {
  // @ts-expect-error no such state
  others.sinlge.get();
  // @ts-expect-error no such field
  fields.set({ n: 1, nam: null });
  // @ts-expect-error a field is missing
  fields.set({ n: 1 });
  // @ts-expect-error null is not a number
  fields.set({ n: null, name: null });
  // @ts-expect-error may be undefined
  fields.get().n.toFixed();
  // @ts-expect-error a map key is a text
  map.get(1);
  // @ts-expect-error no such field of a map's value
  map.get('a')?.att;
  // @ts-expect-error the row lacks what is summed
  flights.add({ dely: 1 });
  // @ts-expect-error no such aggregate
  flights.get()?.m;
  // @ts-expect-error a number is added
  mean.add('1');
  // @ts-expect-error a list of numbers
  list.add('1');
  // @ts-expect-error no such type
  valueState('int23');
  // @ts-expect-error a default for what is not there
  valueState({ n: 'int64' }, { defaults: { m: 1 } });
  // @ts-expect-error a default of another type
  valueState({ n: 'int64' }, { defaults: { n: 'x' } });
}
