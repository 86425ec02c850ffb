import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../base/columnar/index.js';
import type { SinkWriter } from '../connectors/index.js';
import { SinkTransactions } from './sink-transactions.js';

/** A sink whose pre-commits resolve when the test says so, in any order. */
class SlowSink implements SinkWriter {
  readonly log: string[] = [];
  readonly #waiting = new Map<number, (transaction: string | undefined) => void>();
  failCommit = false;
  pending: Promise<void> | undefined;

  write(batch: Batch): void {
    this.log.push(`write ${batch as unknown as string}`);
  }

  preCommit(checkpoint: number): Promise<string | undefined> {
    this.log.push(`close ${checkpoint}`);
    return new Promise((resolve) => void this.#waiting.set(checkpoint, resolve));
  }

  async commit(transaction: string): Promise<void> {
    if (this.failCommit) throw new Error('disk full');
    this.log.push(`commit ${transaction}`);
  }

  async close(): Promise<void> {}

  durable(checkpoint: number): void {
    this.#waiting.get(checkpoint)?.(`t${checkpoint}`);
  }

  empty(checkpoint: number): void {
    this.#waiting.get(checkpoint)?.(undefined);
  }
}

const batch = (name: string) => name as unknown as Batch;
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a transaction is closed at once, so that what is written after the barrier is in the next one', () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, []);
  transactions.write(batch('a'));
  void transactions.preCommit(1);
  transactions.write(batch('b'));
  assert.deepEqual(sink.log, ['write a', 'close 1', 'write b']);
});

test('a snapshot lists every open transaction, also those whose earlier pre-commit is still under way', async () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, []);
  const first = transactions.preCommit(1);
  const second = transactions.preCommit(2);
  sink.durable(2);
  await turn();
  sink.durable(1);
  assert.deepEqual(await first, [{ checkpoint: 1, transaction: 't1' }]);
  assert.deepEqual(await second, [
    { checkpoint: 1, transaction: 't1' },
    { checkpoint: 2, transaction: 't2' },
  ]);
});

test('a barrier without rows has no transaction', async () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, []);
  const open = transactions.preCommit(1);
  sink.empty(1);
  assert.deepEqual(await open, []);
  await transactions.commit(1);
  assert.deepEqual(sink.log, ['close 1']);
});

test('a complete checkpoint commits its transaction and those of aborted ones before it, in order, and no later one', async () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, []);
  for (const checkpoint of [1, 2, 3]) {
    const open = transactions.preCommit(checkpoint);
    sink.durable(checkpoint);
    await open;
  }
  await transactions.commit(2);
  assert.deepEqual(sink.log.slice(3), ['commit t1', 'commit t2']);
  await transactions.commit(2);
  assert.equal(sink.log.length, 5, 'once');
  const open = transactions.preCommit(4);
  sink.durable(4);
  assert.deepEqual(
    (await open).map(({ checkpoint }) => checkpoint),
    [3, 4],
  );
});

test('a commit waits for the pre-commit before it', async () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, []);
  void transactions.preCommit(1);
  const committed = transactions.commit(1);
  await turn();
  assert.deepEqual(sink.log, ['close 1']);
  sink.durable(1);
  await committed;
  assert.deepEqual(sink.log, ['close 1', 'commit t1']);
});

test('what an attempt took over is listed until a complete checkpoint covers it', async () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, [{ checkpoint: 4, transaction: 'old' }]);
  const open = transactions.preCommit(5);
  sink.empty(5);
  assert.deepEqual(await open, [{ checkpoint: 4, transaction: 'old' }]);
});

test('a commit that fails is told to its caller, and is tried again with the next one', async () => {
  const sink = new SlowSink();
  const transactions = new SinkTransactions(sink, []);
  const open = transactions.preCommit(1);
  sink.durable(1);
  await open;
  sink.failCommit = true;
  await assert.rejects(transactions.commit(1), /disk full/);
  sink.failCommit = false;
  await transactions.commit(2);
  assert.deepEqual(sink.log, ['close 1', 'commit t1']);
});
