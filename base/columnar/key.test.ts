import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MillraceError } from '../errors.js';
import { columnSpec, type PlainRow, stored, table, valueFor } from './arbitrary-rows.test.support.js';
import { Batch } from './batch.js';
import { BatchBuilder } from './batch-builder.js';
import { decodeKeyValues, encodeKeyValues } from './key-encoding.js';
import { KeyExtractor } from './key-extractor.js';
import { keyGroupOf, keyGroupRange, subtaskOfKeyGroup } from './key-group.js';
import { hashKey } from './key-hash.js';
import { KeyRows } from './key-rows.js';
import { type CompiledSchema, compileSchema, type Value } from './schema.js';

function batchOf(schema: CompiledSchema, rows: readonly PlainRow[]): Batch {
  const builder = new BatchBuilder(schema, { rowsMax: 1000, bytesMax: 1 << 24 });
  for (const row of rows) builder.append(row);
  return Batch.decode(schema, builder.finish().slice());
}

/** What a value is as part of a key: -0 is 0. */
const asKey = (value: Value): Value => (Object.is(value, -0) ? 0 : stored(value));

/** The order that keys promise, from its definition. */
function compareValues(a: Value, b: Value): number {
  if (a === null || b === null) return (a === null ? 0 : 1) - (b === null ? 0 : 1);
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  if (typeof a === 'boolean') return Number(a) - Number(b);
  if (Number.isNaN(a) || Number.isNaN(b)) return (Number.isNaN(a) ? 1 : 0) - (Number.isNaN(b) ? 1 : 0);
  return a < (b as number) ? -1 : a > (b as number) ? 1 : 0;
}

test('keys are ordered bytewise as their values, column by column, and decode to them', () => {
  const pair = fc
    .array(columnSpec, { minLength: 1, maxLength: 3 })
    .chain((specs) => {
      const tuple = fc.tuple(...specs.map(valueFor));
      // Equal prefixes matter: take some values of the first key over into the second.
      const other = fc.tuple(tuple, fc.array(fc.boolean(), { minLength: specs.length, maxLength: specs.length }));
      return fc.tuple(fc.constant(specs), tuple, other);
    })
    .map(([specs, a, [b, same]]) => ({ specs, a, b: b.map((value, i) => (same[i] ? (a[i] as Value) : value)) }));
  fc.assert(
    fc.property(pair, ({ specs, a, b }) => {
      const types = specs.map((spec) => spec.replace('?', '') as never);
      const keyA = encodeKeyValues(types, a);
      const keyB = encodeKeyValues(types, b);
      assert.deepEqual(decodeKeyValues(keyA), a.map(asKey));
      const differing = a.findIndex((value, i) => compareValues(value, b[i] as Value) !== 0);
      const expected = differing < 0 ? 0 : compareValues(a[differing] as Value, b[differing] as Value);
      assert.equal(Buffer.compare(keyA, keyB), Math.sign(expected));
    }),
    { numRuns: 3000 },
  );
});

test('a row has one key and one hash: from the columns, from plain values, from the bytes, in any batch', () => {
  const keyRows = new KeyRows();
  fc.assert(
    fc.property(table(), fc.nat(), ({ schema, rows }, pick) => {
      const compiled = compileSchema(schema);
      const names = compiled.columns.map((c) => c.name);
      const columns = [...names.slice(pick % names.length), ...names.slice(0, pick % names.length)];
      const extractor = new KeyExtractor(compiled, columns);
      const forward = batchOf(compiled, rows);
      const backward = batchOf(compiled, [...rows].reverse());
      const hashes = new Uint32Array(rows.length + 1);
      const reversed = new Uint32Array(rows.length);
      extractor.hashes(forward, hashes);
      extractor.hashes(backward, reversed);
      assert.equal(hashes[rows.length], 0, 'written beyond the rows');
      assert.deepEqual(reversed.reverse(), hashes.subarray(0, rows.length));
      rows.forEach((row, i) => {
        const values = columns.map((name) => row[name] as Value);
        const key = extractor.encode(forward, i);
        assert.deepEqual(key, encodeKeyValues(extractor.types, values));
        assert.equal(hashKey(key), hashes[i]);
        assert.deepEqual(extractor.decode(key), values.map(asKey));
      });
      for (const batch of [backward, forward]) {
        extractor.rows(batch, 128, keyRows);
        assert.equal(keyRows.rows, rows.length);
        for (let row = 0; row < rows.length; row++) {
          const key = keyRows.keys.slice(keyRows.offsets[row], keyRows.offsets[row + 1]);
          assert.deepEqual(key, extractor.encode(batch, row));
          assert.equal(hashKey(key), keyRows.hashes[row]);
          assert.equal(keyGroupOf(hashKey(key), 128), keyRows.keyGroups[row]);
        }
        assert.ok((keyRows.offsets[rows.length] as number) + 8 <= keyRows.keys.length);
        assert.equal(keyRows.view.buffer, keyRows.keys.buffer);
      }
    }),
    { numRuns: 400 },
  );
});

