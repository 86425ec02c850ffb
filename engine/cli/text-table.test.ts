import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteSize } from './byte-size.js';
import { count, plural, textBar, textTable } from './text-table.js';

test('columns stand under each other, and no line ends in spaces', () => {
  const columns = [
    { title: 'name', align: 'left' },
    { title: 'n', align: 'right' },
    { title: '', align: 'left' },
  ] as const;
  assert.deepEqual(
    textTable(columns, [
      ['a', '1,000', ''],
      ['longer', '7', 'x'],
    ]),
    ['name        n', 'a       1,000', 'longer      7  x'],
  );
});

test('a bar is as long as its share; what is not nothing is seen', () => {
  assert.equal(textBar(0, 100), '');
  assert.equal(textBar(0, 0), '');
  assert.equal(textBar(1, 1e9), '█');
  assert.equal(textBar(50, 100).length * 2, textBar(100, 100).length);
});

test('numbers as people read them', () => {
  assert.deepEqual([0, 999, 1000, 1234567].map(count), ['0', '999', '1,000', '1,234,567']);
  assert.deepEqual(
    [plural(1, 'object'), plural(0, 'object'), plural(2, 'entry', 'entries')],
    ['1 object', '0 objects', '2 entries'],
  );
  assert.deepEqual([0, 999, 1500, 2.5e6, 3e9].map(byteSize), ['0 B', '999 B', '2 kB', '2.5 MB', '3.0 GB']);
});
