import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { SuiteContext } from '../harness.js';
import { size } from '../harness.js';
import type { Peer } from '../peer.js';
import { anonymousBytes } from '../proc-memory.js';
import { rowOf } from '../row.js';
import { openMappedHost, partitionOf, pipelined } from './shuffle-host.js';

const PEER = new URL('../peers/shuffle-many-peer.js', import.meta.url);
const SUBPARTITIONS_PER_WRITER = 1000;

/**
 * Thousands of subpartitions that are live at once, each written and read. What they cost: the memory of the folder and what
 * service, producer and consumer have of their own.
 */
export async function subpartitionRows(context: SuiteContext): Promise<void> {
  const goal = { of: 'value', reach: 1024, aim: 1024, atMost: true } as const;
  for (const { name, writers, goals } of [
    { name: 'shuffle.subpartitions', writers: 5, goals: { goal } },
    { name: 'shuffle.subpartitions.20k', writers: 20, goals: {} },
  ]) {
    context.progress(name);
    const used = await mebibytesUsed(context, name, size(context, writers, 2));
    if (used === undefined) return;
    context.row(rowOf({ name, unit: 'MiB', ...goals }, [{ value: used }]));
  }
}

async function mebibytesUsed(context: SuiteContext, name: string, writers: number): Promise<number | undefined> {
  const host = await openMappedHost(context, name, PEER);
  if (host === undefined) return undefined;
  const [producer, consumer] = host.clients as [Peer, Peer];
  const subpartitions = size(context, SUBPARTITIONS_PER_WRITER, 10);
  const rounds = size(context, 20, 2);
  const descriptors = Array.from({ length: writers }, (_, i) => pipelined(`many-${i}`, { subpartitions }));
  const partitions = descriptors.map((d) => partitionOf(d.writer));
  try {
    for (const descriptor of descriptors) await host.service.master.register(descriptor);
    await consumer.call('attach', { partitions, subpartitions });
    const [right] = await Promise.all([
      consumer.call<number>('consume', { rounds }),
      producer.call('produce', { writers: descriptors, rounds }),
    ]);
    const clients = await Promise.all(host.clients.map((client) => client.call<number>('anonymousBytes')));
    const bytes = clients.reduce((sum, n) => sum + n, anonymousBytes() + storedBytes(host.folder as string));
    const due = writers * subpartitions * rounds;
    if (right !== due) throw new Error(`${name}: ${right} of ${due} buffers were what was written`);
    return bytes / 2 ** 20;
  } finally {
    await host.close();
  }
}

function storedBytes(folder: string): number {
  return readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).blocks * 512, 0);
}
