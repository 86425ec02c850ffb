import { parentPort, workerData } from 'node:worker_threads';
import { remoteMappedMemory, systemClock } from '../base/index.js';
import { ARENA_REGION } from './arena.js';
import { DOORBELLS_REGION, noDoorbell } from './doorbell.js';
import { LocalEnvironment } from './local-environment.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';

/** What a thread is doing when it is terminated. */
export type DyingMoment = 'mapping' | 'writing' | 'reading';

export interface DyingThread {
  readonly descriptor: Parameters<LocalEnvironment['openWriter']>[0];
  readonly moment: DyingMoment;
}

// A thread that maps for ever, or writes and reads for ever: whoever started it terminates it.
if (workerData?.port !== undefined) await live(workerData);

async function live({ port, descriptor, moment }: DyingThread & { port: never }): Promise<void> {
  const memory = remoteMappedMemory(port);
  const environment = new LocalEnvironment({
    memory,
    clock: systemClock(),
    doorbell: noDoorbell(),
    settings: TEST_SETTINGS,
  });
  // Regions that stay whatever happens to other threads.
  const names = [ARENA_REGION, DOORBELLS_REGION];
  // koffi ends the process when its thread is terminated while it loads: from here on it is loaded.
  await memory.open(names[0] as string, 'read');
  parentPort?.postMessage('begun');
  while (moment === 'mapping') {
    const regions = await Promise.all(names.flatMap((name) => [memory.open(name, 'read'), memory.open(name, 'write')]));
    for (const region of regions) memory.retire(region);
  }
  const writer = await environment.openWriter(descriptor);
  const { partition } = descriptor.partitions[0] as { partition: string };
  const gate = await environment.openGate([{ partition, subpartition: 0, consumer: 0, from: { seq: 0, chain: 0n } }]);
  for (let seq = 0; ; seq++) {
    while (!writer.available) {
      for (let buffer = gate.poll(); buffer !== undefined; buffer = gate.poll()) buffer.release();
    }
    writer.partitions[0]?.emit(0, numberedBytes(seq), 1);
    if (moment === 'writing' || seq % 7 === 0) writer.publish(new Uint8Array(0));
    if (moment === 'writing') continue;
    for (let buffer = gate.poll(); buffer !== undefined; buffer = gate.poll()) buffer.release();
  }
}
