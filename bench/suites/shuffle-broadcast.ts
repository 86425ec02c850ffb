import { SHUFFLE_DEFAULTS, type ShuffleService } from '../../shuffle/index.js';
import { measure, type SuiteContext, size } from '../harness.js';
import type { Peer } from '../peer.js';
import { openMappedHost, partitionOf, pipelined, type ShuffleHost } from './shuffle-host.js';

const PEER = new URL('../peers/shuffle-peer.js', import.meta.url);
const BUFFER_BYTES = 32 * 1024;
const MB = 1e6;

interface BroadcastCost {
  readonly cpuMs: number;
  readonly storedMegabytes: number;
}

/**
 * One producer, 1 to 64 consumers of the same broadcast in one other process; what it costs the producer, beside what one
 * consumer costs. Nothing is trimmed, so that what is stored is all that was written.
 */
export async function broadcastRows(context: SuiteContext): Promise<void> {
  const host = await openMappedHost(context, 'broadcast', PEER);
  if (host === undefined) return;
  const buffers = size(context, 3000, 20);
  let runs = 0;
  const cost = (consumers: number) => broadcast(host, `broadcast-${runs++}`, consumers, buffers);
  try {
    if (!context.quick) for (const consumers of [1, 64]) await cost(consumers);
    for (const consumers of [4, 16, 64]) {
      const limitName = 'to 1 consumer';
      const bytes = { of: 'ratio', reach: 1, aim: 1, atMost: true } as const;
      const cpu = { of: 'ratio', reach: 1.3, aim: 1, atMost: true } as const;
      await measure(
        context,
        { name: `shuffle.broadcast.bytes.${consumers}`, unit: 'MB stored', limitName, goal: bytes },
        async () => (await cost(consumers)).storedMegabytes,
        async () => (await cost(1)).storedMegabytes,
      );
      await measure(
        context,
        { name: `shuffle.broadcast.cpu.${consumers}`, unit: 'ms of the producer', limitName, goal: cpu },
        async () => (await cost(consumers)).cpuMs,
        async () => (await cost(1)).cpuMs,
      );
    }
  } finally {
    await host.close();
  }
}

async function broadcast(
  { service, clients }: ShuffleHost,
  name: string,
  consumers: number,
  buffers: number,
): Promise<BroadcastCost> {
  const [producer, consumer] = clients as [Peer, Peer];
  const writer = pipelined(name, { broadcastTo: consumers });
  await untilFree(service);
  await service.master.register(writer);
  const [cpuMs] = await Promise.all([
    producer.call<number>('produce', { writer, buffers, bufferBytes: BUFFER_BYTES }),
    consumer.call('consumeBroadcast', { partition: partitionOf(name), consumers, buffers }),
  ]);
  const [status] = (await service.master.list()).filter((w) => w.writer === name);
  const retained = status?.partitions.reduce((sum, p) => sum + p.retainedBytes, 0) ?? 0;
  if (retained < buffers * BUFFER_BYTES) throw new Error(`${retained} bytes are stored of ${buffers * BUFFER_BYTES}`);
  const { slots, freeSlots } = service.metrics;
  const storedBytes = (slots - freeSlots) * SHUFFLE_DEFAULTS.slotBytes;
  await service.master.release(name);
  return { cpuMs, storedMegabytes: storedBytes / MB };
}

/** A writer's last slots come back when its process has said that it is closed, which may be after its release. */
async function untilFree(service: ShuffleService): Promise<void> {
  for (let turns = 0; service.metrics.freeSlots < service.metrics.slots; turns++) {
    if (turns > 1000) throw new Error(`${service.metrics.slots - service.metrics.freeSlots} slots did not come back`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
