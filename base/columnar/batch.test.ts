import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MillraceError } from '../errors.js';
import { type PlainRow, stored, storedRow, table } from './arbitrary-rows.test.support.js';
import { Batch } from './batch.js';
import { BatchBuilder } from './batch-builder.js';
import { encodeColumns } from './column-batch.js';
import { rowCursor, seek, toRow } from './row-view.js';
import { type CompiledSchema, compileSchema, type Schema } from './schema.js';

const ROOMY = { rowsMax: 10_000, bytesMax: 1 << 24 };

function encode(schema: CompiledSchema, rows: readonly PlainRow[]): Uint8Array {
  const builder = new BatchBuilder(schema, ROOMY);
  for (const row of rows) builder.append(row);
  return builder.finish();
}

function rowsOf(batch: Batch): PlainRow[] {
  const view = batch.rowView();
  return Array.from({ length: batch.rows }, (_, row) => {
    seek(view, row);
    return toRow(view);
  });
}

test('rows come back from a batch as they went in, through the view and through the columns', () => {
  fc.assert(
    fc.property(table(), ({ schema, rows }) => {
      const compiled = compileSchema(schema);
      const batch = Batch.decode(compiled, encode(compiled, rows));
      assert.equal(batch.rows, rows.length);
      assert.deepEqual(rowsOf(batch), rows.map(storedRow));
      for (const { name, index } of compiled.columns) {
        const column = batch.column(index);
        const values = rows.map((_, row) => column.get(row));
        assert.deepEqual(
          values,
          rows.map((row) => stored(row[name] as never)),
        );
        assert.deepEqual(
          rows.map((_, row) => column.isNull(row)),
          values.map((value) => value === null),
        );
      }
    }),
    { numRuns: 300 },
  );
});

test('the same rows give the same bytes, whichever way they are appended and whatever was built before', () => {
  fc.assert(
    fc.property(table(), table(), ({ schema, rows }, other) => {
      const compiled = compileSchema(schema);
      const bytes = encode(compiled, rows).slice();
      const batch = Batch.decode(compiled, bytes);
      const builder = new BatchBuilder(compiled, ROOMY);
      // Leave garbage in the builder's memory: all rows, reversed, and a row of another schema.
      for (const row of [...rows, ...rows].reverse()) builder.append(row);
      builder.finish();
      for (const row of rows) builder.append(row);
      for (const row of other.rows.slice(0, 3)) {
        try {
          builder.append(row);
          return;
        } catch (error) {
          assert.ok(error instanceof MillraceError);
        }
      }
      assert.deepEqual(builder.finish(), bytes, 'append, after rejected rows');
      for (let row = 0; row < rows.length; row++) builder.appendFrom(batch, row);
      assert.deepEqual(builder.finish(), bytes, 'appendFrom');
      assert.equal(builder.appendSelected(batch, Uint32Array.from(rows.keys()), 0, rows.length), rows.length);
      assert.deepEqual(builder.finish(), bytes, 'appendSelected');
      const view = batch.rowView();
      for (view[rowCursor].row = 0; view[rowCursor].row < rows.length; view[rowCursor].row++) builder.append(view);
      assert.deepEqual(builder.finish(), bytes, 'append of a row view');
      const columns = Object.fromEntries(Object.keys(schema).map((name) => [name, rows.map((row) => row[name])]));
      assert.deepEqual(encodeColumns(compiled, columns as never, 0, rows.length), bytes, 'encodeColumns');
    }),
    { numRuns: 300 },
  );
});

test('batches are cut at the same rows, whichever way they are appended', () => {
  const limits = fc.record({ rowsMax: fc.integer({ min: 1, max: 30 }), bytesMax: fc.integer({ min: 300, max: 2000 }) });
  fc.assert(
    fc.property(table(60), limits, ({ schema, rows }, options) => {
      const compiled = compileSchema(schema);
      const batch = Batch.decode(compiled, encode(compiled, rows));
      const builder = new BatchBuilder(compiled, options);
      const oneByOne: string[] = [];
      const flush = (to: string[]) => to.push(Buffer.from(builder.finish()).toString('hex'));
      for (let row = 0; row < rows.length; row++) {
        builder.appendFrom(batch, row);
        if (builder.full) {
          flush(oneByOne);
        } else
          assert.ok(
            Batch.decode(compiled, builderCopy(compiled, batch, row, builder.rows)).bytes.length < options.bytesMax,
          );
      }
      flush(oneByOne);
      const selected: string[] = [];
      const all = Int32Array.from(rows.keys());
      for (let from = 0; from < rows.length; ) {
        from += builder.appendSelected(batch, all, from, rows.length);
        if (builder.full) flush(selected);
      }
      flush(selected);
      assert.deepEqual(selected, oneByOne);
    }),
    { numRuns: 200 },
  );
});

/** The batch of the `rows` rows up to and including row `last`. */
function builderCopy(schema: CompiledSchema, batch: Batch, last: number, rows: number): Uint8Array {
  const builder = new BatchBuilder(schema, ROOMY);
  for (let row = last - rows + 1; row <= last; row++) builder.appendFrom(batch, row);
  return builder.finish();
}

