import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { heapMemory, systemClock } from '../base/index.js';
import { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { BUFFER_END, type InputGate, type ShuffleEvent, type TaskWriter } from './spi.js';

const LIMITS = {
  idleConsumedMs: 1000,
  idlePartlyConsumedMs: 2000,
  idleNeverConsumedMs: 3000,
  idleUnfinishedMs: 4000,
};
const NOTHING = new Uint8Array(0);
const nobody = () => false;

interface Idle {
  readonly shuffle: LocalShuffle;
  readonly events: ShuffleEvent[];
  /** Writers that are left after a look at this time. */
  at(nowMs: number, isWanted?: (writer: string) => boolean): Promise<readonly string[]>;
}

async function idle(): Promise<Idle> {
  const settings = { ...TEST_SETTINGS, ...LIMITS };
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings });
  const events: ShuffleEvent[] = [];
  shuffle.master.onEvent((event) => events.push(event));
  return {
    shuffle,
    events,
    async at(nowMs, isWanted = nobody) {
      await shuffle.master.tidy(nowMs, isWanted);
      return (await shuffle.master.list()).map(({ writer }) => writer).sort();
    },
  };
}

async function written({ environment, master }: LocalShuffle, name: string, ended: boolean): Promise<TaskWriter> {
  const partition = { partition: name, type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
  const descriptor = { writer: name, epoch: 1, partitions: [partition] };
  await master.register(descriptor);
  const writer = await environment.openWriter(descriptor);
  writer.partitions[0]?.emit(0, new Uint8Array(100), 1);
  if (ended) writer.partitions[0]?.event(BUFFER_END, NOTHING);
  writer.publish(NOTHING);
  return writer;
}

function gateOf({ environment }: LocalShuffle, partition: string): Promise<InputGate> {
  return environment.openGate([{ partition, subpartition: 0, consumer: 0, from: { seq: 0, chain: 0n } }]);
}

test('what nobody wants any more goes, each kind after its own time, and is said', async () => {
  const { shuffle, events, at } = await idle();
  for (const name of ['consumed', 'never', 'partly']) await (await written(shuffle, name, true)).close();
  await (await written(shuffle, 'unfinished', false)).close();
  const all = await gateOf(shuffle, 'consumed');
  all.poll()?.release();
  all.poll()?.release();
  (await gateOf(shuffle, 'partly')).poll()?.release();
  assert.deepEqual(await at(0), ['consumed', 'never', 'partly', 'unfinished']);
  assert.deepEqual(await at(999), ['consumed', 'never', 'partly', 'unfinished']);
  assert.deepEqual(await at(1000), ['never', 'partly', 'unfinished']);
  assert.deepEqual(await at(2000), ['never', 'unfinished']);
  assert.deepEqual(await at(3000), ['unfinished']);
  assert.deepEqual(await at(4000), []);
  assert.deepEqual(
    events.map((event) => (event.kind === 'expired' ? event.writer : event.kind)),
    ['consumed', 'partly', 'never', 'unfinished'],
  );
  assert.throws(() => all.poll(), { code: 'PARTITION_LOST' });
  assert.equal(shuffle.master.arena.freeSlots(), shuffle.master.arena.slots);
  await shuffle.close();
});

test('any sign of life starts the time anew, and what somebody minds stays', async () => {
  const { shuffle, at } = await idle();
  await (await written(shuffle, 'a', true)).close();
  const writing = await written(shuffle, 'b', false);
  assert.deepEqual(await at(0), ['a', 'b']);
  const gate = await gateOf(shuffle, 'a');
  writing.partitions[0]?.emit(0, new Uint8Array(1), 1);
  writing.publish(NOTHING);
  // Somebody attached to a, somebody wrote to b: both limits count from here.
  assert.deepEqual(await at(4000), ['a', 'b']);
  assert.deepEqual(await at(5999), ['a', 'b']);
  assert.deepEqual(await at(6000, (writer) => writer === 'a'), ['a', 'b']);
  assert.deepEqual(await at(7999), ['a', 'b']);
  assert.deepEqual(await at(8000), ['a']);
  assert.deepEqual(await at(9999), []);
  await gate.close();
  await writing.close();
  await shuffle.close();
});
