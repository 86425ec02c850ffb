import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { hottest } from './hottest.js';

const missing = [
  { first: 0, last: 3 },
  { first: 6, last: 9 },
];

test('all that is missing comes at once when nobody asks for any of it', () => {
  deepEqual(hottest(missing, new Map([[4, 100]])), missing);
  deepEqual(hottest([], new Map()), []);
});

test('key groups that are asked for at least half as often as the hottest come first, in runs', () => {
  const heat = new Map([
    [1, 10],
    [2, 5],
    [3, 4],
    [4, 1000],
    [6, 20],
    [7, 10],
    [9, 9],
  ]);
  deepEqual(hottest(missing, heat), [
    { first: 1, last: 1 },
    { first: 6, last: 7 },
  ]);
});