test('a batch is read in place from shared memory, and copied when it is not aligned', () => {
  const schema = compileSchema({ n: 'float64', s: 'utf8?', t: 'utf8' });
  const rows = [
    { n: 1.5, s: null, t: 'a longer ASCII string' },
    { n: 2, s: 'grün', t: 'ü'.repeat(40) },
  ];
  const bytes = encode(schema, rows);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 64));
  for (const at of [64, 3]) {
    shared.set(bytes, at);
    const window = shared.subarray(at, at + bytes.length);
    const batch = Batch.decode(schema, window);
    assert.deepEqual(rowsOf(batch), rows);
    assert.equal(batch.column(0).values?.buffer === shared.buffer, at === 64, 'in place when aligned');
  }
});

test('every NaN becomes the canonical one and null slots become zero when rows of foreign batches are copied', () => {
  const schema = compileSchema({ n: 'float64?', i: 'int32?', s: 'utf8?' });
  const bytes = encode(schema, [
    { n: Number.NaN, i: 7, s: 'seven' },
    { n: 1, i: 1, s: 'one' },
    { n: null, i: null, s: null },
  ]);
  const clean = bytes.slice();
  const batch = Batch.decode(schema, bytes);
  // A foreign writer's NaN with a payload, and garbage where rows are null.
  batch.column(0).words.set([0x1234, 0x7ff00001 | 0], 0);
  (batch.column(1).validity as Uint8Array)[0] = 0b001;
  (batch.column(2).validity as Uint8Array)[0] = 0b001;
  batch.column(0).floats[2] = 99;
  const expected = encode(schema, [
    { n: Number.NaN, i: 7, s: 'seven' },
    { n: 1, i: null, s: null },
    { n: null, i: null, s: null },
  ]).slice();
  assert.notDeepEqual(bytes, clean);
  const builder = new BatchBuilder(schema, ROOMY);
  for (let row = 0; row < 3; row++) builder.appendFrom(batch, row);
  assert.deepEqual(builder.finish(), expected);
  builder.appendSelected(batch, [0, 1, 2], 0, 3);
  assert.deepEqual(builder.finish(), expected);
});

test('string bytes under a null count for nothing when a batch is cut', () => {
  const schema = compileSchema({ s: 'utf8?' });
  const rows = Array.from({ length: 20 }, (_, i) => ({ s: i === 0 ? null : 'x'.repeat(40) }));
  const batch = Batch.decode(schema, encode(schema, rows).slice());
  // As a foreign writer may: every second row is null, and its bytes are still there.
  (batch.column(0).validity as Uint8Array).fill(0b10101010);
  const all = Int32Array.from(rows.keys());
  for (let bytesMax = 300; bytesMax < 1300; bytesMax += 10) {
    const one = new BatchBuilder(schema, { rowsMax: 100, bytesMax });
    let taken = 0;
    while (!one.full && taken < rows.length) one.appendFrom(batch, taken++);
    const many = new BatchBuilder(schema, { rowsMax: 100, bytesMax });
    assert.equal(many.appendSelected(batch, all, 0, rows.length), taken);
    assert.deepEqual(many.finish(), one.finish());
  }
});

test('rows of a batch of another schema are not appended', () => {
  const schema = compileSchema({ a: 'int32' });
  const other = compileSchema({ a: 'int32?' });
  const batch = Batch.decode(other, encode(other, [{ a: 1 }])) as Batch;
  const builder = new BatchBuilder<Schema>(schema, ROOMY);
  assert.throws(() => builder.appendFrom(batch, 0), { code: 'ASSERTION' });
  assert.throws(() => builder.appendSelected(batch, [0], 0, 1), { code: 'ASSERTION' });
});

test('a full builder takes no more rows', () => {
  const builder = new BatchBuilder(compileSchema({ a: 'int32' }), { rowsMax: 2, bytesMax: 1000 });
  builder.append({ a: 1 });
  assert.equal(builder.full, false);
  builder.append({ a: 2 });
  assert.equal(builder.full, true);
  assert.throws(() => builder.append({ a: 3 }), { code: 'ASSERTION' });
  assert.throws(() => new BatchBuilder(builder.schema, { rowsMax: 0, bytesMax: 1 }), { code: 'BATCH_OPTIONS_INVALID' });
});

