import { deepEqual, equal } from 'node:assert/strict';
import type { KeyGroupRange, StateStore } from '../spi.js';
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
    async run(make) {
      const store = make(all);
      equal((await store.snapshot(1).segment).empty, false, 'the first segment is full');
      store.completed(1);
      equal((await store.snapshot(2).segment).empty, true);
      store.completed(2);
      store.operatorValue('offset').set(bytes('41'));
      const third = await store.snapshot(3).segment;
      deepEqual([third.full, third.entries, third.empty], [false, 0, false]);
      store.aborted(3);
      const fourth = await store.snapshot(4).segment;
      equal(fourth.empty, false, 'an aborted one is still to be stored');
      store.completed(4);
      equal((await store.snapshot(5).segment).empty, true);
      equal(read(restored(make, [fourth.bytes]), 'offset'), '41');
    },
  },
  {
    name: 'a removed operator value is gone, also after a restore, and leaves nothing in a full segment',
    async run(make) {
      const store = make(all);
      const empty = (await store.snapshot(1, { full: true }).segment).bytes.length;
      store.completed(1);
      store.operatorValue('offset').set(bytes('41'));
      store.operatorValue('kept').set(bytes('7'));
      deepEqual(store.operatorNames(), ['kept', 'offset']);
      const chain = [(await store.snapshot(2, { full: true }).segment).bytes];
      store.completed(2);
      store.operatorValue('offset').remove();
      store.operatorValue('never-set').remove();
      deepEqual([read(store, 'offset'), store.operatorNames()], [undefined, ['kept']]);
      const delta = await store.snapshot(3).segment;
      deepEqual([delta.full, delta.empty], [false, false]);
      chain.push(delta.bytes);
      const copy = restored(make, chain);
      deepEqual([read(copy, 'offset'), read(copy, 'kept'), copy.operatorNames()], [undefined, '7', ['kept']]);
      store.completed(3);
      store.operatorValue('kept').remove();
      equal((await store.snapshot(4, { full: true }).segment).bytes.length, empty);
      store.operatorValue('offset').set(bytes('42'));
      equal(read(restored(make, [...chain, (await store.snapshot(5).segment).bytes]), 'offset'), '42');
    },
  },
  {
    name: 'operator values of several owners come together by name',
    async run(make) {
      const halves: Uint8Array[] = [];
      for (const [i, first] of [0, 64].entries()) {
        const store = make({ first, last: first + 63 });
        store.operatorValue(`of-${i}`).set(bytes(`${i}`));
        store.operatorValue('of-both').set(bytes('same'));
        halves.push((await store.snapshot(1).segment).bytes);
      }
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
