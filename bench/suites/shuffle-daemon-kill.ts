import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { alternate, type SuiteContext, size } from '../harness.js';
import { type Peer, startProcess } from '../peer.js';
import { rowOf } from '../row.js';
import { partitionOf, pipelined } from './shuffle-host.js';

const DAEMON = new URL('../peers/shuffle-daemon-peer.js', import.meta.url);
const PEER = new URL('../peers/shuffle-endless-peer.js', import.meta.url);

/**
 * The service's process is killed while a producer and a consumer on the same host work as fast as they can, and started
 * again on the same memory. The longest time the consumer waited for a buffer; none may be lost. (Wire clients do not
 * reconnect yet, so there is no row for them.)
 */
export async function daemonKillRow(context: SuiteContext): Promise<void> {
  const { memoryFolder } = context;
  if (memoryFolder === undefined) return context.progress('shuffle.daemonkill left out: no memory-backed folder here');
  context.progress('shuffle.daemonkill');
  let runs = 0;
  const rounds = await alternate(context, async () => longestGapMs(context, memoryFolder, runs++));
  const goal = { of: 'value', reach: 100, aim: 10, atMost: true } as const;
  context.row(rowOf({ name: 'shuffle.daemonkill', unit: 'ms', goal }, rounds));
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

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
