import { deepEqual, equal, throws } from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import {
  type ColumnSpec,
  type ColumnType,
  encodeKeyValues,
  type Schema,
  type Value,
} from '../../base/columnar/index.js';
import { seededRandom } from '../../base/index.js';
import { MemoryBlobStore, mergeSegments, SegmentHome, StoredSegment } from '../../checkpoint/index.js';
import type { LaneAggregate } from './aggregates-state.js';
import { KeyedStates } from './keyed-states.js';
import { broadcastState, OperatorStates, operatorList } from './operator-states.js';
import {
  aggregatesState,
  type KeyedStateSpecs,
  listState,
  mapState,
  type StatesOf,
  valueState,
} from './state-specs.js';
import { StoreAtOnce } from './store-at-once.test.support.js';
import { json } from './value-spec.js';

fc.configureGlobal({ includeErrorInReport: true });

const all = { first: 0, last: 127 };

/** One version of a job, over what earlier ones left. */
function version<const D extends KeyedStateSpecs>(
  specs: D,
  segments: readonly Uint8Array[] = [],
): { store: StoreAtOnce; states: StatesOf<D>; at(key: string): StatesOf<D> } {
  const store = new StoreAtOnce(all);
  if (segments.length > 0) store.restore(segments);
  const keyed = new KeyedStates({ store, prefix: 'n3/', key: ['utf8'], now: () => 1 });
  const states = keyed.open(specs);
  const at = (key: string) => {
    keyed.setKey(key.length, 7, encodeKeyValues(['utf8'], [key]));
    return states;
  };
  at('a');
  return { store, states, at };
}

const snapshot = (store: StoreAtOnce, id: number) => {
  const { bytes } = store.snapshotAtOnce(id);
  store.completed(id);
  return bytes;
};

it('fields are added, removed and widened; entries of three versions live in one chain', () => {
  const one = version({
    s: valueState({ n: 'int32', gone: 'utf8' }),
    m: mapState('utf8', 'int32'),
    l: listState('int32'),
  });
  one.at('a').s.set({ n: 1, gone: 'x' });
  one.at('b').s.set({ n: 2, gone: 'y' });
  one.at('a').m.set('k', 5);
  one.at('a').l.add(7);
  const chain = [snapshot(one.store, 1)];

  const second = {
    s: valueState({ added: 'utf8?', n: 'int64' }),
    m: mapState('utf8', 'int64'),
    l: listState('float64'),
  };
  const two = version(second, chain);
  deepEqual(two.at('a').s.get(), { added: null, n: 1 });
  two.at('b').s.set({ added: 'new', n: 2 ** 40 });
  two.at('a').m.set('k2', 2 ** 40);
  two.at('a').l.add(0.5);
  chain.push(snapshot(two.store, 2));

  const third = {
    s: valueState({ n: 'float64', sure: 'bool', added: 'utf8' }, { defaults: { sure: true, added: '-' } }),
    m: mapState('utf8', 'int64?'),
    l: listState('float64?'),
  };
  const three = version(third, chain);
  deepEqual(three.at('a').s.get(), { n: 1, sure: true, added: '-' });
  deepEqual(three.at('b').s.get(), { n: 2 ** 40, sure: true, added: 'new' });
  three.at('c').s.set({ n: 0.5, sure: false, added: 'c' });
  deepEqual(three.at('a').m.entries(), [
    ['k', 5],
    ['k2', 2 ** 40],
  ]);
  deepEqual(three.at('a').l.get(), [7, 0.5]);
  chain.push(snapshot(three.store, 3));
  const again = version(third, chain);
  deepEqual([again.at('a').s.get()?.n, again.at('b').s.get()?.n, again.at('c').s.get()?.n], [1, 2 ** 40, 0.5]);
});

