import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MillraceError } from '../../base/index.js';
import { MemoryDisk } from './memory-disk.test.support.js';
import { readBatches, readRows, sourceContext } from './read-source.test.support.js';
import { rows } from './rows.js';

const disk = new MemoryDisk();
const schema = { n: 'int32' } as const;

test('the subtasks share the rows: each row once, in order, whatever the parallelism and batch size', async () => {
  const inputs = [fc.nat(300), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 50 })] as const;
  await fc.assert(
    fc.asyncProperty(...inputs, async (count, parallelism, batchRows) => {
      const all: number[] = [];
      for (let subtask = 0; subtask < parallelism; subtask++) {
        const source = rows(schema, (n) => ({ n }), { count });
        for (const { n } of await readRows(source, { disk, subtask, parallelism, batchRows })) all.push(n);
      }
      assert.deepEqual(
        all,
        Array.from({ length: count }, (_, i) => i),
      );
    }),
  );
});

test('from every position on come the same batches, byte for byte', async () => {
  const source = rows(
    schema,
    Array.from({ length: 95 }, (_, n) => ({ n: n * n })),
  );
  for (const subtask of [0, 1]) {
    const all = await readBatches(source, { disk, subtask, parallelism: 2, batchRows: 10 });
    assert.equal(all.length, 5);
    for (const [i, { position }] of all.entries()) {
      const rest = await readBatches(source, { disk, subtask, parallelism: 2, batchRows: 10, position });
      assert.deepEqual(rest, all.slice(i), position);
    }
  }
});

test('a position of another subtask, and a count that is none, are refused', async () => {
  const invalid = (code: string) => (e: unknown) => e instanceof MillraceError && e.code === code;
  const source = rows(schema, [{ n: 1 }, { n: 2 }]);
  const context = sourceContext({ disk, subtask: 1, parallelism: 2, position: '{"row":0}' });
  await assert.rejects(source.open(context), invalid('POSITION_INVALID'));
  assert.throws(() => rows(schema, (n) => ({ n }), { count: -1 }), invalid('OPTION_INVALID'));
});
