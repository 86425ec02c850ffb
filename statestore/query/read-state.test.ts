import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { encodeKeyValues, hashKey, keyGroupOf, type Value } from '../../base/columnar/index.js';
import { CountedBlobStore, MemoryBlobStore, readHead } from '../../checkpoint/index.js';
import type { LaneAggregate } from '../states/aggregates-state.js';
import { CheckpointedStates, KEY_GROUPS } from '../states/checkpointed-states.test.support.js';
import { broadcastState, operatorList } from '../states/operator-states.js';
import {
  aggregatesState,
  aggregatingState,
  listState,
  mapState,
  reducingState,
  valueState,
} from '../states/state-specs.js';
import { json } from '../states/value-spec.js';
import type { QueryKey } from './query-key.js';
import { readState, StateReader } from './read-state.js';
import { StateQueries } from './state-queries.js';

fc.configureGlobal({ includeErrorInReport: true });

const sum: LaneAggregate<{ readonly n: number }, 'float64'> = {
  type: 'float64',
  of: 'sum',
  lanes: 2,
  add: (lanes, at, { n }) => {
    lanes[at] = (lanes[at] as number) + n;
    lanes[at + 1] = (lanes[at + 1] as number) + 1;
  },
  result: (lanes, at) => lanes[at] as number,
};
const count: LaneAggregate<unknown, 'int64'> = {
  type: 'int64',
  of: 'count',
  lanes: 1,
  add: (lanes, at) => {
    lanes[at] = (lanes[at] as number) + 1;
  },
  result: (lanes, at) => lanes[at] as number,
};
const SPECS = {
  value: valueState({ n: 'float64', name: 'utf8?' }),
  single: valueState('int64'),
  any: valueState(json<{ readonly tags: readonly string[] }>()),
  own: valueState({
    codec: 'own',
    encode: (value: number) => Uint8Array.of(value),
    decode: (bytes) => bytes[0] as number,
  }),
  list: listState('utf8'),
  map: mapState('int32', 'bool'),
  most: reducingState('int32', (a, b) => Math.max(a, b)),
  mean: aggregatingState(
    { n: 'int32', sum: 'int64' },
    {
      create: () => ({ n: 0, sum: 0 }),
      add: (kept, input: number) => ({ n: kept.n + 1, sum: kept.sum + input }),
      result: (kept) => kept.sum / kept.n,
    },
  ),
  totals: aggregatesState({ sum, n: count }),
} as const;

const now = () => 1000;
const options = { keyGroups: KEY_GROUPS, now };

/** `[task, checkpoint's states]` of two subtasks with something of each kind at each of some keys. */
async function filled(blobs = new MemoryBlobStore()) {
  const job = await CheckpointedStates.open(blobs, 2, ['utf8', 'int32']);
  const states = job.tasks.map(({ keyed }) => keyed.open(SPECS));
  const operators = job.tasks.map(({ operator }) =>
    operator.open({ parts: operatorList('int32'), rules: broadcastState('utf8', { min: 'float64' }) }),
  );
  const at = (...key: Value[]) => states[job.at(...key)] as (typeof states)[0];
  for (const [name, n] of [
    ['a', 1],
    ['a', 2],
    ['b', -1],
    ['c', 0],
  ] as const) {
    const s = at(name, n);
    s.value.set({ n: n === 0 ? Number.NaN : n, name: n === 1 ? null : name });
    s.single.set(2 ** 40 + n);
    s.any.set({ tags: [name] });
    s.own.set(n + 5);
    s.list.add(`${name}1`, `${name}2`);
    for (const k of [3, -3]) s.map.set(k, k > 0);
    s.most.add(n);
    for (const input of [4, n]) {
      s.mean.add(input);
      s.totals.add({ n: input });
    }
  }
  operators.forEach(({ parts, rules }, i) => {
    parts.add(i, i + 10);
    rules.set('low', { min: 0.5 });
  });
  await job.complete();
  return { blobs, job, at, operators };
}

async function reader(blobs: MemoryBlobStore): Promise<StateReader> {
  const latest = (await readHead(blobs))?.head.latest;
  return StateReader.open(blobs, latest as never, options);
}