test('-0 and 0, and every NaN, are one key; null is a key of its own', () => {
  const schema = compileSchema({ n: 'float64?' });
  const batch = batchOf(schema, [{ n: 0 }, { n: -0 }, { n: Number.NaN }, { n: Number.NaN }, { n: null }]);
  batch.column(0).words.set([1, 0xfff00000 | 0], 6);
  const extractor = new KeyExtractor(schema, ['n']);
  const hashes = new Uint32Array(5);
  extractor.hashes(batch, hashes);
  const keys = [0, 1, 2, 3, 4].map((row) => Buffer.from(extractor.encode(batch, row)).toString('hex'));
  for (const [a, b] of [
    [0, 1],
    [2, 3],
  ] as const) {
    assert.equal(hashes[a], hashes[b]);
    assert.equal(keys[a], keys[b]);
  }
  assert.equal(new Set(hashes).size, 3);
  assert.equal(new Set(keys).size, 3);
});

test('hashes spread: of small integers and strings in sequence, key groups and low bits are evenly used', () => {
  const schema = compileSchema({ n: 'int32', s: 'utf8' });
  const rows = Array.from({ length: 1000 }, (_, i) => ({ n: i, s: `k${i}` }));
  const batch = batchOf(schema, rows);
  const hashes = new Uint32Array(rows.length);
  for (const columns of [['n'], ['s'], ['n', 's']]) {
    new KeyExtractor(schema, columns).hashes(batch, hashes);
    assert.equal(new Set(hashes).size, rows.length);
    const high = new Array<number>(10).fill(0);
    const low = new Array<number>(16).fill(0);
    for (const hash of hashes) {
      const group = keyGroupOf(hash, 10);
      high[group] = (high[group] as number) + 1;
      low[hash & 15] = (low[hash & 15] as number) + 1;
    }
    for (const count of high) assert.ok(count > 60 && count < 145, `high ${high}`);
    for (const count of low) assert.ok(count > 30 && count < 100, `low ${low}`);
  }
});

test('hashes are part of what is stored: these never change', () => {
  const types = ['int32', 'int64', 'float64', 'utf8', 'bool', 'timestamp'] as const;
  const key = encodeKeyValues(types, [-7, 2 ** 40 + 3, -1.25, 'grün\0x', true, 1000]);
  assert.equal(
    Buffer.from(key).toString('hex'),
    // int32, int64, float64, utf8, bool, timestamp, by hand from the layout in key-encoding.ts
    '087ffffff9' + '098000010000000003' + '0b400bffffffffffff' + '0c6772c3bc6e00ff7800' + '05' + '0a80000000000003e8',
  );
  assert.equal(hashKey(key), 957367135);
  assert.equal(hashKey(encodeKeyValues(['utf8'], ['ATL'])), 3345245382);
  assert.equal(hashKey(encodeKeyValues(['int32'], [null])), 1874081905);
});

test('damaged keys decode or are KEY_CORRUPT', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      for (const read of [decodeKeyValues, hashKey]) {
        try {
          read(bytes);
        } catch (error) {
          assert.ok(error instanceof MillraceError && error.code === 'KEY_CORRUPT');
        }
      }
    }),
    { numRuns: 1000 },
  );
  assert.throws(() => decodeKeyValues(Uint8Array.of(0x0c, 0x41)), { code: 'KEY_CORRUPT', message: /does not end/ });
  assert.throws(() => decodeKeyValues(Uint8Array.of(0x08, 0x41)), { code: 'KEY_CORRUPT', message: /within a number/ });
});

test('keys longer than the buffer, and many lengths, are right', () => {
  const schema = compileSchema({ s: 'utf8' });
  const rows = Array.from({ length: 300 }, (_, i) => ({ s: '\0a'.repeat((i * 37) % 301) }));
  const extractor = new KeyExtractor(schema, ['s']);
  const batch = batchOf(schema, rows);
  rows.forEach((row, i) => {
    assert.deepEqual(extractor.decode(extractor.encode(batch, i)), [row.s]);
  });
});

test('every key group has one subtask, and the subtasks have contiguous ranges', () => {
  const shape = fc
    .integer({ min: 1, max: 300 })
    .chain((groups) => fc.tuple(fc.constant(groups), fc.integer({ min: 1, max: groups })));
  fc.assert(
    fc.property(shape, ([groups, parallelism]) => {
      let next = 0;
      for (let subtask = 0; subtask < parallelism; subtask++) {
        const { first, last } = keyGroupRange(subtask, groups, parallelism);
        assert.equal(first, next);
        assert.ok(last >= first);
        for (let group = first; group <= last; group++)
          assert.equal(subtaskOfKeyGroup(group, groups, parallelism), subtask);
        next = last + 1;
      }
      assert.equal(next, groups);
    }),
  );
  assert.equal(keyGroupOf(0xffffffff, 128), 127);
  assert.equal(keyGroupOf(0, 128), 0);
  assert.throws(() => keyGroupRange(0, 2, 3), { code: 'KEY_GROUPS_INVALID' });
});

test('unknown and missing key columns are rejected', () => {
  const schema = compileSchema({ a: 'int32' });
  assert.throws(() => new KeyExtractor(schema, ['b']), { code: 'COLUMN_UNKNOWN' });
  assert.throws(() => new KeyExtractor(schema, []), { code: 'KEY_EMPTY' });
  assert.throws(() => encodeKeyValues(['int32'], ['x']), { code: 'ROW_INVALID', message: /column 0 of the key/ });
});
