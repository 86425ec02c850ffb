import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidArgumentError } from 'commander';
import { parameter, wholeNumber } from './options.js';

test('whole numbers within bounds, and nothing that only looks like one', () => {
  const workers = wholeNumber(1, 8);
  assert.equal(workers('1'), 1);
  assert.equal(workers('08'), 8);
  for (const text of ['0', '9', '', ' 1', '1.5', '1e0', '-1', '+1', '0x1', 'two', 'NaN', '99999999999999999999']) {
    assert.throws(() => workers(text), InvalidArgumentError, text);
  }
  assert.throws(() => workers('0'), /whole number, 1 to 8/);
  assert.throws(() => wholeNumber(2)('1'), /2 or more/);
  assert.throws(() => wholeNumber(0)('99999999999999999999'), InvalidArgumentError);
});

test('parameters are collected; the last value of a name counts; a value may hold an equals sign or nothing', () => {
  const given = ['rows=1', 'out=a=b', 'empty=', 'rows=2'].reduce<Record<string, string>>(
    (all, text) => parameter(text, all),
    {},
  );
  assert.deepEqual(given, { rows: '2', out: 'a=b', empty: '' });
  for (const text of ['rows', '', '=1']) assert.throws(() => parameter(text), InvalidArgumentError, text);
});