it('every kind of state is answered as JSON, with the checkpoint it is of', async () => {
  const { blobs } = await filled();
  const read = await reader(blobs);
  const answers: Record<string, unknown> = {};
  for (const state of [...Object.keys(SPECS), 'parts', 'rules']) {
    const { checkpoint, kind, entries } = await read.read({ state, key: ['a', 1] });
    equal(checkpoint, 1);
    answers[state] = [kind, entries];
  }
  const key = ['a', 1];
  deepEqual(answers, {
    value: ['value', [{ key, value: { n: 1, name: null } }]],
    single: ['value', [{ key, value: 2 ** 40 + 1 }]],
    any: ['value', [{ key, value: { tags: ['a'] } }]],
    own: ['value', [{ key, value: { base64: 'Bg==' } }]],
    list: ['list', [{ key, value: ['a1', 'a2'] }]],
    map: [
      'map',
      [
        {
          key,
          value: [
            [-3, false],
            [3, true],
          ],
        },
      ],
    ],
    most: ['reducing', [{ key, value: 1 }]],
    mean: ['aggregating', [{ key, value: { n: 2, sum: 5 } }]],
    totals: ['aggregates', [{ key, value: { n: 2, sum: [5, 2] } }]],
    parts: [
      'operatorList',
      [
        { subtask: 0, parallelism: 2, value: [0, 10] },
        { subtask: 1, parallelism: 2, value: [1, 11] },
      ],
    ],
    rules: ['broadcast', [{ value: [['low', { min: 0.5 }]] }]],
  });
  const nan = await read.read({ state: 'n3/value', key: ['c', 0] });
  deepEqual(nan.entries, [{ key: ['c', 0], value: { n: 'NaN', name: 'c' } }]);
  const listed = read.states.map(({ name, kind, key: types }) => [name, kind, types.join()]);
  deepEqual(listed, [
    ['n3/any', 'value', 'utf8,int32'],
    ['n3/list', 'list', 'utf8,int32'],
    ['n3/map', 'map', 'utf8,int32'],
    ['n3/mean', 'aggregating', 'utf8,int32'],
    ['n3/most', 'reducing', 'utf8,int32'],
    ['n3/own', 'value', 'utf8,int32'],
    ['n3/parts', 'operatorList', ''],
    ['n3/rules', 'broadcast', ''],
    ['n3/single', 'value', 'utf8,int32'],
    ['n3/totals', 'aggregates', 'utf8,int32'],
    ['n3/value', 'value', 'utf8,int32'],
  ]);
});

it('a range is in the order of the keys over all tasks; it may name only the first columns, and be gone on with', async () => {
  const { blobs } = await filled();
  const read = await reader(blobs);
  const keys = async (query: { from?: QueryKey; to?: QueryKey; limit?: number }) => {
    const { entries, next } = await read.read({ state: 'single', ...query });
    return [entries.map(({ key }) => (key as Value[]).join('')).join(' '), next];
  };
  deepEqual(await keys({}), ['a1 a2 b-1 c0', undefined]);
  deepEqual(await keys({ from: ['a', 2], to: ['c'] }), ['a2 b-1', undefined]);
  deepEqual(await keys({ from: '["b"]' }), ['b-1 c0', undefined]);
  deepEqual(await keys({ from: 'b', to: ['c', 0] }), ['b-1', undefined]);
  deepEqual(await keys({ limit: 2 }), ['a1 a2', ['b', -1]]);
  deepEqual(await keys({ limit: 2, from: ['b', -1] }), ['b-1 c0', undefined]);
  deepEqual(await keys({ from: 'd' }), ['', undefined]);
  const nobody = await read.read({ state: 'single', key: ['a', 3] });
  deepEqual(nobody.entries, []);
});

