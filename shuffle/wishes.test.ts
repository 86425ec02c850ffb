import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { heapMemory } from '../base/index.js';
import { Cursors, cursorWord } from './cursors.js';

const WRITER = 9;

/** Cursors of one broadcast with three consumers, all at 0. */
async function broadcast(): Promise<{ cursors: Cursors; consume: (consumer: number, seq: number) => number }> {
  const cursors = await Cursors.create(heapMemory(), 1, 3, 1);
  const generations = [0, 1, 2].map((consumer) => cursors.attach(consumer, 0));
  const at = [0, 0, 0];
  const consume = (consumer: number, seq: number): number => {
    const generation = generations[consumer] as number;
    assert.ok(cursors.advance(consumer, cursorWord(generation, at[consumer] as number), cursorWord(generation, seq)));
    at[consumer] = seq;
    return cursors.wakeWriterAt(consumer, seq, 0, 3);
  };
  return { cursors, consume };
}

test('a sleeping writer is rung by the last consumer that gets where it waits for, and by no other', async () => {
  const { cursors, consume } = await broadcast();
  for (const consumer of [0, 1, 2]) cursors.wish(consumer, 5);
  cursors.sleepWriter(WRITER, false);
  assert.equal(consume(1, 4), 0);
  assert.equal(consume(1, 6), 0);
  assert.equal(consume(1, 7), 0);
  assert.equal(consume(0, 5), 0);
  assert.equal(consume(2, 4), 0);
  assert.equal(consume(2, 9), WRITER);
  assert.equal(consume(2, 10), 0, 'once');
});

test('a consumer that gets there while the writer is still lying down does not keep the last one from ringing', async () => {
  const { cursors, consume } = await broadcast();
  cursors.wish(0, 5);
  assert.equal(consume(0, 5), 0, 'nobody sleeps yet');
  cursors.wish(1, 5);
  cursors.sleepWriter(WRITER, false);
  assert.equal(consume(1, 5), WRITER);
});

test('a writer that is short of memory is rung by any release', async () => {
  const { cursors, consume } = await broadcast();
  cursors.wish(0, 50);
  cursors.sleepWriter(WRITER, true);
  assert.equal(consume(2, 1), WRITER);
});

test('an awake writer is not rung', async () => {
  const { cursors, consume } = await broadcast();
  cursors.wish(0, 1);
  assert.equal(consume(0, 2), 0);
});
