import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Trace } from './trace.js';

describe('Trace', () => {
  it('has another hash when anything in any entry is another, or their order', () => {
    const entries: [number, string, string, number | string][][] = [
      [],
      [[1, 'a', 'x', 0]],
      [[1.0000000000000002, 'a', 'x', 0]],
      [[1, 'b', 'x', 0]],
      [[1, 'a', 'y', 0]],
      [[1, 'a', 'x', 1]],
      [[1, 'a', 'x', 2 ** 40]],
      [[1, 'a', 'x', 'text']],
      [
        [1, 'a', 'x', 0],
        [1, 'b', 'x', 0],
      ],
      [
        [1, 'b', 'x', 0],
        [1, 'a', 'x', 0],
      ],
    ];
    const hashes = entries.map((list) => {
      const trace = new Trace();
      for (const entry of list) trace.record(...entry);
      return trace.hash;
    });
    assert.equal(new Set(hashes).size, entries.length, hashes.join());
  });

  it('keeps the last entries for printing, and counts all', () => {
    const trace = new Trace({ capacity: 10 });
    for (let i = 0; i < 95; i++) trace.record(i, 'a', 'x', i);
    assert.equal(trace.count, 95);
    assert.equal(trace.last(100).length, 10);
    assert.deepEqual(
      trace.last(2).map((line) => line.trim()),
      ['93       93.000 ms  a  x 93', '94       94.000 ms  a  x 94'],
    );
  });
});