it('what cannot be asked is refused with what could be', async () => {
  const { blobs } = await filled();
  const read = await reader(blobs);
  await rejects(read.read({ state: 'sinlge' }), { code: 'STATE_UNKNOWN', message: /n3\/any, .*n3\/value/ });
  await rejects(read.read({ state: 'single', key: ['a'] }), { code: 'QUERY_KEY', message: /utf8, int32/ });
  await rejects(read.read({ state: 'single', key: ['a', 'b'] }), { code: 'QUERY_KEY', message: /utf8, int32/ });
  await rejects(read.read({ state: 'single', key: '["a",' }), { code: 'QUERY_KEY' });
  await rejects(read.read({ state: 'single', key: '"a"' }), { code: 'QUERY_KEY' });
  for (const limit of [0, -1, 1.5, 10_001, Number.NaN]) {
    await rejects(read.read({ state: 'single', limit }), { code: 'QUERY_LIMIT', kind: 'invalid' });
  }
});

it('tables of the SPI without a schema are answered, too: lanes as numbers, bytes as base64, timers, operator values', async () => {
  const blobs = new MemoryBlobStore();
  const job = await CheckpointedStates.open(blobs, 2, ['int64']);
  const key = encodeKeyValues(['int64'], [2 ** 40]);
  const hash = hashKey(key);
  const group = keyGroupOf(hash, KEY_GROUPS);
  const { store } = job.tasks[job.at(2 ** 40)] as (typeof job.tasks)[0];
  const lanes = store.laneTable('n1/windows', 2);
  const slot = lanes.upsert(group, hash, key, 60_000);
  lanes.values.set([1.5, Number.POSITIVE_INFINITY], slot);
  store.byteTable('n1/top').put(group, hash, key, Uint8Array.of(1), Uint8Array.of(2));
  store.timers('n1/ends').add(70_000, group, hash, key, 60_000);
  store.operatorValue('n1/max-time').set(Uint8Array.of(9));
  await job.complete();
  const read = await reader(blobs);
  const answers = [];
  for (const state of ['windows', 'top', 'ends', 'max-time']) answers.push(await read.read({ state, key: [2 ** 40] }));
  deepEqual(
    answers.map(({ kind, entries }) => [kind, entries]),
    [
      ['lanes', [{ key: [2 ** 40], namespace: 60_000, value: [1.5, 'Infinity'] }]],
      ['bytes', [{ key: [2 ** 40], sub: { base64: 'AQ==' }, value: { base64: 'Ag==' } }]],
      ['timers', [{ key: [2 ** 40], time: 70_000, namespace: 60_000 }]],
      ['operator', [{ task: job.tasks.find((t) => t.store === store)?.name, value: { base64: 'CQ==' } }]],
    ],
  );
});

it('expired entries are not answered, also those whose expiry was never written; with TTL off all are', async () => {
  const blobs = new MemoryBlobStore();
  const job = await CheckpointedStates.open(blobs, 1, ['utf8']);
  const ttl = { ms: 100 };
  const states = job.tasks[0]?.keyed.open({
    v: valueState('int32', { ttl }),
    l: listState('int32', { ttl }),
    f: valueState('int32'),
  });
  job.at('a');
  states?.v.set(1);
  states?.f.set(1);
  states?.l.add(1);
  job.time += 60;
  states?.l.add(2);
  await job.complete();
  const at = async (time: number) => {
    const read = await StateReader.open(blobs, (await readHead(blobs))?.head.latest as never, {
      keyGroups: KEY_GROUPS,
      now: () => time,
    });
    const all = await Promise.all(['v', 'l', 'f'].map((state) => read.read({ state, key: 'a' })));
    return all.map(({ entries }) => entries[0]);
  };
  const f = { key: ['a'], value: 1 };
  deepEqual(await at(1099), [{ key: ['a'], value: 1, expiresAt: 1100 }, { key: ['a'], value: [1, 2] }, f]);
  deepEqual(await at(1100), [undefined, { key: ['a'], value: [2] }, f]);
  deepEqual(await at(1160), [undefined, undefined, f]);
  job.at('b');
  states?.v.set(2);
  await job.complete();
  const read = await StateReader.open(blobs, (await readHead(blobs))?.head.latest as never, {
    keyGroups: KEY_GROUPS,
    now: () => 1100,
  });
  deepEqual((await read.read({ state: 'v', limit: 1 })).entries, [{ key: ['b'], value: 2, expiresAt: 1160 }]);
});

