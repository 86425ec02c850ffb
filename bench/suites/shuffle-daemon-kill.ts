import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { alternate, type SuiteContext, size } from '../harness.js';
import { type Peer, startProcess } from '../peer.js';
import { rowOf } from '../row.js';
import { partitionOf, pipelined } from './shuffle-host.js';

const DAEMON = new URL('../peers/shuffle-daemon-peer.js', import.meta.url);
const PEER = new URL('../peers/shuffle-endless-peer.js', import.meta.url);
const WIRE_PEER = new URL('../peers/shuffle-wire-peer.js', import.meta.url);

/**
 * The service's process is killed while a producer and a consumer on the same host work as fast as they can, and started
 * again on the same memory. The longest time the consumer waited for a buffer; none may be lost. With mapped memory flow
 * goes on meanwhile; over the wire both must come back.
 */
export async function daemonKillRows(context: SuiteContext): Promise<void> {
  const { memoryFolder } = context;
  if (memoryFolder === undefined) return context.progress('shuffle.daemonkill left out: no memory-backed folder here');
  context.progress('shuffle.daemonkill');
  let runs = 0;
  const rounds = await alternate(context, async () => longestGapMs(context, memoryFolder, runs++));
  const goal = { of: 'value', reach: 100, aim: 10, atMost: true } as const;
  context.row(rowOf({ name: 'shuffle.daemonkill', unit: 'ms', goal }, rounds));
  context.progress('shuffle.daemonkill.wire');
  const wireRounds = await alternate(context, async () => longestWireGapMs(context, memoryFolder, runs++));
  const wireGoal = { of: 'value', reach: 500, aim: 150, atMost: true } as const;
  context.row(rowOf({ name: 'shuffle.daemonkill.wire', unit: 'ms', goal: wireGoal }, wireRounds));
}

async function longestGapMs(context: SuiteContext, memoryFolder: string, run: number): Promise<number> {
  const folder = join(memoryFolder, `daemonkill-${run}`);
  mkdirSync(folder);
  const address = `unix:${join(context.folder, `daemonkill-${run}.sock`)}`;
  const [producer, consumer] = [startProcess(PEER), startProcess(PEER)] as const;
  let daemon: Peer = startProcess(DAEMON);
  const writer = pipelined(`daemonkill-${run}`);
  try {
    await daemon.call('serve', { folder, address });
    await daemon.call('register', writer);
    for (const client of [producer, consumer]) await client.call('open', { address, folder });
    const consumed = consumer.call<{ buffers: number; gapMs: number }>('consume', {
      partition: partitionOf(writer.writer),
    });
    const produced = producer.call<number>('produce', { writer });
    await pause(size(context, 600, 300));
    await daemon.kill();
    daemon = startProcess(DAEMON);
    await daemon.call('serve', { folder, address });
    await pause(size(context, 600, 50));
    await producer.call('end');
    const [sent, { buffers, gapMs }] = await Promise.all([produced, consumed]);
    const published = await daemon.call<number>('published', writer.writer);
    if (buffers !== sent || published !== sent) {
      throw new Error(`${sent} buffers were published, ${buffers} arrived, the new service knows of ${published}`);
    }
    await daemon.call('release', writer.writer);
    return gapMs;
  } finally {
    await Promise.all([producer, consumer, daemon].map((peer) => peer.stop()));
  }
}

async function longestWireGapMs(context: SuiteContext, memoryFolder: string, run: number): Promise<number> {
  const folder = join(memoryFolder, `daemonkill-${run}`);
  mkdirSync(folder);
  const address = `unix:${join(context.folder, `daemonkill-${run}.sock`)}`;
  const [producer, consumer] = [startProcess(WIRE_PEER), startProcess(WIRE_PEER)] as const;
  let daemon: Peer = startProcess(DAEMON);
  const writer = pipelined(`daemonkill-${run}`);
  try {
    await daemon.call('serve', { folder, address });
    await daemon.call('register', writer);
    for (const client of [producer, consumer]) await client.call('open', { address, folder: undefined });
    const consumed = consumer.call<{ buffers: number; gapMs: number; attempts: number }>('consume', {
      partition: partitionOf(writer.writer),
    });
    const produced = producer.call<{ buffers: number; attempts: number }>('produce', { writer });
    // What fails early is heard of below.
    Promise.all([produced, consumed]).catch(() => undefined);
    await pause(size(context, 600, 300));
    await daemon.kill();
    daemon = startProcess(DAEMON);
    await daemon.call('serve', { folder, address });
    await pause(size(context, 600, 50));
    await producer.call('end');
    const [sent, { buffers, gapMs, attempts }] = await Promise.all([produced, consumed]);
    if (buffers !== sent.buffers) throw new Error(`${sent.buffers} buffers are stored, ${buffers} arrived`);
    if (sent.attempts < 2 || attempts < 2) throw new Error('a client did not notice that the service was gone');
    await daemon.call('release', writer.writer);
    return gapMs;
  } finally {
    await Promise.all([producer, consumer, daemon].map((peer) => peer.stop()));
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
