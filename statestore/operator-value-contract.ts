import { deepEqual, equal } from 'node:assert/strict';
import type { KeyGroupRange, StateStore } from './spi.js';
import type { MakeStateStore, StateStoreContractCase } from './state-store-contract-case.js';

const all: KeyGroupRange = { first: 0, last: 127 };
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const read = (store: StateStore, name: string) => {
  const value = store.operatorValue(name).get();
  return value && Buffer.from(value).toString();
};

function restored(make: MakeStateStore, segments: readonly Uint8Array[], range = all): StateStore {
  const store = make(range);
  store.restore(segments);
  return store;
}

/** What is not keyed: set, removed, listed, in a delta on its own, and from several owners. */
export const operatorValueContract: readonly StateStoreContractCase[] = [
  {
    name: 'an operator value that changes alone makes a segment that counts (it was left out of the checkpoint)',
    run(make) {
      const store = make(all);
      equal(store.snapshot(1).empty, false, 'the first segment is full');
      store.completed(1);
      equal(store.snapshot(2).empty, true);
      store.completed(2);
      store.operatorValue('offset').set(bytes('41'));
      const third = store.snapshot(3);
      deepEqual([third.full, third.entries, third.empty], [false, 0, false]);
      store.aborted(3);
      const fourth = store.snapshot(4);
      equal(fourth.empty, false, 'an aborted one is still to be stored');
      store.completed(4);
      equal(store.snapshot(5).empty, true);
      equal(read(restored(make, [fourth.bytes]), 'offset'), '41');
    },
  },
  {
    name: 'a removed operator value is gone, also after a restore, and leaves nothing in a full segment',
    run(make) {
      const store = make(all);
      const empty = store.snapshot(1, { full: true }).bytes.length;
      store.completed(1);
      store.operatorValue('offset').set(bytes('41'));
      store.operatorValue('kept').set(bytes('7'));
      deepEqual(store.operatorNames(), ['kept', 'offset']);
      const chain = [store.snapshot(2, { full: true }).bytes];
      store.completed(2);
      store.operatorValue('offset').remove();
      store.operatorValue('never-set').remove();
      deepEqual([read(store, 'offset'), store.operatorNames()], [undefined, ['kept']]);
      const delta = store.snapshot(3);
      deepEqual([delta.full, delta.empty], [false, false]);
      chain.push(delta.bytes);
      const copy = restored(make, chain);
      deepEqual([read(copy, 'offset'), read(copy, 'kept'), copy.operatorNames()], [undefined, '7', ['kept']]);
      store.completed(3);
      store.operatorValue('kept').remove();
      equal(store.snapshot(4, { full: true }).bytes.length, empty);
      store.operatorValue('offset').set(bytes('42'));
      equal(read(restored(make, [...chain, store.snapshot(5).bytes]), 'offset'), '42');
    },
  },
  {
    name: 'operator values of several owners come together by name',
    run(make) {
      const halves = [
        { first: 0, last: 63 },
        { first: 64, last: 127 },
      ].map((range, i) => {
        const store = make(range);
        store.operatorValue(`of-${i}`).set(bytes(`${i}`));
        store.operatorValue('of-both').set(bytes('same'));
        return store.snapshot(1).bytes;
      });
      for (const order of [halves, halves.toReversed()]) {
        const whole = restored(make, order);
        deepEqual(whole.operatorNames(), ['of-0', 'of-1', 'of-both']);
        deepEqual([read(whole, 'of-0'), read(whole, 'of-1'), read(whole, 'of-both')], ['0', '1', 'same']);
        // Those who own none of a segment's key groups are told what is not keyed, too.
        const narrow = restored(make, order, { first: 64, last: 64 });
        deepEqual([read(narrow, 'of-0'), narrow.stats().entries], ['0', 0]);
      }
    },
  },
];
