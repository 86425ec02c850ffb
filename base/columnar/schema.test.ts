import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileSchema, type Schema } from './schema.js';

test('a compiled schema knows its columns in order, and equal schemas are the same object', () => {
  const schema = compileSchema({ id: 'int64', name: 'utf8?' });
  assert.deepEqual(schema.columns, [
    { name: 'id', type: 'int64', nullable: false, index: 0 },
    { name: 'name', type: 'utf8', nullable: true, index: 1 },
  ]);
  assert.equal(schema.text, '{"id":"int64","name":"utf8?"}');
  assert.equal(schema.indexOf('name'), 1);
  assert.equal(compileSchema({ id: 'int64', name: 'utf8?' }), schema);
  assert.notEqual(compileSchema({ name: 'utf8?', id: 'int64' }) as unknown, schema);
  assert.throws(() => schema.indexOf('nmae'), {
    code: 'COLUMN_UNKNOWN',
    message: 'no column "nmae"; there are: id, name',
  });
});

test('bad schemas are rejected naming the column', () => {
  const wide = Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`c${i}`, 'bool']));
  const own = JSON.parse('{"__proto__":"bool"}');
  const cases: [unknown, RegExp][] = [
    [{}, /at least one column/],
    [wide, /at most 1024 columns, not 1025/],
    [null, /is an object/],
    [['int32'], /is an object/],
    [{ 'a b': 'int32' }, /"a b"/],
    [{ '1a': 'int32' }, /"1a"/],
    [{ 'x);process.exit(1);(': 'int32' }, /is not an identifier/],
    [{ [`a${'b'.repeat(64)}`]: 'int32' }, /is not an identifier/],
    [own, /"__proto__"/],
    [{ constructor: 'bool' }, /"constructor"/],
    [{ a: 'int16' }, /column a has type "int16"/],
    [{ a: 'int32??' }, /column a/],
    [{ a: 7 }, /column a has type 7/],
  ];
  for (const [schema, message] of cases) {
    assert.throws(() => compileSchema(schema as Schema), { kind: 'invalid', code: 'SCHEMA_INVALID', message });
  }
  assert.equal(compileSchema({ [`a${'b'.repeat(63)}`]: 'int32' }).columns.length, 1);
});