const refused: readonly [string, KeyedStateSpecs, KeyedStateSpecs, RegExp][] = [
  [
    'narrowed',
    { s: valueState({ n: 'int64' }) },
    { s: valueState({ n: 'int32' }) },
    /"n3\/s": field "n" was int64 and cannot become int32/,
  ],
  ['of another type', { s: valueState({ n: 'int64' }) }, { s: valueState({ n: 'utf8' }) }, /field "n" was int64/],
  ['required', { s: valueState({ n: 'int64?' }) }, { s: valueState({ n: 'int64' }) }, /field "n" was int64\? .* null/],
  [
    'new and required',
    { s: valueState({ n: 'int64' }) },
    { s: valueState({ n: 'int64', m: 'bool' }) },
    /field "m" is new and required/,
  ],
  ['a float for an integer', { s: valueState('float64') }, { s: valueState('int64') }, /"n3\/s" was float64/],
  [
    'fields for a value',
    { s: valueState('float64') },
    { s: valueState({ n: 'int64' }) },
    /single values .* fields \(n\)/,
  ],
  ['another codec', { s: valueState(json()) }, { s: valueState({ ...json(), codec: 'json2' }) }, /"json", .* "json2"/],
  ['a codec for fields', { s: valueState({ n: 'int64' }) }, { s: valueState(json()) }, /fields \(n\), .* codec "json"/],
  ['another kind', { s: valueState('int64') }, { s: listState('int64') }, /"n3\/s" is of kind value, .* list/],
  ['another map key', { s: mapState('utf8', 'int64') }, { s: mapState('int64', 'int64') }, /map keys of type utf8/],
];
for (const [what, before, after, message] of refused) {
  it(`refused when the job starts, by name: ${what}`, () => {
    const chain = [snapshot(version(before).store, 1)];
    throws(() => version(after, chain), { code: 'STATE_INCOMPATIBLE', kind: 'invalid', message });
    version(before, chain);
  });
}

it('keys of another type are refused: they would never be found again', () => {
  const chain = [snapshot(version({ s: valueState('int64') }).store, 1)];
  const store = new StoreAtOnce(all);
  store.restore(chain);
  const keyed = new KeyedStates({ store, prefix: 'n3/', key: ['int64'], now: () => 1 });
  throws(() => keyed.open({ s: valueState('int64') }), { code: 'STATE_INCOMPATIBLE', message: /keys of type utf8/ });
});

it('a shape from before the last version is checked, too: its entries may still be there', () => {
  const one = version({ s: valueState({ n: 'int64' }) });
  const chain = [snapshot(one.store, 1)];
  chain.push(snapshot(version({ s: valueState({ m: 'int64?' }) }, chain).store, 2));
  throws(() => version({ s: valueState({ n: 'utf8?', m: 'int64?' }) }, chain), { message: /field "n" was int64/ });
});

function aggregate(of: string, by: number): LaneAggregate<unknown, 'float64'> {
  const add = (lanes: Float64Array, at: number) => {
    lanes[at] = (lanes[at] as number) + by;
  };
  return { type: 'float64', of, lanes: by, add, result: (lanes, at) => lanes[at] as number };
}

it('aggregates are added and removed; one that has become another is refused by name', () => {
  const [one, two, three] = [aggregate('one', 1), aggregate('two', 2), aggregate('three', 3)];
  const first = version({ s: aggregatesState({ two, one }) });
  for (const key of ['a', 'b', 'b']) first.at(key).s.add({});
  const chain = [snapshot(first.store, 1)];
  const second = version({ s: aggregatesState({ three, two }) }, chain);
  second.at('b').s.add({});
  deepEqual(second.at('b').s.get(), { three: 3, two: 6 });
  deepEqual(second.at('a').s.get(), { three: 0, two: 2 });
  equal(second.store.stats().entries, 2, 'a key stands in one table only');
  chain.push(snapshot(second.store, 2));
  const third = version({ s: aggregatesState({ one, two, three }) }, chain);
  deepEqual(
    [third.at('a').s.get(), third.at('b').s.get()],
    [
      { one: 0, two: 2, three: 0 },
      { one: 0, two: 6, three: 3 },
    ],
  );
  deepEqual(third.at('c').s.get(), undefined);
  throws(() => version({ s: aggregatesState({ two: three }) }, chain), {
    code: 'STATE_INCOMPATIBLE',
    message: /"n3\/s": field "two" was two and cannot become three/,
  });
  // The order in which they are named means nothing.
  const reordered = version({ s: aggregatesState({ two, three }) }, chain);
  deepEqual(reordered.at('b').s.get(), { three: 3, two: 6 });
});

it('operator lists and broadcast state evolve as keyed state does', () => {
  const open = (fields: Schema, segments: readonly Uint8Array[] = []) => {
    const store = new StoreAtOnce(all);
    if (segments.length > 0) store.restore(segments);
    const operator = new OperatorStates({ store, prefix: 'n3/', subtask: 0, parallelism: 1 });
    return { store, operator, ...operator.open({ list: operatorList(fields), map: broadcastState('utf8', fields) }) };
  };
  const one = open({ n: 'int32' });
  one.list.add({ n: 1 });
  one.map.set('k', { n: 2 });
  one.operator.save();
  const chain = [snapshot(one.store, 1)];
  const two = open({ n: 'float64', more: 'bool?' }, chain);
  deepEqual([two.list.get(), two.map.get('k')], [[{ n: 1, more: null }], { n: 2, more: null }]);
  throws(() => open({ n: 'utf8' }, chain), { code: 'STATE_INCOMPATIBLE', message: /field "n" was int32/ });
});

