import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as arrow from 'apache-arrow';
import fc from 'fast-check';
import { type PlainRow, stored, table } from './arbitrary-rows.test.support.js';
import { endOfStream, schemaMessage } from './arrow-message.js';
import { Batch } from './batch.js';
import { BatchBuilder } from './batch-builder.js';
import { seek, toRow } from './row-view.js';
import { type ColumnType, type CompiledSchema, compileSchema, type Value } from './schema.js';

const ARROW_TYPES: Record<ColumnType, arrow.DataType> = {
  bool: new arrow.Bool(),
  int32: new arrow.Int32(),
  int64: new arrow.Int64(),
  float64: new arrow.Float64(),
  timestamp: new arrow.TimestampMillisecond('UTC'),
  utf8: new arrow.Utf8(),
};

function encode(schema: CompiledSchema, rows: readonly PlainRow[]): Uint8Array {
  const builder = new BatchBuilder(schema, { rowsMax: 1000, bytesMax: 1 << 24 });
  for (const row of rows) builder.append(row);
  return builder.finish().slice();
}

test('apache-arrow reads a schema message, batches and the end as a stream', () => {
  fc.assert(
    fc.property(table(), ({ schema, rows }) => {
      const compiled = compileSchema(schema);
      const batches = [encode(compiled, rows), encode(compiled, []), encode(compiled, rows.slice(0, 1))];
      const read = arrow.tableFromIPC([schemaMessage(compiled), ...batches, endOfStream()]);
      const all = [...rows, ...rows.slice(0, 1)];
      assert.equal(read.numRows, all.length);
      for (const { name, type, nullable, index } of compiled.columns) {
        const field = read.schema.fields[index] as arrow.Field;
        assert.equal(field.name, name);
        assert.equal(field.nullable, nullable);
        assert.equal(String(field.type), String(ARROW_TYPES[type]));
        const vector = read.getChildAt(index) as arrow.Vector;
        const values = all.map((_, row) => fromArrow(vector.get(row)));
        assert.deepEqual(
          values,
          all.map((row) => stored(row[name] as Value)),
        );
        assert.equal(vector.nullCount, values.filter((value) => value === null).length);
      }
    }),
    { numRuns: 150 },
  );
});

const fromArrow = (value: unknown): Value => (typeof value === 'bigint' ? Number(value) : (value as Value));

test('batches written by apache-arrow are read, and give our canonical bytes when appended', () => {
  fc.assert(
    fc.property(table(), ({ schema, rows }) => {
      const compiled = compileSchema(schema);
      const wellFormed = rows.map((row) => Object.fromEntries(Object.entries(row).map(([k, v]) => [k, stored(v)])));
      const message = recordBatchOf(arrow.tableToIPC(arrowTable(compiled, wellFormed), 'stream'));
      const batch = Batch.decode(compiled, message);
      const view = batch.rowView();
      const builder = new BatchBuilder(compiled, { rowsMax: 1000, bytesMax: 1 << 24 });
      const read = Array.from({ length: batch.rows }, (_, row) => {
        seek(view, row);
        builder.appendFrom(batch, row);
        return toRow(view);
      });
      assert.deepEqual(read, wellFormed);
      assert.deepEqual(builder.finish(), encode(compiled, rows));
    }),
    { numRuns: 150 },
  );
});

function arrowTable(schema: CompiledSchema, rows: readonly PlainRow[]): arrow.Table {
  const fields = schema.columns.map((c) => new arrow.Field(c.name, ARROW_TYPES[c.type], c.nullable));
  const children = schema.columns.map((c) => {
    const values = rows.map((row) => {
      const value = row[c.name] as Value;
      return c.type === 'int64' && typeof value === 'number' ? BigInt(value) : value;
    });
    return arrow.vectorFromArray(values, ARROW_TYPES[c.type]).data[0] ?? arrow.makeData({ type: ARROW_TYPES[c.type] });
  });
  const struct = arrow.makeData({ type: new arrow.Struct(fields), length: rows.length, nullCount: 0, children });
  const arrowSchema = new arrow.Schema(fields);
  return new arrow.Table(arrowSchema, [new arrow.RecordBatch(arrowSchema, struct as never)]);
}

/** The second message of a stream: prefix, metadata, and the body up to the end-of-stream marker. */
function recordBatchOf(stream: Uint8Array): Uint8Array {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  assert.equal(view.getInt32(0, true), -1);
  const start = 8 + view.getInt32(4, true);
  return stream.subarray(start, stream.length - 8);
}