it('a key is found with one block of each segment, however large the state is', async () => {
  const blobs = new MemoryBlobStore();
  const job = await CheckpointedStates.open(blobs, 1, ['int32']);
  const states = job.tasks[0]?.keyed.open({ v: valueState('utf8') });
  for (let k = 0; k < 5000; k++) {
    job.at(k);
    states?.v.set('x'.repeat(100));
  }
  await job.complete();
  job.at(77);
  states?.v.set('new');
  await job.complete();
  const counted = new CountedBlobStore(blobs);
  const manifest = (await readHead(blobs))?.head.latest as never;
  const answer = await readState(counted, manifest, { state: 'v', key: [77] }, options);
  deepEqual([answer.checkpoint, answer.entries], [2, [{ key: [77], value: 'new' }]]);
  equal(counted.counts.get.requests, 2 + 2, 'two indexes, two blocks');
  ok(counted.counts.get.bytesRead < 120_000, `${counted.counts.get.bytesRead} bytes`);
  const old = await readState(counted, manifest, { state: 'v', key: [78] }, options);
  deepEqual(old.entries, [{ key: [78], value: 'x'.repeat(100) }]);
});

it('random states over deltas and merges: queries by key and by range say what the job would', async () => {
  const keyed = fc.integer({ min: -20, max: 20 });
  const change = fc.record({ key: keyed, value: fc.option(fc.nat(99)), sub: fc.nat(3) });
  const round = fc.record({
    changes: fc.array(change, { maxLength: 30 }),
    full: fc.boolean(),
    keepOlder: fc.boolean(),
  });
  const range = fc.record({ from: fc.option(keyed), to: fc.option(keyed), limit: fc.integer({ min: 1, max: 12 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(round, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 4 }),
      range,
      async (rounds, parallelism, { from, to, limit }) => {
        const blobs = new MemoryBlobStore();
        const job = await CheckpointedStates.open(blobs, parallelism, ['int32']);
        const states = job.tasks.map(({ keyed: k }) =>
          k.open({ v: valueState('int32'), m: mapState('int32', 'int32') }),
        );
        const model = new Map<number, { v: number | undefined; m: Map<number, number> }>();
        for (const { changes, full, keepOlder } of rounds) {
          for (const { key, value, sub } of changes) {
            const s = states[job.at(key)];
            const entry = model.get(key) ?? { v: undefined, m: new Map() };
            model.set(key, entry);
            if (value === null) s?.v.clear();
            else s?.v.set(value);
            entry.v = value ?? undefined;
            if (value === null) s?.m.delete(sub);
            else s?.m.set(sub, value);
            if (value === null) entry.m.delete(sub);
            else entry.m.set(sub, value);
          }
          await job.complete(full, keepOlder);
        }
        const read = await reader(blobs);
        const byKey = [...model].sort(([a], [b]) => a - b);
        for (const [key, { v, m }] of byKey) {
          const one = await read.read({ state: 'v', key: [key] });
          deepEqual(one.entries, v === undefined ? [] : [{ key: [key], value: v }]);
          const map = await read.read({ state: 'm', key: [key] });
          const pairs = [...m].sort(([a], [b]) => a - b);
          deepEqual(map.entries, pairs.length === 0 ? [] : [{ key: [key], value: pairs }]);
        }
        const within = byKey.filter(
          ([key, { v }]) => v !== undefined && (from === null || key >= from) && (to === null || key < to),
        );
        const query = { ...(from === null ? {} : { from: [from] }), ...(to === null ? {} : { to: [to] }), limit };
        const answer = await read.read({ state: 'v', ...query });
        deepEqual(
          answer.entries,
          within.slice(0, limit).map(([key, { v }]) => ({ key: [key], value: v })),
        );
        deepEqual(answer.next, within[limit] && [within[limit]?.[0]]);
      },
    ),
    { numRuns: 60 },
  );
});

it('queries go to the newest checkpoint while others are completed and collected', async () => {
  const { blobs, job, at } = await filled();
  const queries = new StateQueries({ store: blobs, ...options });
  const value = async () => {
    const { checkpoint, entries } = await queries.query({ state: 'single', key: ['a', 1] });
    return [checkpoint, entries[0]?.value];
  };
  deepEqual(await value(), [1, 2 ** 40 + 1]);
  for (let round = 2; round < 6; round++) {
    at('a', 1).single.set(round);
    const asked = Promise.all(Array.from({ length: 5 }, value));
    await job.complete(round % 2 === 0);
    for (const [checkpoint, seen] of await asked)
      ok(checkpoint === round ? seen === round : seen === (round === 2 ? 2 ** 40 + 1 : round - 1));
    deepEqual(await value(), [round, round]);
  }
  equal((await queries.states()).checkpoint, 5);
});

it('a checkpoint that is collected amid a query is asked for again; damage is told as damage', async () => {
  class Interrupted extends MemoryBlobStore {
    meanwhile: (() => Promise<void>) | undefined;

    override async get(
      name: string,
      range?: { readonly offset: number; readonly length: number },
    ): Promise<Uint8Array> {
      const act = this.meanwhile;
      this.meanwhile = undefined;
      await act?.();
      return await super.get(name, range);
    }
  }
  const blobs = new Interrupted();
  const { job, at } = await filled(blobs);
  const queries = new StateQueries({ store: blobs, ...options });
  blobs.meanwhile = async () => {
    at('a', 1).single.set(7);
    await job.complete(true);
  };
  const { checkpoint, entries } = await queries.query({ state: 'single', key: ['a', 1] });
  deepEqual([checkpoint, entries[0]?.value], [2, 7]);
  for (const name of await blobs.list('segments/')) await blobs.delete(name);
  const fresh = new StateQueries({ store: blobs, ...options });
  await rejects(fresh.query({ state: 'single', key: ['a', 1] }), { code: 'SEGMENT_CORRUPT', message: /missing/ });
});

it('an answer that grows large ends early and says where to go on; others have their turn meanwhile', async () => {
  const blobs = new MemoryBlobStore();
  const job = await CheckpointedStates.open(blobs, 2, ['float64']);
  const states = job.tasks.map(({ keyed }) => keyed.open({ v: valueState('utf8') }));
  const keys = [Number.NEGATIVE_INFINITY, ...Array.from({ length: 600 }, (_, k) => k / 2), Number.POSITIVE_INFINITY];
  for (const key of keys) states[job.at(key)]?.v.set('x'.repeat(10_000));
  await job.complete();
  let breaths = 0;
  const breathe = async () => void breaths++;
  const read = await StateReader.open(blobs, (await readHead(blobs))?.head.latest as never, { ...options, breathe });
  const pages: number[] = [];
  const found: unknown[] = [];
  for (let from: QueryKey | undefined; ; ) {
    const { entries, next } = await read.read({ state: 'v', limit: 10_000, ...(from === undefined ? {} : { from }) });
    pages.push(entries.length);
    found.push(...entries.map(({ key }) => (key as Value[])[0]));
    if (next === undefined) break;
    from = JSON.stringify(next);
  }
  deepEqual(found, ['-Infinity', ...keys.slice(1, -1), 'Infinity']);
  deepEqual(pages.length, 2);
  equal(breaths, 1);
  const last = await read.read({ state: 'v', from: '["Infinity"]' });
  equal(last.entries.length, 1);
});

it('more queries at once than are allowed are refused, and let in again later', async () => {
  const { blobs } = await filled();
  const queries = new StateQueries({ store: blobs, ...options, queriesMax: 2 });
  const ask = () => queries.query({ state: 'single', key: ['a', 1] });
  const asked = [ask(), ask()];
  await rejects(ask(), { code: 'QUERIES_BUSY', kind: 'unavailable' });
  await rejects(queries.states(), { code: 'QUERIES_BUSY' });
  await Promise.all(asked);
  equal((await ask()).checkpoint, 1);
});

it('no checkpoint is told from no state', async () => {
  const queries = new StateQueries({ store: new MemoryBlobStore(), ...options });
  await rejects(queries.query({ state: 'a', key: 'a' }), { code: 'NO_CHECKPOINT', kind: 'unavailable' });
});