it('segments of different versions are merged, and the result is read', async () => {
  const one = version({ s: valueState({ n: 'int32' }) });
  for (const key of ['a', 'bb', 'ccc']) one.at(key).s.set({ n: key.length });
  const chain = [snapshot(one.store, 1)];
  const specs = { s: valueState({ n: 'int64', more: 'utf8?' }), fresh: valueState('bool') };
  const two = version(specs, chain);
  two.at('bb').s.set({ n: 2 ** 40, more: 'x' });
  two.at('a').s.clear();
  chain.push(snapshot(two.store, 2));
  const merged = await merge(chain, true);
  const read = version(specs, merged);
  deepEqual(read.at('a').s.get(), undefined);
  deepEqual(read.at('bb').s.get(), { n: 2 ** 40, more: 'x' });
  deepEqual(read.at('ccc').s.get(), { n: 3, more: null });
  throws(() => version({ s: valueState({ n: 'utf8' }) }, merged), { code: 'STATE_INCOMPATIBLE' });
});

async function merge(chain: readonly Uint8Array[], full: boolean): Promise<Uint8Array[]> {
  const store = new MemoryBlobStore();
  const home = new SegmentHome({ store, random: seededRandom(1), host: 'h' });
  const segments: StoredSegment[] = [];
  for (const [i, bytes] of chain.entries()) {
    home.hold('t', 1, i + 1, bytes);
    const refs = await home.persist(i + 1, 1, [{ task: 't', attempt: 1 }]);
    segments.push(await StoredSegment.open(store, refs.get('t') as never));
  }
  const outputs: Uint8Array[] = [];
  const options = { checkpointId: 9, range: all, full, bytesTarget: 2 ** 20, breathe: async () => {} };
  for await (const { bytes } of mergeSegments(segments, options)) outputs.push(bytes.slice());
  return outputs;
}

// A random history of schemas, each field by itself: what it may become and what an old value reads as.
const types: readonly ColumnType[] = ['bool', 'int32', 'int64', 'float64', 'timestamp', 'utf8'];
const spec: fc.Arbitrary<ColumnSpec> = fc
  .tuple(fc.constantFrom(...types), fc.boolean())
  .map(([type, nullable]) => (nullable ? (`${type}?` as const) : type));
const schema = fc.dictionary(fc.constantFrom('a', 'b', 'c'), spec, { minKeys: 1, noNullPrototype: true });
const base = (s: string) => s.replace('?', '');
const fits = (from: string, to: string) =>
  from === to ||
  (from === 'int32' && ['int64', 'float64', 'timestamp'].includes(to)) ||
  (from === 'int64' && ['float64', 'timestamp'].includes(to)) ||
  (from === 'timestamp' && ['float64', 'int64'].includes(to));
const example: Readonly<Record<string, Value>> = {
  bool: true,
  int32: -7,
  int64: 2 ** 52,
  float64: 0.25,
  timestamp: 5,
  utf8: 'ä',
};

it('random schemas: either every field can become what it is declared, or it is refused by its name', () => {
  fc.assert(
    fc.property(schema, schema, fc.subarray(['a', 'b', 'c']), fc.boolean(), (from, to, withDefault, nulls) => {
      const defaults = Object.fromEntries(
        withDefault.flatMap((f) => (to[f] === undefined ? [] : [[f, example[base(to[f])] as Value]])),
      );
      const bad = Object.keys(to).find((f) => {
        const [old, now] = [from[f], to[f] as string];
        const hasDefault = f in defaults;
        if (old === undefined) return !now.endsWith('?') && !hasDefault;
        return !fits(base(old), base(now)) || (old.endsWith('?') && !now.endsWith('?') && !hasDefault);
      });
      const row = Object.fromEntries(
        Object.entries(from).map(([f, s]) => [f, nulls && s.endsWith('?') ? null : (example[base(s)] as Value)]),
      );
      const one = version({ s: valueState(from as Schema) });
      one.states.s.set(row);
      const chain = [snapshot(one.store, 1)];
      const open = () => version({ s: valueState(to as Schema, { defaults }) }, chain);
      if (bad !== undefined) {
        throws(open, { code: 'STATE_INCOMPATIBLE', message: /field "[abc]"/ });
        return;
      }
      const expected = Object.fromEntries(
        Object.keys(to).map((f) => {
          const written = row[f];
          const missing = written === undefined || (written === null && !(to[f] as string).endsWith('?'));
          return [f, missing ? (defaults[f] ?? null) : written];
        }),
      );
      const two = open();
      deepEqual(two.states.s.get(), expected);
      two.states.s.set(expected);
      deepEqual(open().states.s.get(), expected);
    }),
    { numRuns: 300 },
  );
});
