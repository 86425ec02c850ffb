import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { type Clock, heapMemory, systemClock } from '../base/index.js';
import { Cursors, cursorWord } from './cursors.js';
import { directDoorbell } from './doorbell.js';
import { Waiter } from './waiter.js';

const WRITER = 9;
const READER = 10;

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

test('a napping reader is rung when as much is published as it wants, and by a writer that has to wait for it at once', async () => {
  const { cursors } = await broadcast();
  cursors.sleep(1, READER, 2 ** 32 + 8);
  assert.equal(cursors.wakeAt(1, 2 ** 32 + 7), 0);
  assert.equal(cursors.wakeAt(0, 2 ** 32 + 9), 0, 'an awake one is not rung');
  assert.equal(cursors.wakeAt(1, 2 ** 32 + 8), READER);
  assert.equal(cursors.wakeAt(1, 2 ** 32 + 9), 0, 'once');
  cursors.sleep(1, READER, 50);
  assert.equal(cursors.wake(1), READER);
});

test('a busy sleeper naps: what came unrung is there when it looks, and after the nap it wants every ring', async () => {
  let ready = false;
  const timers: (() => void)[] = [];
  const soon: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock(),
    soon: (run) => void soon.push(run),
    schedule: (_, run) => {
      timers.push(run);
      return { cancel: () => {} };
    },
  };
  const naps: boolean[] = [];
  const options = { isBusy: () => true };
  const doorbell = { ...directDoorbell(), far: true };
  const waiter = new Waiter(
    clock,
    doorbell,
    READER,
    () => ready,
    (nap) => void naps.push(nap),
    options,
  );
  let woken = 0;
  const sleep = () => {
    void waiter.wait(1e6).then(() => woken++);
    for (let look = soon.shift(); look !== undefined; look = soon.shift()) look();
  };
  sleep();
  assert.deepEqual(naps, [true]);
  timers.pop()?.();
  assert.deepEqual(naps, [true, false], 'nothing came');
  ready = true;
  doorbell.ring(READER);
  await Promise.resolve();
  assert.equal(woken, 1);
  ready = false;
  sleep();
  ready = true;
  timers.pop()?.();
  await Promise.resolve();
  assert.equal(woken, 2);
  assert.deepEqual(naps, [true, false, true]);
  waiter.close();
});
