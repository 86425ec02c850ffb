import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { heapMemory, MillraceError, sleep, systemClock } from '../base/index.js';
import { Arena } from './arena.js';
import { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import type { ShuffleFaults } from './settings.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import type { InputGate, TaskWriter, WriterDescriptor } from './spi.js';
import { TaskLog } from './task-log.js';

const clock = systemClock();
const memory = heapMemory();
const NOTHING = new Uint8Array(0);

function lineage(name: string, epoch = 1): WriterDescriptor {
  return {
    writer: name,
    epoch,
    partitions: [{ partition: name, type: 'pipelined', subpartitions: 2, broadcast: false, consumers: 1 }],
  };
}

async function opened(faults: ShuffleFaults = {}): Promise<{ shuffle: LocalShuffle; memory: typeof memory }> {
  const own = heapMemory();
  return { shuffle: await openLocalShuffle({ memory: own, clock, settings: TEST_SETTINGS, faults }), memory: own };
}

async function writeTen(shuffle: LocalShuffle): Promise<{ writer: TaskWriter; gate: InputGate }> {
  await shuffle.master.register(lineage('w'));
  const writer = await shuffle.environment.openWriter(lineage('w'));
  for (let seq = 0; seq < 10; seq++) {
    writer.partitions[0]?.emit(1, numberedBytes(seq), 1);
    writer.publish(NOTHING);
  }
  const gate = await shuffle.environment.openGate([
    { partition: 'w', subpartition: 1, consumer: 0, from: { seq: 0, chain: 0n } },
  ]);
  return { writer, gate };
}

/** Reads until it throws; how many were good, and the error. */
function readUntilError(gate: InputGate): { readonly good: number; readonly error: MillraceError } {
  for (let good = 0; ; good++) {
    try {
      const buffer = gate.poll();
      assert.ok(buffer, 'an error was due');
      assert.deepEqual(Buffer.from(buffer.bytes), Buffer.from(numberedBytes(good)));
      buffer.release();
    } catch (error) {
      if (error instanceof MillraceError) return { good, error };
      throw error;
    }
  }
}

test('one changed byte in the arena is found, named, and never passed on', async () => {
  const { shuffle, memory } = await opened();
  const { gate } = await writeTen(shuffle);
  const log = await TaskLog.open(memory, 1, 'write');
  const arena = await Arena.open(memory, 'write');
  const record = log.recordOf(1, 6);
  const at = log.offset(record) + log.length(record) - 1;
  arena.bytes[at] = (arena.bytes[at] as number) ^ 1;
  const { good, error } = readUntilError(gate);
  assert.equal(good, 6);
  assert.equal(error.code, 'BUFFER_CORRUPT');
  assert.deepEqual(error.context, { partition: 'w', subpartition: 1, seq: 6 });
  assert.throws(() => gate.poll(), { code: 'BUFFER_CORRUPT' });
  await shuffle.close();
});

test('a buffer in the place of another, with a right checksum, is out of order', async () => {
  const { shuffle, memory } = await opened();
  const { gate } = await writeTen(shuffle);
  const log = await TaskLog.open(memory, 1, 'write');
  const [five, six] = [log.recordOf(1, 5), log.recordOf(1, 6)];
  const { words } = log.region;
  const [low, high] = [words[five] as number, words[five + 1] as number];
  const chain = log.chain(five);
  // All of the other record but seq and chain, which fit.
  log.writeRecord(five, {
    seq: high * 2 ** 32 + (low >>> 0) - 1,
    position: words[five + 2] as number,
    kind: log.kind(six),
    rows: log.rows(six),
    length: log.length(six),
    rawLength: log.rawLength(six),
    offset: log.offset(six),
    checksum: log.checksum(six),
    chain,
  });
  const { good, error } = readUntilError(gate);
  assert.equal(good, 5);
  assert.equal(error.code, 'BUFFER_OUT_OF_ORDER');
  assert.equal(error.context.seq, 5);
  await shuffle.close();
});

test('no damage to an index record is passed on, or makes its reader wait for ever', async () => {
  for (let byte = 0; byte < 56; byte++) {
    const { shuffle, memory } = await opened();
    const { gate } = await writeTen(shuffle);
    const log = await TaskLog.open(memory, 1, 'write');
    const at = log.recordOf(1, 4) * 4 + byte;
    log.region.bytes[at] = (log.region.bytes[at] as number) ^ 0x41;
    const { good, error } = readUntilError(gate);
    assert.equal(good, 4, `byte ${byte}`);
    assert.match(error.code, /^(BUFFER_CORRUPT|PARTITION_LOST)$/, `byte ${byte}`);
    assert.match(error.message, /seq 4/, `byte ${byte}`);
    await shuffle.close();
  }
});

test('an index record that points outside the arena is corrupt, not a crash', async () => {
  const { shuffle, memory } = await opened();
  const { gate } = await writeTen(shuffle);
  const log = await TaskLog.open(memory, 1, 'write');
  log.region.words[log.recordOf(1, 0) + 7] = 77;
  assert.equal(readUntilError(gate).error.code, 'BUFFER_CORRUPT');
  await shuffle.close();
});

test('mutant: visible before stored is noticed by a reader', async () => {
  const { shuffle } = await opened({ visibleBeforeStored: true });
  const { gate } = await writeTen(shuffle);
  assert.equal(readUntilError(gate).error.code, 'BUFFER_CORRUPT');
  await sleep(clock, 5);
  await shuffle.close();
});

test('mutant: without a seal a zombie goes on publishing', async () => {
  const { shuffle } = await opened({ noSeal: true });
  const { writer } = await writeTen(shuffle);
  const { tail } = await shuffle.master.seal('w', 2);
  writer.partitions[0]?.emit(0, numberedBytes(0), 1);
  assert.equal(writer.publish(NOTHING), tail + 1);
  await shuffle.close();
});

test('a later attachment fences the consumer it replaces', async () => {
  const { shuffle } = await opened();
  const { gate } = await writeTen(shuffle);
  const held = gate.poll();
  const heir = await shuffle.environment.openGate([
    { partition: 'w', subpartition: 1, consumer: 0, from: { seq: 0, chain: 0n } },
  ]);
  held?.release();
  assert.throws(() => gate.poll(), { code: 'CONSUMER_FENCED' });
  assert.equal(heir.poll()?.seq, 0);
  await shuffle.close();
});