test('damaged batches either decode or are BATCH_CORRUPT, and reading what decodes stays within the bytes', () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
  let corrupt = 0;
  fc.assert(
    fc.property(table(12), damage, fc.option(fc.nat()), ({ schema, rows }, bytesToSet, cut) => {
      const compiled = compileSchema(schema);
      let bytes = encode(compiled, rows).slice();
      for (const [at, value] of bytesToSet) bytes[at % bytes.length] = value;
      if (cut !== null) bytes = bytes.slice(0, cut % bytes.length);
      try {
        const batch = Batch.decode(compiled, bytes);
        assert.equal(rowsOf(batch).length, batch.rows);
        for (const { index } of compiled.columns) assertInside(batch, index);
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error;
        assert.equal(`${error.kind} ${error.code}`, 'corrupt BATCH_CORRUPT');
        corrupt++;
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(corrupt > 500, `only ${corrupt} were found corrupt`);
});

function assertInside(batch: Batch, index: number): void {
  const column = batch.column(index);
  for (let row = 0; row < batch.rows; row++) assert.notEqual(column.get(row), undefined);
  for (let row = 0; row < column.offsets.length; row++) {
    const offset = column.offsets[row] as number;
    assert.ok(offset >= 0 && offset <= column.data.length);
  }
  for (const view of [column.words, column.data, column.bits, column.offsets, column.floats]) {
    if (view.length === 0) continue;
    assert.equal(view.buffer, batch.bytes.buffer);
    assert.ok(view.byteOffset >= batch.bytes.byteOffset);
    assert.ok(view.byteOffset + view.byteLength <= batch.bytes.byteOffset + batch.bytes.byteLength);
  }
}

test('corrupt batches say what is wrong', () => {
  const schema = compileSchema({ a: 'int32', s: 'utf8' });
  const good = encode(schema, [{ a: 1, s: 'x' }]).slice();
  const reject = (bytes: Uint8Array, expected: RegExp, as: CompiledSchema = schema) =>
    assert.throws(() => Batch.decode(as, bytes), { code: 'BATCH_CORRUPT', message: expected });
  reject(new Uint8Array(0), /too few/);
  reject(new Uint8Array(64), /no continuation/);
  reject(good.slice(0, -8), /metadata and body have/);
  reject(good, /schema has 1 and 2/, compileSchema({ a: 'int32' }));
  const offsets = good.slice();
  Batch.decode(schema, offsets).column(1).offsets[1] = 1000;
  reject(offsets, /offsets of column s/);
});

test('rejected rows name the column and the value', () => {
  const rejects = (schema: Schema, row: PlainRow, code: string, message: RegExp) => {
    const builder = new BatchBuilder(compileSchema(schema), ROOMY);
    assert.throws(() => builder.append(row), { kind: 'invalid', code, message });
    assert.equal(builder.rows, 0);
  };
  rejects({ a: 'int32' }, { a: 1.5 }, 'ROW_INVALID', /column a \(int32\) takes an integer, not 1.5/);
  rejects({ a: 'int32' }, { a: 2 ** 31 }, 'VALUE_OUT_OF_RANGE', /column a .* not 2147483648/);
  rejects({ a: 'int64' }, { a: 2 ** 53 }, 'VALUE_OUT_OF_RANGE', /column a .* not 9007199254740992/);
  rejects({ a: 'timestamp?' }, { a: 'now' }, 'ROW_INVALID', /takes an integer or null, not "now"/);
  rejects({ a: 'utf8' }, {}, 'ROW_INVALID', /column a \(utf8\) takes a string, not undefined/);
  rejects({ a: 'utf8' }, { a: null }, 'ROW_INVALID', /not null/);
  rejects({ a: 'bool' }, { a: 1 }, 'ROW_INVALID', /takes a boolean, not 1/);
  rejects({ a: 'float64' }, { a: '1' }, 'ROW_INVALID', /takes a number, not "1"/);
});

test('whole columns may hold bigints, dates and holes, and must be long enough', () => {
  const schema = compileSchema({ n: 'int64', t: 'timestamp?' });
  const columns = { n: [5n, 6n, 7n], t: [new Date(1000), undefined, 3n] };
  const batch = Batch.decode(schema, encodeColumns(schema, columns, 1, 3));
  assert.deepEqual(rowsOf(batch as unknown as Batch), [
    { n: 6, t: null },
    { n: 7, t: 3 },
  ]);
  assert.throws(() => encodeColumns(schema, columns, 0, 4), {
    code: 'COLUMNS_INVALID',
    message: /column n has 3 rows/,
  });
  assert.throws(() => encodeColumns(schema, { n: [2n ** 60n], t: [1] }, 0, 1), { code: 'VALUE_OUT_OF_RANGE' });
});

test('a row view shows its current row to JSON and can be moved past other batches of its schema', () => {
  const schema = compileSchema({ id: 'int32', name: 'utf8?' });
  const first = Batch.decode(
    schema,
    encode(schema, [
      { id: 1, name: 'one' },
      { id: 2, name: null },
    ]).slice(),
  );
  const second = Batch.decode(schema, encode(schema, [{ id: 3, name: 'three' }]).slice());
  const view = first.rowView();
  const other = second.rowView();
  seek(view, 1);
  assert.equal(JSON.stringify([view, other]), '[{"id":2,"name":null},{"id":3,"name":"three"}]');
  const id: number = view.id;
  const name: string | null = view.name;
  assert.deepEqual([id, name], [2, null]);
  // @ts-expect-error a misspelt column does not compile
  assert.equal(view.nmae, undefined);
});
