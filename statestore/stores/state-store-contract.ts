import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import type { KeyGroupRange, StateStore } from '../spi.js';
import { tableScanContract } from '../tables/table-scan-contract.js';
import { barrierContract } from './barrier-contract.js';
import { interchangeContract } from './interchange-contract.js';
import { keyedRowsContract } from './keyed-rows-contract.js';
import { operatorValueContract } from './operator-value-contract.js';
import type { MakeStateStore, StateStoreContractCase } from './state-store-contract-case.js';

const all: KeyGroupRange = { first: 0, last: 127 };
const key = (text: string) => new Uint8Array(Buffer.from(text));
const none = key('');
const a = key('a');
const long = key('a key that does not fit into twelve bytes');

/** Value of lane 0 or undefined. */
function lane(store: StateStore, k: Uint8Array, namespace = 0, group = 1): number | undefined {
  const table = store.laneTable('sums', 2);
  const slot = table.find(group, 7, k, namespace);
  return slot < 0 ? undefined : table.values[slot];
}

function setLane(store: StateStore, k: Uint8Array, value: number, namespace = 0, group = 1): void {
  const table = store.laneTable('sums', 2);
  const slot = table.upsert(group, 7, k, namespace);
  table.values[slot] = value;
}

function removeLane(store: StateStore, k: Uint8Array, namespace = 0, group = 1): void {
  const table = store.laneTable('sums', 2);
  table.remove(table.find(group, 7, k, namespace));
}

function restored(make: MakeStateStore, segments: readonly Uint8Array[], range = all): StateStore {
  const store = make(range);
  store.restore(segments);
  return store;
}

