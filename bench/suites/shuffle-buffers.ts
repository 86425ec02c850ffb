import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import { heapMemory, mappedMemory, serveSharedArrayMemory, sharedArrayMemory } from '../../base/index.js';
import { measure, type SuiteContext, secondsOf, size } from '../harness.js';
import { type Peer, startProcess, startThread } from '../peer.js';
import type { Goal } from '../row.js';
import { openHost, partitionOf, pipelined, type ShuffleHostOptions } from './shuffle-host.js';

const SHUFFLE_PEER = new URL('../peers/shuffle-peer.js', import.meta.url);
const RING_PEER = new URL('../peers/ring-peer.js', import.meta.url);
const NET_PEER = new URL('../peers/net-peer.js', import.meta.url);
const MAPPED_BYTES = 32 * 1024;
const WIRE_BYTES = 64 * 1024;
/** The ring holds what a subpartition may have unconsumed. */
const RING_SLOTS = 128;
const RING_BYTES = 128 + RING_SLOTS * (8 + MAPPED_BYTES);
const SHARED_GOAL: Goal = { of: 'ratio', reach: 0.6, aim: 0.9 };

/** Whatever moves `buffers` buffers from a producer to a consumer. */
interface Path {
  /** Resolves when the consumer has them all. */
  move(buffers: number): Promise<void>;
  close(): Promise<void>;
}

/** Producer and consumer are two processes or threads; the service is this process, as the daemon would be. */
export async function bufferRows(context: SuiteContext): Promise<void> {
  const { memoryFolder } = context;
  if (memoryFolder === undefined) context.progress('shuffle.mapped left out: no memory-backed folder here');
  else {
    await compare(
      context,
      { name: 'shuffle.mapped', goal: SHARED_GOAL, limitName: 'bare mapped ring, memcpy + the same checksum' },
      { bytes: MAPPED_BYTES, buffers: size(context, 24_000, 100) },
      await mappedPath(context, memoryFolder),
      await mappedRing(memoryFolder),
    );
  }
  await compare(
    context,
    {
      name: 'shuffle.inprocess',
      goal: SHARED_GOAL,
      limitName: 'bare SharedArrayBuffer ring, memcpy + the same checksum',
    },
    { bytes: MAPPED_BYTES, buffers: size(context, 24_000, 100) },
    await threadPath(context),
    await threadRing(),
  );
  await compare(
    context,
    { name: 'shuffle.wire', goal: { of: 'ratio', reach: 0.5, aim: 0.8 }, limitName: 'bare net relay, unix' },
    { bytes: WIRE_BYTES, buffers: size(context, 6_000, 50) },
    await wirePath(context),
    await relay(context),
  );
}

async function compare(
  context: SuiteContext,
  spec: { readonly name: string; readonly goal: Goal; readonly limitName: string },
  work: { readonly bytes: number; readonly buffers: number },
  value: Path,
  limit: Path,
): Promise<void> {
  const megabytesPerSecond = (path: Path) => async () =>
    (work.bytes * work.buffers) / 1e6 / (await secondsOf(() => path.move(work.buffers)));
  try {
    // The first rounds are half as fast as the third and all after it.
    for (let i = 0; i < (context.quick ? 0 : 3); i++) {
      await value.move(work.buffers);
      await limit.move(work.buffers);
    }
    await measure(context, { ...spec, unit: 'MB/s' }, megabytesPerSecond(value), megabytesPerSecond(limit));
  } finally {
    await value.close();
    await limit.close();
  }
}

async function mappedPath(context: SuiteContext, memoryFolder: string): Promise<Path> {
  const folder = join(memoryFolder, 'shuffle');
  mkdirSync(folder);
  const clients = [startProcess(SHUFFLE_PEER), startProcess(SHUFFLE_PEER)] as const;
  return servicePath(context, {
    name: 'mapped',
    bytes: MAPPED_BYTES,
    memory: mappedMemory({ folder }),
    folder,
    clients,
  });
}

function threadPath(context: SuiteContext): Promise<Path> {
  const memory = sharedArrayMemory();
  const thread = () => {
    const { port1, port2 } = new MessageChannel();
    serveSharedArrayMemory(memory, port1);
    return startThread(SHUFFLE_PEER, port2, [port2]);
  };
  const clients = [thread(), thread()] as const;
  return servicePath(context, { name: 'inprocess', bytes: MAPPED_BYTES, memory, folder: undefined, clients });
}

function wirePath(context: SuiteContext): Promise<Path> {
  const clients = [startProcess(SHUFFLE_PEER), startProcess(SHUFFLE_PEER)] as const;
  return servicePath(context, { name: 'wire', bytes: WIRE_BYTES, memory: heapMemory(), folder: undefined, clients });
}

async function servicePath(
  context: SuiteContext,
  options: ShuffleHostOptions & { readonly bytes: number },
): Promise<Path> {
  const host = await openHost(context, options);
  const [producer, consumer] = options.clients as [Peer, Peer];
  let runs = 0;
  return {
    async move(buffers) {
      const writer = pipelined(`${options.name}-${runs++}`);
      await host.service.master.register(writer);
      const work = { buffers, bufferBytes: options.bytes };
      await Promise.all([
        consumer.call('consume', { ...work, partition: partitionOf(writer.writer) }),
        producer.call('produce', { ...work, writer }),
      ]);
      await host.service.master.release(writer.writer);
    },
    close: () => host.close(),
  };
}

async function mappedRing(memoryFolder: string): Promise<Path> {
  const folder = join(memoryFolder, 'ring');
  mkdirSync(folder);
  await mappedMemory({ folder }).create('ring', RING_BYTES);
  return ringPath([startProcess(RING_PEER), startProcess(RING_PEER)], folder);
}

function threadRing(): Promise<Path> {
  const memory = new SharedArrayBuffer(RING_BYTES);
  return ringPath([startThread(RING_PEER, memory), startThread(RING_PEER, memory)], '');
}

async function ringPath(ends: readonly [Peer, Peer], folder: string): Promise<Path> {
  for (const end of ends) await end.call('open', { folder, name: 'ring', slots: RING_SLOTS, slotBytes: MAPPED_BYTES });
  return {
    async move(buffers) {
      const work = { buffers, bufferBytes: MAPPED_BYTES };
      await Promise.all([ends[1].call('consume', work), ends[0].call('produce', work)]);
    },
    close: async () => void (await Promise.all(ends.map((end) => end.stop()))),
  };
}

async function relay(context: SuiteContext): Promise<Path> {
  const path = join(context.folder, 'relay.sock');
  const [middle, producer, consumer] = [
    startProcess(NET_PEER),
    startProcess(NET_PEER),
    startProcess(NET_PEER),
  ] as const;
  await middle.call('listen', { kind: 'relay', path });
  return {
    async move(buffers) {
      const work = { path, bytes: buffers * WIRE_BYTES, bufferBytes: WIRE_BYTES };
      await Promise.all([consumer.call('receive', work), producer.call('send', work)]);
    },
    close: async () => void (await Promise.all([middle, producer, consumer].map((peer) => peer.stop()))),
  };
}
