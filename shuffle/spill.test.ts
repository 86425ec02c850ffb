import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  type Disk,
  heapMemory,
  MillraceError,
  nodeDisk,
  type SharedMemory,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
} from '../base/index.js';
import { bytesOf, NOTHING } from './conformance-kit.js';
import { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
import { RegionStore } from './region-store.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { BUFFER_END, type InputGate, type PartitionType, type ShuffleEvent, type WriterDescriptor } from './spi.js';

const clock = systemClock();
const BYTES = 20_000;

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-spill-test-'));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function opened(memory: SharedMemory, folder: string, bootId: string, disk = nodeDisk()): Promise<LocalShuffle> {
  const options = { disk, folders: [folder], clock, logger: silentLogger(), random: systemRandom(), bootId };
  const regions = await RegionStore.open(options);
  return openLocalShuffle({ memory, clock, settings: TEST_SETTINGS, regions });
}

function lineage(type: PartitionType, epoch = 1): WriterDescriptor {
  const partition = { partition: `${type}.out`, type, subpartitions: 1, broadcast: false, consumers: 1 };
  return { writer: type, epoch, partitions: [partition] };
}

/** Buffers `from` .. `to` of a partition, each a function of its seq; `ended`: and its END. */
async function write(shuffle: LocalShuffle, descriptor: WriterDescriptor, to: number, ended: boolean): Promise<void> {
  await shuffle.master.register(descriptor);
  const writer = await shuffle.environment.openWriter(descriptor);
  const [partition] = writer.partitions;
  for (let seq = partition?.positions()[0]?.seq ?? 0; seq < to; seq++) {
    while (!writer.available) await writer.whenAvailable(100);
    partition?.emit(0, bytesOf(BYTES, seq), 1);
    writer.publish(NOTHING);
  }
  if (ended) partition?.event(BUFFER_END, NOTHING);
  writer.publish(NOTHING);
  await writer.close();
}

function gateOf({ environment }: LocalShuffle, type: PartitionType): Promise<InputGate> {
  const from = { seq: 0, chain: 0n };
  return environment.openGate([{ partition: `${type}.out`, subpartition: 0, consumer: 0, from }]);
}

async function expectAll(shuffle: LocalShuffle, type: PartitionType, buffers: number): Promise<void> {
  const gate = await gateOf(shuffle, type);
  for (let seq = 0; seq <= buffers; seq++) {
    let buffer = gate.poll();
    for (; buffer === undefined; buffer = gate.poll()) await gate.whenAvailable(100);
    assert.equal(buffer.seq, seq);
    if (seq < buffers) assert.ok(Buffer.from(buffer.bytes).equals(bytesOf(BYTES, seq)), `buffer ${seq}`);
    else assert.equal(buffer.kind, BUFFER_END);
    buffer.release();
  }
  await gate.close();
}

/** Until everything that is kept is on disk and its memory free again. */
async function untilOnDisk({ master }: LocalShuffle): Promise<void> {
  for (let waited = 0; waited < 1000; waited++) {
    const retained = (await master.list()).flatMap(({ partitions }) => partitions.map((p) => p.retainedBytes));
    if (retained.every((bytes) => bytes === 0)) return;
    await sleep(clock, 5);
  }
  assert.fail('kept data never left memory');
}

test('after a reboot what was finished is there, and what was not is lost by name', () =>
  inFolder(async (folder) => {
    const before = await opened(heapMemory(), folder, 'boot 1');
    await write(before, lineage('blocking'), 800, true);
    await write(before, lineage('hybrid'), 800, false);
    for (let i = 0; i < 400 && (await before.master.list())[0]?.partitions[0]?.retainedBytes !== 0; i++) {
      await sleep(clock, 5);
    }
    await before.close();
    const after = await opened(heapMemory(), folder, 'boot 2');
    assert.deepEqual(
      (await after.master.list()).map(({ writer, partitions }) => [writer, partitions[0]?.finished]),
      [['blocking', true]],
    );
    await expectAll(after, 'blocking', 800);
    await assert.rejects(gateOf(after, 'hybrid'), { code: 'PARTITION_LOST' });
    await after.master.release('blocking');
    await after.close();
    assert.deepEqual(await nodeDisk().list(folder), []);
  }));

test('after a restart of the service alone an unfinished writer goes on, half of it on disk', () =>
  inFolder(async (folder) => {
    const memory = heapMemory();
    const before = await opened(memory, folder, 'boot');
    await write(before, lineage('hybrid'), 500, false);
    await before.close();
    const after = await opened(memory, folder, 'boot');
    const [known] = await after.master.list();
    assert.deepEqual(known?.partitions[0]?.nextSeqs, [500]);
    assert.deepEqual(known?.partitions[0]?.firstSeqs, [0]);
    await write(after, lineage('hybrid', 2), 900, true);
    await untilOnDisk(after);
    await expectAll(after, 'hybrid', 900);
    await after.close();
  }));

test('a disk that fails is told to the master; kept data then fills the memory and says so, and nothing is lost', () =>
  inFolder(async (folder) => {
    const shuffle = await opened(heapMemory(), folder, 'boot', failingDisk(nodeDisk()));
    const events: ShuffleEvent[] = [];
    shuffle.master.onEvent((event) => events.push(event));
    const descriptor = lineage('hybrid');
    await shuffle.master.register(descriptor);
    const writer = await shuffle.environment.openWriter(descriptor);
    let written = 0;
    const fill = async () => {
      for (;;) {
        while (!writer.available) await writer.whenAvailable(100);
        writer.partitions[0]?.emit(0, bytesOf(BYTES, written), 1);
        writer.publish(NOTHING);
        written++;
      }
    };
    await assert.rejects(fill(), { code: 'SHUFFLE_MEMORY_FULL' });
    assert.ok(events.some((event) => event.kind === 'diskSetAside' && event.folder === folder));
    const gate = await gateOf(shuffle, 'hybrid');
    for (let seq = 0; seq < written; seq++) {
      const buffer = gate.poll();
      assert.ok(buffer !== undefined && Buffer.from(buffer.bytes).equals(bytesOf(BYTES, seq)));
      buffer.release();
    }
    await shuffle.close();
  }));

function failingDisk(disk: Disk): Disk {
  const failed = () => new MillraceError('unavailable', 'DISK_FAILED', 'input/output error');
  return {
    ...disk,
    append: async (path) => ({ ...(await disk.append(path)), path, append: () => Promise.reject(failed()) }),
  };
}
