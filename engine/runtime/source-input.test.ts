import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileSchema } from '../../base/columnar/index.js';
import { type Clock, silentLogger, systemClock } from '../../base/index.js';
import { rows, type SourceReader } from '../connectors/index.js';
import { SourceInput } from './source-input.js';

const SCHEMA = { n: 'int32' } as const;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Only `monotonicMs` is asked for. */
function handClock(): Clock & { nowMs: number } {
  return {
    ...systemClock(),
    nowMs: 0,
    monotonicMs() {
      return this.nowMs;
    },
  };
}

async function readerOf(count: number): Promise<SourceReader> {
  const source = rows(SCHEMA, (n) => ({ n }), { count });
  const context = {
    subtask: 0,
    parallelism: 1,
    position: undefined,
    batchRows: 10,
    logger: silentLogger(),
    clock: systemClock(),
  };
  return source.open({ ...context, disk: undefined as never });
}

async function open(count: number, rowsPerSecond = 0, clock = handClock()) {
  let wakes = 0;
  const reader = await readerOf(count);
  const input = new SourceInput({
    reader,
    schema: compileSchema(SCHEMA),
    clock,
    rowsPerSecond,
    wake: () => void wakes++,
  });
  return { input, reader, clock, wakes: () => wakes };
}

test('the position is that of what was taken, not of what was read ahead', async () => {
  const { input, reader } = await open(25);
  input.prefetch();
  await turn();
  assert.equal(input.position, '{"row":0}');
  assert.equal(reader.position(), '{"row":10}');
  assert.equal(input.take()?.rows, 10);
  assert.equal(input.position, '{"row":10}');
  input.release();
  await turn();
  assert.equal(reader.position(), '{"row":20}');
  assert.equal(input.position, '{"row":10}');
});

test('it wakes its task for a batch and for the end, and ends only when all is taken', async () => {
  const { input, wakes } = await open(5);
  assert.equal(input.take(), undefined);
  input.prefetch();
  input.prefetch();
  await turn();
  assert.equal(wakes(), 1);
  assert.equal(input.ended, false);
  assert.equal(input.take()?.rows, 5);
  input.release();
  await turn();
  assert.deepEqual([input.take(), input.ended, input.batches, wakes()], [undefined, true, 1, 2]);
});

test('a rate holds a batch back until the rows before it are due, and never changes what is in it', async () => {
  const { input, clock } = await open(30, 1000);
  const taken: [number, number | undefined][] = [];
  input.prefetch();
  for (let ms = 0; ms <= 30; ms += 5) {
    clock.nowMs = ms;
    await turn();
    const batch = input.take();
    taken.push([ms, batch?.rows]);
    if (batch !== undefined) input.release();
  }
  assert.deepEqual(
    taken.filter(([, rows]) => rows !== undefined),
    [
      [0, 10],
      [10, 10],
      [20, 10],
    ],
  );
});

test('a reader that fails fails the task that takes from it', async () => {
  const reader: SourceReader = {
    next: async () => {
      throw new Error('disk gone');
    },
    position: () => '',
    close: async () => {},
  };
  let wakes = 0;
  const input = new SourceInput({
    reader,
    schema: compileSchema(SCHEMA),
    clock: handClock(),
    rowsPerSecond: 0,
    wake: () => void wakes++,
  });
  input.prefetch();
  await turn();
  assert.equal(wakes, 1);
  assert.throws(() => input.take(), /disk gone/);
});
