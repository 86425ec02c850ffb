import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  Batch,
  BatchBuilder,
  compileSchema,
  encodeKeyValues,
  hashKey,
  keyGroupOf,
  seek,
  subtaskOfKeyGroup,
} from '../../base/columnar/index.js';
import {
  BUFFER_BARRIER,
  type BufferKind,
  type PartitionDescriptor,
  type ResultPartitionWriter,
} from '../../shuffle/index.js';
import { KEY_GROUPS, type Partitioning } from '../graph/index.js';
import { Exchange } from './exchange.js';
import { BATCH_ROWS } from './operator-chain.js';

fc.configureGlobal({ includeErrorInReport: true });

const SCHEMA = compileSchema({ k: 'utf8?', n: 'int32' });
type Row = { readonly k: string | null; readonly n: number };

/** Keeps what is emitted, copied as the contract says. */
class CaughtPartition implements ResultPartitionWriter {
  readonly descriptor: PartitionDescriptor;
  readonly emitted: { readonly to: number; readonly bytes: Uint8Array; readonly rows: number }[] = [];
  readonly order: string[] = [];

  constructor(subpartitions: number) {
    this.descriptor = { partition: 'p', type: 'pipelined', subpartitions, broadcast: false, consumers: 1 };
  }

  emit(to: number, bytes: Uint8Array, rows: number): void {
    this.emitted.push({ to, bytes: bytes.slice(), rows });
    this.order.push(`data ${to}`);
  }

  event(kind: Exclude<BufferKind, 0>): void {
    this.order.push(`event ${kind}`);
  }

  positions(): [] {
    return [];
  }

  rowsOf(to: number): Row[] {
    return this.emitted.filter((buffer) => buffer.to === to).flatMap(({ bytes }) => rowsIn(bytes));
  }
}

function rowsIn(bytes: Uint8Array): Row[] {
  const batch = Batch.decode(SCHEMA, bytes);
  const view = batch.rowView();
  return Array.from({ length: batch.rows }, (_, row) => {
    seek(view, row);
    return { k: view.k, n: view.n };
  });
}

function batchOf(rows: readonly Row[]): Batch {
  const builder = new BatchBuilder(SCHEMA, { rowsMax: Math.max(1, rows.length), bytesMax: 2 ** 24 });
  for (const row of rows) builder.append(row);
  return Batch.decode(SCHEMA, builder.finish()) as unknown as Batch;
}

function exchangeOf(width: number, partitioning: Partitioning) {
  const partition = new CaughtPartition(width);
  const counters = { rowsOut: 0 };
  const exchange = new Exchange({ partition, partitioning, schema: SCHEMA as never, counters });
  return { partition, exchange, counters };
}

const HASH: Partitioning = { kind: 'hash', columns: ['k'] };
const row = fc.record({ k: fc.option(fc.string({ maxLength: 4 })), n: fc.nat() }, { noNullPrototype: true });

test('every row goes to the subtask that owns its key group, once, in the order it came', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.array(row, { minLength: 1, maxLength: 30 }), { maxLength: 5 }),
      (width, batches) => {
        const { partition, exchange, counters } = exchangeOf(width, HASH);
        for (const rows of batches) exchange.batch(batchOf(rows));
        exchange.flush();
        assert.equal(exchange.holdsRows, false);
        const all = batches.flat();
        assert.equal(counters.rowsOut, all.length);
        for (let to = 0; to < width; to++) {
          const owned = all.filter(({ k }) => {
            const group = keyGroupOf(hashKey(encodeKeyValues(['utf8'], [k])), KEY_GROUPS);
            return subtaskOfKeyGroup(group, KEY_GROUPS, width) === to;
          });
          assert.deepEqual(partition.rowsOf(to), owned);
        }
      },
    ),
  );
});

test('where batches are cut depends on the rows alone, not on how they arrived: replay must give the same bytes', () => {
  const rows = Array.from({ length: 2 * BATCH_ROWS + 100 }, (_, n): Row => ({ k: 'one', n }));
  const outcomes = [rows.length, 1000, 77].map((chunk) => {
    const { partition, exchange } = exchangeOf(1, HASH);
    for (let at = 0; at < rows.length; at += chunk) exchange.batch(batchOf(rows.slice(at, at + chunk)));
    exchange.flush();
    return partition.emitted;
  });
  assert.deepEqual(
    outcomes[0]?.map(({ rows: n }) => n),
    [BATCH_ROWS, BATCH_ROWS, 100],
  );
  assert.deepEqual(outcomes[1], outcomes[0]);
  assert.deepEqual(outcomes[2], outcomes[0]);
});

test('an event never overtakes a row', () => {
  const { partition, exchange } = exchangeOf(1, HASH);
  exchange.batch(batchOf([{ k: 'a', n: 1 }]));
  assert.ok(exchange.holdsRows);
  exchange.event(BUFFER_BARRIER, new Uint8Array(8));
  assert.deepEqual(partition.order, ['data 0', `event ${BUFFER_BARRIER}`]);
});

test('forward and broadcast edges pass a batch on as it is', () => {
  for (const kind of ['forward', 'broadcast'] as const) {
    const { partition, exchange } = exchangeOf(1, { kind });
    const batch = batchOf([
      { k: 'a', n: 1 },
      { k: null, n: 2 },
    ]);
    exchange.batch(batch);
    assert.deepEqual(
      partition.emitted.map(({ to, bytes, rows }) => ({ to, bytes, rows })),
      [{ to: 0, bytes: batch.bytes.slice(), rows: 2 }],
    );
  }
});
