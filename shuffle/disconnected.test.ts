import { strict as assert } from 'node:assert';
import { type TestContext, test } from 'node:test';
import { heapMemory, type SharedMemory, silentLogger, sleep, systemClock } from '../base/index.js';
import { memoryNetwork, type RpcPeer, rpcPeer } from '../base/rpc/index.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { type ShuffleClient, shuffleClient } from './shuffle-client.js';
import { ShuffleService } from './shuffle-service.js';
import type { TaskWriter, WriterDescriptor } from './spi.js';

// A connection ends for other reasons than the end of the thread behind it: the thread may be stopped, and write when it wakes.

const clock = systemClock();
const NOTHING = new Uint8Array(0);
const START = { seq: 0, chain: 0n };

interface Host {
  readonly memory: SharedMemory;
  /** Threads that are gone, as the operating system would say. */
  readonly gone: Set<string>;
  readonly service: ShuffleService;
  client(holder: string): Promise<{ readonly client: ShuffleClient; readonly cut: () => void }>;
  close(): Promise<void>;
}

async function openHost(memory = heapMemory(), gone = new Set<string>()): Promise<Host> {
  const settings = { ...TEST_SETTINGS, tidyMs: 20 };
  const isGone = (holder: string) => gone.has(holder);
  const service = await ShuffleService.open({
    memory,
    clock,
    logger: silentLogger(),
    settings,
    holder: 'daemon',
    isGone,
  });
  const network = memoryNetwork({ clock });
  const served: RpcPeer[] = [];
  await network.listen('memory:service', (connection) => {
    const peer = rpcPeer(connection, { clock });
    served.push(peer);
    service.attach(peer);
  });
  return {
    memory,
    gone,
    service,
    async client(holder) {
      const peer = rpcPeer(await network.connect('memory:service'), { clock });
      const end = served.at(-1) as RpcPeer;
      return { client: shuffleClient({ peer, clock, settings, memory, holder }), cut: () => end.close() };
    },
    async close() {
      await service.close();
    },
  };
}

function lineage(name: string, epoch: number): WriterDescriptor {
  const partition = { type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
  return { writer: name, epoch, partitions: [{ ...partition, partition: `${name}.out` }] };
}

async function openWriter({ master, environment }: ShuffleClient, name: string, epoch: number): Promise<TaskWriter> {
  await master.register(lineage(name, epoch));
  return environment.openWriter(lineage(name, epoch));
}

function write(writer: TaskWriter, from: number, buffers: number): void {
  for (let seq = from; seq < from + buffers; seq++) {
    writer.partitions[0]?.emit(0, numberedBytes(seq), 1);
    writer.publish(NOTHING);
  }
}

/** Reads all there is, checked, from the beginning. */
async function readAll({ environment }: ShuffleClient, name: string): Promise<number> {
  const gate = await environment.openGate([{ partition: `${name}.out`, subpartition: 0, consumer: 0, from: START }]);
  let read = 0;
  for (let buffer = gate.poll(); buffer !== undefined; buffer = gate.poll(), read++) {
    assert.deepEqual(Buffer.from(buffer.bytes), Buffer.from(numberedBytes(read)));
    buffer.release();
  }
  await gate.close();
  return read;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; !(await holds()); waited++) {
    assert.ok(waited < 5000, `${what}: it never does`);
    await sleep(clock, 2);
  }
}

const isSealed = async ({ master }: ShuffleClient, name: string): Promise<boolean> =>
  (await master.list()).find(({ writer }) => writer === name)?.sealed === true;

for (const fate of ['released', 'succeeded', 'left as it is'] as const) {
  test(`of a writer cut off while it is stopped, and ${fate}, nothing goes to others before its thread is gone`, async (t: TestContext) => {
    const host = await openHost();
    t.after(() => host.close());
    const { client, cut } = await host.client('stopped');
    const { client: others } = await host.client('others');
    const zombie = await openWriter(client, 'w', 1);
    write(zombie, 0, 3);
    await client.master.list();
    cut();
    await until('it is sealed', () => isSealed(others, 'w'));
    if (fate === 'released') await others.master.release('w');
    const successor = fate === 'succeeded' ? await openWriter(others, 'w', 2) : undefined;
    if (fate !== 'released') {
      assert.equal(await readAll(others, 'w'), 3);
      await others.master.trim('w.out', [3]);
    }
    const { freeSlots, slots } = host.service.metrics;
    const writer = await openWriter(others, 'o', 1);
    let written = 0;
    for (; writer.available; written++) write(writer, written, 1);
    // It wakes, and goes on with what it was about to do.
    for (let i = 0; i < 20; i++) zombie.partitions[0]?.emit(0, numberedBytes(500 + i), 1);
    assert.throws(() => zombie.publish(NOTHING), { kind: 'fenced', code: 'WRITER_FENCED' });
    assert.equal(await readAll(others, 'o'), written);
    assert.ok(freeSlots < slots, 'its open slots wait for its end');
    host.gone.add('stopped');
    await writer.close();
    await others.master.release('o');
    await successor?.close();
    // Its successor did nothing since the first time.
    if (fate !== 'released') await others.master.trim('w.out', [3]);
    await until('all memory comes back', () => host.service.metrics.freeSlots === slots);
    assert.equal(host.service.metrics.quarantinedSlots, 0);
  });
}

for (const fate of ['released', 'succeeded', 'succeeded and released', 'left as it is'] as const) {
  test(`a writer that was cut off, and ${fate}, gives back what it has when it closes, though nobody hears of it`, async (t) => {
    const host = await openHost();
    t.after(() => host.close());
    const { client, cut } = await host.client('lives on');
    const { client: others } = await host.client('others');
    const writer = await openWriter(client, 'w', 1);
    write(writer, 0, 3);
    await client.master.list();
    cut();
    await until('it is sealed', () => isSealed(others, 'w'));
    const successor = fate.startsWith('succeeded') ? await openWriter(others, 'w', 2) : undefined;
    const isReleased = fate.endsWith('released');
    if (isReleased) await others.master.release('w');
    const { slots } = host.service.metrics;
    assert.ok(host.service.metrics.freeSlots < slots);
    await writer.close();
    // What it published stays.
    if (!isReleased) assert.equal(await readAll(others, 'w'), 3);
    await successor?.close();
    if (!isReleased) await others.master.trim('w.out', [3]);
    await until('all memory comes back', () => host.service.metrics.freeSlots === slots);
  });
}

test('what threads that are gone had opened comes back also when no connection told of their end', async (t) => {
  const first = await openHost();
  const { client } = await first.client('killed with the daemon');
  write(await openWriter(client, 'w', 1), 0, 3);
  write(await openWriter(client, 'x', 1), 0, 3);
  await first.close();
  const host = await openHost(first.memory, first.gone);
  t.after(() => host.close());
  const { client: others } = await host.client('others');
  await others.master.release('x');
  assert.ok(host.service.metrics.quarantinedSlots > 0);
  host.gone.add('killed with the daemon');
  await until('it is sealed', () => isSealed(others, 'w'));
  assert.equal(await readAll(others, 'w'), 3);
  await others.master.trim('w.out', [3]);
  await until('all memory comes back', () => host.service.metrics.freeSlots === host.service.metrics.slots);
});
