import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MillraceError } from '../errors.js';
import { storedRow, table } from './arbitrary-rows.test.support.js';
import { Batch } from './batch.js';
import { BatchBuilder } from './batch-builder.js';
import { decodeRow, encodeRow } from './row-codec.js';
import { compileSchema } from './schema.js';

test('a row comes back from its bytes, and a row view has the bytes of its row', () => {
  fc.assert(
    fc.property(table(6), ({ schema, rows }) => {
      const compiled = compileSchema(schema);
      const builder = new BatchBuilder(compiled, { rowsMax: 10, bytesMax: 1 << 20 });
      for (const row of rows) {
        const bytes = encodeRow(compiled, row);
        assert.deepEqual(decodeRow(compiled, bytes), storedRow(row));
        builder.append(row);
        const view = Batch.decode(compiled, builder.finish()).rowView();
        assert.deepEqual(encodeRow(compiled, view), bytes);
      }
    }),
    { numRuns: 300 },
  );
});

test('string lengths around the limits of their encoding', () => {
  const schema = compileSchema({ a: 'utf8', b: 'int32' });
  for (const length of [0, 1, 127, 128, 129, 16383, 16384, 70_000, 2_100_000]) {
    const row = { a: 'y'.repeat(length), b: length };
    const bytes = encodeRow(schema, row);
    assert.deepEqual(decodeRow(schema, bytes), row);
  }
});

test('a row is small: no names, no padding, nothing for a null', () => {
  const schema = compileSchema({ a: 'int32', b: 'utf8?', c: 'float64?' });
  assert.deepEqual([...encodeRow(schema, { a: 1, b: null, c: null })], [3, 1, 0, 0, 0]);
  assert.deepEqual([...encodeRow(schema, { a: 1, b: 'hi', c: null })], [2, 1, 0, 0, 0, 2, 0x68, 0x69]);
});

test('damaged rows decode or are ROW_CORRUPT', () => {
  let corrupt = 0;
  fc.assert(
    fc.property(table(1), fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat(), ({ schema, rows }, at, value, cut) => {
      const compiled = compileSchema(schema);
      for (const row of rows) {
        const bytes = encodeRow(compiled, row);
        bytes[at % bytes.length] = value;
        for (const damaged of [bytes, bytes.slice(0, cut % bytes.length)]) {
          try {
            decodeRow(compiled, damaged);
          } catch (error) {
            assert.ok(error instanceof MillraceError && error.code === 'ROW_CORRUPT');
            corrupt++;
          }
        }
      }
    }),
    { numRuns: 1000 },
  );
  assert.ok(corrupt > 200);
});

test('rows that do not fit the schema are rejected like in a batch', () => {
  const schema = compileSchema({ a: 'int64', b: 'utf8' });
  assert.throws(() => encodeRow(schema, { a: 2 ** 53, b: '' }), { code: 'VALUE_OUT_OF_RANGE', message: /column a/ });
  assert.throws(() => encodeRow(schema, { a: 1 } as never), { code: 'ROW_INVALID', message: /column b .* undefined/ });
});
