import { deepEqual, equal } from 'node:assert/strict';
import { it } from 'node:test';
import { FreeRecords } from './free-records.js';
import { recordLayout } from './record-layout.js';

const layout = recordLayout({
  keyBytes: 8,
  doubles: 0,
  payloadWords: 1,
  aligned: false,
  subKeys: false,
  range: { first: 0, last: 7 },
});

it('a record that was given back just now is good for a new entry, and for one from beneath only when that is settled', () => {
  const words = new Int32Array(100);
  const free = new FreeRecords();
  equal(free.take(words, layout), 0);
  free.give(3, false, words, layout);
  // Completed and gone on to, again and again: but not the generation in which it was given back.
  for (let settled = 1; settled < 5; settled++) free.settle(settled, 7, words, layout);
  equal(free.takeSettled(words, layout), 0);
  free.give(4, false, words, layout);
  free.settle(7, 9, words, layout);
  equal(free.takeSettled(words, layout), 3);
  equal(free.takeSettled(words, layout), 0);
  free.settle(9, 10, words, layout);
  equal(free.takeSettled(words, layout), 4);
});

it('each record that was given back is given out once', () => {
  const words = new Int32Array(100);
  const free = new FreeRecords();
  free.give(1, true, words, layout);
  free.give(2, false, words, layout);
  free.settle(1, 2, words, layout);
  free.give(3, false, words, layout);
  free.give(4, false, words, layout);
  free.settle(3, 4, words, layout);
  free.give(5, false, words, layout);
  const taken = Array.from({ length: 6 }, () => free.take(words, layout));
  deepEqual(taken.toSorted(), [0, 1, 2, 3, 4, 5]);
});
