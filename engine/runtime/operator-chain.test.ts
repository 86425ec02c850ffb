import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Batch, BatchBuilder, Batch as Batches, compileSchema, seek } from '../../base/columnar/index.js';
import type { Operator, Output } from '../operators/index.js';
import { MAX_WATERMARK, OperatorChain } from './operator-chain.js';

const SCHEMA = compileSchema({ n: 'int32' });

function batchOf(...numbers: readonly number[]): Batch {
  const builder = new BatchBuilder(SCHEMA, { rowsMax: numbers.length, bytesMax: 2 ** 20 });
  for (const n of numbers) builder.append({ n });
  return Batches.decode(SCHEMA, builder.finish()) as unknown as Batch;
}

function numbersIn(batch: Batch): number[] {
  const view = batch.rowView() as unknown as { readonly n: number };
  return Array.from({ length: batch.rows }, (_, row) => {
    seek(view as never, row);
    return view.n;
  });
}

/** What reaches the end of a chain, in order: batches as `1,2`, watermarks as `w9`. */
function chainOf(makes: readonly ((output: Output) => Omit<Operator, 'open'>)[], watermark = Number.NEGATIVE_INFINITY) {
  const seen: string[] = [];
  const chain = new OperatorChain({ batch: (batch) => void seen.push(numbersIn(batch).join()) }, watermark);
  for (const make of makes) {
    let inner: Omit<Operator, 'open'> | undefined;
    const operator: Operator = {
      open: (_context, output) => {
        inner = make(output);
        if (inner.watermark !== undefined) operator.watermark = (timeMs) => inner?.watermark?.(timeMs) as boolean;
        if (inner.assignsTime !== undefined) Object.assign(operator, { assignsTime: inner.assignsTime });
      },
      batch: (input, batch) => inner?.batch(input, batch),
    };
    chain.add(operator, SCHEMA as never, (output) => operator.open(undefined as never, output));
  }
  const advance = () => chain.advance((timeMs) => void seen.push(`w${timeMs}`));
  return { chain, seen, advance };
}

const addOne = (output: Output) => ({
  batch: (_input: number, batch: Batch) => {
    for (const n of numbersIn(batch)) output.row({ n: n + 1 });
  },
});

/** Holds its rows and lets one go per step when time passes. */
const onePerStep = (output: Output) => {
  const held: number[] = [];
  return {
    batch: (_input: number, batch: Batch) => void held.push(...numbersIn(batch)),
    watermark: () => {
      const n = held.shift();
      if (n !== undefined) output.row({ n });
      return held.length === 0;
    },
  };
};

/** Event time is the largest number seen. */
const assign = (output: Output) => ({
  assignsTime: true,
  batch: (_input: number, batch: Batch) => {
    output.batch(batch);
    output.watermark(Math.max(...numbersIn(batch)));
  },
});

test('rows that an operator holds for a full batch go on before the watermark that follows them', () => {
  const { chain, seen, advance } = chainOf([addOne, addOne]);
  chain.batch(0, 0, batchOf(1, 2));
  assert.deepEqual(seen, []);
  chain.watermark(9);
  assert.ok(advance());
  assert.deepEqual(seen, ['3,4', 'w9']);
  assert.equal(chain.watermarkPassed, 9);
});

test('a watermark waits at an operator that needs more steps, and has not passed until the last of them', () => {
  const { chain, seen, advance } = chainOf([onePerStep, addOne]);
  chain.batch(0, 0, batchOf(1, 2, 3));
  chain.watermark(5);
  assert.deepEqual([advance(), chain.advancing, chain.watermarkPassed], [false, true, Number.NEGATIVE_INFINITY]);
  assert.deepEqual([advance(), advance(), chain.advancing], [false, true, false]);
  assert.deepEqual(seen, ['2,3,4', 'w5']);
});

test('time that an operator assigns replaces what comes in, until the end of the stream', () => {
  const { chain, seen, advance } = chainOf([assign, addOne]);
  chain.watermark(100);
  assert.ok(advance());
  chain.batch(0, 0, batchOf(7, 4));
  assert.ok(advance());
  chain.batch(0, 0, batchOf(6));
  assert.ok(advance());
  chain.watermark(MAX_WATERMARK);
  assert.ok(advance());
  assert.deepEqual(seen, ['8,5', 'w7', '7', `w${MAX_WATERMARK}`]);
});

test('time never goes back, also not behind what was passed before a restore', () => {
  const { chain, seen, advance } = chainOf([addOne], 50);
  chain.watermark(40);
  assert.ok(advance());
  chain.watermark(50);
  assert.ok(advance());
  chain.watermark(51);
  assert.ok(advance());
  assert.deepEqual(seen, ['w51']);
});

test('a table goes to the operator that joins with it, past those before it', () => {
  const inputs: [number, number[]][] = [];
  const { chain } = chainOf([
    addOne,
    () => ({ batch: (input: number, batch: Batch) => void inputs.push([input, numbersIn(batch)]) }),
  ]);
  chain.batch(1, 1, batchOf(7));
  chain.batch(0, 0, batchOf(1));
  chain.flush();
  assert.deepEqual(inputs, [
    [1, [7]],
    [0, [2]],
  ]);
});

test('a chain without operators is its end', () => {
  const { chain, seen, advance } = chainOf([]);
  chain.batch(0, 0, batchOf(3));
  chain.watermark(1);
  assert.ok(advance());
  assert.deepEqual(seen, ['3', 'w1']);
});