/** What every StateStore must do, apart from the property test, which needs fast-check. */
export const stateStoreContract: readonly StateStoreContractCase[] = [
  {
    name: 'lanes: zeroed when new, found by key group, key and namespace, gone when removed, zeroed again',
    async run(make) {
      const table = make(all).laneTable('sums', 2);
      for (const k of [a, long, none]) {
        const slot = table.upsert(1, 7, k, 60_000);
        ok(table.created);
        deepEqual([...table.values.subarray(slot, slot + 2)], [0, 0]);
        table.values[slot + 1] = 5;
        equal(table.upsert(1, 7, k, 60_000), slot);
        ok(!table.created);
        deepEqual([table.find(2, 7, k, 60_000), table.find(1, 7, k, 0)], [-1, -1]);
        deepEqual([...table.keyOf(slot)], [...k]);
        table.remove(slot);
        equal(table.find(1, 7, k, 60_000), -1);
        equal(table.size, 0);
        const again = table.upsert(1, 7, k, 60_000);
        equal(table.values[again + 1], 0);
        table.remove(again);
      }
    },
  },
  {
    name: 'bytes: values of any size by key and sub key; the entries of a key in order of the sub key',
    async run(make) {
      const table = make(all).byteTable('map');
      table.put(1, 7, a, none, key('plain'));
      for (const sub of ['b', '', 'ab', 'a', 'B']) table.put(1, 7, long, key(sub), key(`${sub}!`));
      table.put(1, 7, long, key('ab'), new Uint8Array(5000).fill(3));
      deepEqual(
        table.entries(1, 7, long).map(([sub, value]) => [Buffer.from(sub).toString(), value.length]),
        [
          ['', 1],
          ['B', 2],
          ['a', 2],
          ['ab', 5000],
          ['b', 2],
        ],
      );
      table.remove(1, 7, long, key('a'));
      table.remove(1, 7, long, key('nothing'));
      equal(table.get(1, 7, long, key('a')), undefined);
      equal(table.entries(1, 7, long).length, 4);
      deepEqual(table.entries(2, 7, long), []);
      equal(table.size, 5);
      equal(Buffer.from(table.get(1, 7, a, none) ?? none).toString(), 'plain');
      const copy = table.get(1, 7, a, none) as Uint8Array;
      copy[0] = 0;
      equal(table.get(1, 7, a, none)?.[0], 112);
    },
  },
  {
    name: 'bytes: key and sub key are not confused ("ab" + "c" is not "a" + "bc")',
    async run(make) {
      const table = make(all).byteTable('map');
      table.put(1, 7, key('ab'), key('c'), key('1'));
      equal(table.get(1, 7, key('a'), key('bc')), undefined);
      table.put(1, 7, key('a'), key('bc'), key('2'));
      equal(table.size, 2);
    },
  },
  {
    name: 'timers fire once, by time, key group, key and namespace',
    async run(make) {
      const timers = make(all).timers('windows');
      equal(timers.next, Number.POSITIVE_INFINITY);
      const set: [number, number, Uint8Array, number][] = [
        [20, 1, a, 0],
        [10, 2, a, 0],
        [10, 1, key('b'), 0],
        [10, 1, a, 5],
        [10, 1, a, -5],
        [10, 1, a, 5],
        [30, 1, long, 0],
      ];
      for (const [time, group, k, namespace] of set) timers.add(time, group, 7, k, namespace);
      timers.remove(30, 1, 7, long, 0);
      timers.remove(31, 1, 7, long, 0);
      equal(timers.size, 5);
      equal(timers.next, 10);
      const due = (upTo: number, count: number) =>
        timers.due(upTo, count).map((t) => [t.time, t.keyGroup, t.namespace]);
      deepEqual([due(9, 5), due(20, 0)], [[], []]);
      deepEqual(due(20, 3), [
        [10, 1, -5],
        [10, 1, 5],
        [10, 1, 0],
      ]);
      deepEqual([due(10, 9).length, due(30, 9).length], [4, 5]);
      const fired: unknown[] = [];
      for (let t = timers.pop(10); t !== undefined; t = timers.pop(10)) {
        fired.push([t.time, t.keyGroup, Buffer.from(t.key).toString(), t.namespace, t.hash]);
      }
      deepEqual(fired, [
        [10, 1, 'a', -5, 7],
        [10, 1, 'a', 5, 7],
        [10, 1, 'b', 0, 7],
        [10, 2, 'a', 0, 7],
      ]);
      equal(timers.pop(19), undefined);
      equal(timers.pop(Number.POSITIVE_INFINITY)?.time, 20);
      equal(timers.pop(Number.POSITIVE_INFINITY), undefined);
    },
  },
  {
    name: 'everything comes back from a full segment and deltas',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      store.byteTable('map').put(1, 7, a, key('x'), key('value'));
      store.timers('windows').add(10, 1, 7, a, 0);
      store.operatorValue('offset').set(key('41'));
      const chain = [await store.snapshot(1).segment];
      ok(chain[0]?.full);
      store.completed(1);
      setLane(store, a, 2);
      setLane(store, long, 3);
      store.byteTable('map').remove(1, 7, a, key('x'));
      store.timers('windows').pop(10);
      store.timers('windows').add(11, 1, 7, a, 0);
      store.operatorValue('offset').set(key('42'));
      chain.push(await store.snapshot(2).segment);
      equal(chain[1]?.full, false);
      const copy = restored(
        make,
        chain.map((s) => s.bytes),
      );
      deepEqual([lane(copy, a), lane(copy, long)], [2, 3]);
      equal(copy.byteTable('map').size, 0);
      equal(copy.timers('windows').size, 1);
      equal(copy.timers('windows').next, 11);
      equal(Buffer.from(copy.operatorValue('offset').get() ?? none).toString(), '42');
      equal(copy.stats().entries, 3);
    },
  },
  {
    name: 'a delta holds only what changed since the newest completed snapshot',
    async run(make) {
      const store = make(all);
      for (let i = 0; i < 100; i++) setLane(store, key(`k${i}`), i);
      equal((await store.snapshot(1).segment).entries, 100);
      store.completed(1);
      equal((await store.snapshot(2).segment).entries, 0);
      store.completed(2);
      setLane(store, key('k5'), 0);
      const table = store.laneTable('sums', 2);
      table.touch(table.find(1, 7, key('k6'), 0));
      table.find(1, 7, key('k7'), 0);
      equal((await store.snapshot(3).segment).entries, 2);
    },
  },
  {
    name: 'put-then-delete within an interval costs nothing',
    async run(make) {
      const store = make(all);
      setLane(store, long, 1);
      await store.snapshot(1).segment;
      store.completed(1);
      const empty = (await store.snapshot(2).segment).bytes.length;
      store.completed(2);
      for (let window = 0; window < 1000; window++) {
        setLane(store, a, 1, window);
        removeLane(store, a, window);
        store.byteTable('sums-map').put(1, 7, a, key('s'), long);
        store.byteTable('sums-map').remove(1, 7, a, key('s'));
        store.timers('windows').add(window, 1, 7, a, 0);
        store.timers('windows').pop(window);
      }
      const segment = await store.snapshot(3).segment;
      equal(segment.entries, 0);
      for (let again = 0; again < 3; again++) {
        setLane(store, a, 1);
        removeLane(store, a);
      }
      setLane(store, a, 1);
      equal((await store.snapshot(4).segment).entries, 1);
      ok(segment.bytes.length < empty + 64);
      equal(store.stats().entries, 2);
    },
  },
  {
    name: 'aborted changes are in the next snapshot',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      setLane(store, long, 1);
      const first = (await store.snapshot(1).segment).bytes;
      store.completed(1);
      setLane(store, a, 2);
      removeLane(store, long);
      store.operatorValue('offset').set(key('42'));
      equal((await store.snapshot(2).segment).entries, 2);
      store.aborted(2);
      setLane(store, key('b'), 3);
      const third = await store.snapshot(3).segment;
      equal(third.entries, 3);
      const copy = restored(make, [first, third.bytes]);
      deepEqual([lane(copy, a), lane(copy, long), lane(copy, key('b'))], [2, undefined, 3]);
      equal(Buffer.from(copy.operatorValue('offset').get() ?? none).toString(), '42');
    },
  },
  {
    name: 'an entry removed while its creation is in a pending snapshot leaves a tombstone',
    async run(make) {
      const store = make(all);
      const first = (await store.snapshot(1).segment).bytes;
      store.completed(1);
      setLane(store, a, 1);
      const pending = (await store.snapshot(2).segment).bytes;
      removeLane(store, a);
      store.completed(2);
      const third = await store.snapshot(3).segment;
      equal(third.entries, 1);
      equal(lane(restored(make, [first, pending]), a), 1);
      equal(lane(restored(make, [first, pending, third.bytes]), a), undefined);
    },
  },
  {
    name: 'aborting one pending snapshot does not forget that another may hold an entry',
    async run(make) {
      const store = make(all);
      setLane(store, long, 1);
      const first = (await store.snapshot(1).segment).bytes;
      store.completed(1);
      setLane(store, a, 1);
      const second = (await store.snapshot(2).segment).bytes;
      await store.snapshot(3).segment;
      store.aborted(3);
      removeLane(store, a);
      store.completed(2);
      const fourth = (await store.snapshot(4).segment).bytes;
      equal(lane(restored(make, [first, second, fourth]), a), undefined);
    },
  },
  {
    name: 'an entry whose only snapshot was aborted leaves no tombstone',
    async run(make) {
      const store = make(all);
      await store.snapshot(1).segment;
      store.completed(1);
      setLane(store, a, 1);
      setLane(store, long, 1);
      await store.snapshot(2).segment;
      removeLane(store, a);
      store.aborted(2);
      removeLane(store, long);
      equal((await store.snapshot(3).segment).entries, 0);
    },
  },
  {
    name: 'a tombstone is written until its checkpoint completes, and then no more',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      await store.snapshot(1).segment;
      store.completed(1);
      removeLane(store, a);
      equal((await store.snapshot(2).segment).entries, 1);
      store.aborted(2);
      equal((await store.snapshot(3).segment).entries, 1);
      store.completed(3);
      equal((await store.snapshot(4).segment).entries, 0);
    },
  },
  {
    name: 'an entry that comes back after its removal starts at zero and survives',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      const chain = [(await store.snapshot(1).segment).bytes];
      store.completed(1);
      removeLane(store, a);
      const table = store.laneTable('sums', 2);
      const slot = table.upsert(1, 7, a, 0);
      ok(table.created);
      deepEqual([table.values[slot], table.size], [0, 1]);
      chain.push((await store.snapshot(2).segment).bytes);
      equal(lane(restored(make, chain), a), 0);
    },
  },
  {
    name: 'of several pending snapshots any one may complete: each holds all changes since the newest completed one',
    async run(make) {
      for (const done of [2, 3, 4]) {
        const store = make(all);
        setLane(store, long, 9);
        const segments = [(await store.snapshot(1).segment).bytes];
        store.completed(1);
        for (let id = 2; id <= 4; id++) {
          setLane(store, key(`k${id}`), id);
          if (id === 3) removeLane(store, key('k2'));
          segments.push((await store.snapshot(id).segment).bytes);
        }
        store.completed(done);
        // Those before it are superseded; what is said about them later changes nothing.
        if (done !== 3) store.aborted(2);
        store.completed(2);
        equal((await store.snapshot(9).segment).entries, { 2: 3, 3: 1, 4: 0 }[done]);
        store.aborted(9);
        const copy = restored(make, [segments[0] as Uint8Array, segments[done - 1] as Uint8Array]);
        equal(lane(copy, key('k2')), done === 2 ? 2 : undefined);
        equal(lane(copy, key('k3')), done >= 3 ? 3 : undefined);
        const next = (await store.snapshot(5).segment).bytes;
        const chain = [segments[0], segments[done - 1], next] as Uint8Array[];
        const latest = restored(make, chain);
        deepEqual([lane(latest, key('k2')), lane(latest, key('k3')), lane(latest, key('k4'))], [undefined, 3, 4]);
      }
    },
  },
  {
    name: 'a full segment stands alone, on request and when the chain has grown to 16',
    async run(make) {
      const store = make(all);
      for (let i = 0; i < 1000; i++) setLane(store, key(`k${i}`), i);
      const first = await store.snapshot(1).segment;
      store.completed(1);
      removeLane(store, key('k0'));
      const full = await store.snapshot(2, { full: true }).segment;
      deepEqual([full.full, full.entries], [true, 999]);
      store.completed(2);
      const copy = restored(make, [full.bytes]);
      deepEqual([lane(copy, key('k0')), lane(copy, key('k999')), copy.stats().entries], [undefined, 999, 999]);
      const replaced = restored(make, [first.bytes, full.bytes]);
      deepEqual([lane(replaced, key('k0')), replaced.stats().entries], [undefined, 999]);
      const fulls: boolean[] = [];
      for (let id = 3; id <= 19; id++) {
        setLane(store, key('k1'), id);
        fulls.push((await store.snapshot(id).segment).full);
        store.completed(id);
      }
      deepEqual(fulls, [...Array(15).fill(false), true, false]);
    },
  },
  {
    name: 'restore at other parallelism reads only its key groups (FLINK-16576)',
    async run(make) {
      const store = make(all);
      const groups = [0, 1, 63, 64, 126, 127];
      for (const group of groups) {
        setLane(store, a, group + 1, 0, group);
        store.byteTable('map').put(group, 7, a, none, Uint8Array.of(group));
        store.timers('windows').add(5, group, 7, a, 0);
      }
      const chain = [(await store.snapshot(1).segment).bytes];
      store.completed(1);
      setLane(store, a, 1000, 0, 63);
      removeLane(store, a, 0, 64);
      chain.push((await store.snapshot(2).segment).bytes);
      const halves = [
        { first: 0, last: 63 },
        { first: 64, last: 127 },
      ].map((range) => restored(make, chain, range));
      deepEqual(
        halves.map((h) => [h.laneTable('sums', 2).size, h.byteTable('map').size, h.timers('windows').size]),
        [
          [3, 3, 3],
          [2, 3, 3],
        ],
      );
      // Each begins a chain of its own, so that the two can be put together again in any order.
      const parts: Uint8Array[] = [];
      for (const [i, half] of halves.entries()) {
        setLane(half, long, i, 0, i * 127);
        const segment = await half.snapshot(3).segment;
        ok(segment.full);
        parts.push(segment.bytes);
      }
      for (const order of [parts, parts.toReversed()]) {
        const whole = restored(make, order);
        deepEqual(
          groups.map((g) => lane(whole, a, 0, g)),
          [1, 2, 1000, undefined, 127, 128],
        );
        deepEqual([lane(whole, long, 0, 0), lane(whole, long, 0, 127)], [0, 1]);
        equal(whole.timers('windows').size, 6);
      }
    },
  },
  {
    name: 'a restored store goes on with the chain it was restored from',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      setLane(store, long, 1);
      setLane(store, key('b'), 1);
      const chain = [(await store.snapshot(1).segment).bytes];
      const copy = restored(make, chain);
      removeLane(copy, a);
      setLane(copy, long, 2);
      const next = await copy.snapshot(2).segment;
      deepEqual([next.full, next.entries], [false, 2]);
      const third = restored(make, [...chain, next.bytes]);
      deepEqual([lane(third, a), lane(third, long), lane(third, key('b'))], [undefined, 2, 1]);
    },
  },
  {
    name: 'the same state gives the same bytes, whatever the order it was made in',
    async run(make) {
      const keys = Array.from({ length: 300 }, (_, i) => key(`${i % 7}-a rather long key-${i}`));
      const fill = async (order: readonly Uint8Array[]) => {
        const store = make(all);
        for (const k of order) {
          setLane(store, k, Number.NaN, k.length, k.length);
          store.byteTable('map').put(2, 7, a, k, k);
          store.timers('t').add(1, 2, 7, k, 0);
        }
        return Buffer.from((await store.snapshot(1).segment).bytes).toString('hex');
      };
      ok((await fill(keys)) === (await fill(keys.toReversed())));
    },
  },
  {
    name: 'a damaged segment is refused, at whatever byte',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      store.operatorValue('offset').set(key('42'));
      const { bytes } = await store.snapshot(1).segment;
      for (let at = 0; at < bytes.length; at++) {
        const damaged = bytes.slice();
        damaged[at] = (damaged[at] as number) ^ 0x10;
        throws(() => restored(make, [damaged]), { code: 'SEGMENT_CORRUPT', kind: 'corrupt' }, `byte ${at}`);
        throws(() => restored(make, [bytes.subarray(0, at)]), { code: 'SEGMENT_CORRUPT', kind: 'corrupt' });
      }
    },
  },
  {
    name: 'a state that is something else than before is refused by name',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      const { bytes } = await store.snapshot(1).segment;
      const expected = { code: 'STATE_INCOMPATIBLE', kind: 'invalid', message: /"sums"/ } as const;
      throws(() => restored(make, [bytes]).laneTable('sums', 3), expected);
      throws(() => restored(make, [bytes]).byteTable('sums'), expected);
      const declared = make(all);
      declared.timers('sums');
      throws(() => declared.restore([bytes]), expected);
    },
  },
  {
    name: 'state that the job does not ask for is not lost',
    async run(make) {
      const store = make(all);
      setLane(store, a, 1);
      store.operatorValue('offset').set(key('42'));
      const { bytes } = await store.snapshot(1).segment;
      const first = await restored(make, [bytes]).snapshot(2, { full: true }).segment;
      const second = restored(make, [first.bytes]);
      equal(lane(second, a), 1);
      equal(Buffer.from(second.operatorValue('offset').get() ?? none).toString(), '42');
    },
  },
  ...barrierContract,
  ...keyedRowsContract,
  ...interchangeContract,
  ...operatorValueContract,
  ...tableScanContract,
];
