import { deepEqual } from 'node:assert/strict';
import type { KeyGroupRange, StateStore } from '../spi.js';
import type { MakeStateStore, StateStoreContractCase } from './state-store-contract-case.js';

const all: KeyGroupRange = { first: 0, last: 127 };
const key = (text: string) => new Uint8Array(Buffer.from(text));
const none = key('');
const a = key('a');
const long = key('a key that does not fit into a record, as long as it is');

function lane(store: StateStore, k: Uint8Array): number | undefined {
  const table = store.laneTable('sums', 2);
  const slot = table.find(1, 7, k, 0);
  return slot < 0 ? undefined : table.values[slot];
}

function setLane(store: StateStore, k: Uint8Array, value: number): void {
  const table = store.laneTable('sums', 2);
  const slot = table.upsert(1, 7, k, 0);
  table.values[slot] = value;
}

function removeLane(store: StateStore, k: Uint8Array): void {
  const table = store.laneTable('sums', 2);
  table.remove(table.find(1, 7, k, 0));
}

function restored(make: MakeStateStore, segments: readonly Uint8Array[]): StateStore {
  const store = make(all);
  store.restore(segments);
  return store;
}

/** What happens between a barrier and the moment when its segment is written. */
export const barrierContract: readonly StateStoreContractCase[] = [
  {
    name: 'a segment holds what was there at the barrier, whatever happens before it is written',
    async run(make) {
      const store = make(all);
      const map = store.byteTable('map');
      const timers = store.timers('windows');
      const offset = store.operatorValue('offset');
      for (let i = 0; i < 50; i++) {
        setLane(store, key(`k${i}`), i);
        map.put(1, 7, key(`k${i}`), key('s'), key(`value ${i}`));
        timers.add(i, 1, 7, long, 0);
      }
      offset.set(key('41'));
      const first = store.snapshot(1);
      for (let i = 0; i < 50; i++) {
        if (i % 3 === 0) removeLane(store, key(`k${i}`));
        else setLane(store, key(`k${i}`), -i);
        if (i % 3 === 0) map.remove(1, 7, key(`k${i}`), key('s'));
        else map.put(1, 7, key(`k${i}`), key('s'), key('new'));
        setLane(store, key(`new${i}`), i);
        timers.pop(25);
        timers.add(i + 100, 1, 7, a, 0);
      }
      offset.set(key('42'));
      const second = store.snapshot(2, { full: true });
      for (let i = 0; i < 50; i++) setLane(store, key(`new${i}`), 0);
      timers.pop(Number.POSITIVE_INFINITY);
      map.put(1, 7, key('k1'), key('s'), key('old'));
      const before = restored(make, [(await first.segment).bytes]);
      const after = restored(make, [(await second.segment).bytes]);
      for (let i = 0; i < 50; i++) {
        const text = (s: StateStore) => {
          const value = s.byteTable('map').get(1, 7, key(`k${i}`), key('s'));
          return value && Buffer.from(value).toString();
        };
        deepEqual([lane(before, key(`k${i}`)), text(before)], [i, `value ${i}`]);
        deepEqual([lane(before, key(`new${i}`)), lane(after, key(`new${i}`))], [undefined, i]);
        const removed = i % 3 === 0;
        deepEqual([lane(after, key(`k${i}`)), text(after)], removed ? [undefined, undefined] : [-i, 'new']);
      }
      deepEqual([before.timers('windows').next, before.timers('windows').size], [0, 50]);
      deepEqual([after.timers('windows').next, after.timers('windows').size], [26, 74]);
      const offsets = [before, after].map((s) => Buffer.from(s.operatorValue('offset').get() ?? none).toString());
      deepEqual(offsets, ['41', '42']);
    },
  },
];
