import { measure, type SuiteContext, secondsOf, size } from '../harness.js';
import type { Peer } from '../peer.js';
import { openMappedHost, partitionOf, pipelined } from './shuffle-host.js';

const PEER = new URL('../peers/shuffle-rows-peer.js', import.meta.url);
const WRITERS = 4;

/** Rows of 100 bytes: batches built, moved through mapped memory, columns read in place by another process. */
export async function columnRows(context: SuiteContext): Promise<void> {
  const host = await openMappedHost(context, 'rows', PEER);
  if (host === undefined) return;
  const [producer, consumer] = host.clients as [Peer, Peer];
  const rows = size(context, 5_000_000, 1000);
  let runs = 0;
  const move = async () => {
    const writer = pipelined(`rows-${runs++}`);
    await host.service.master.register(writer);
    const seconds = await secondsOf(() =>
      Promise.all([
        consumer.call('consumeWide', { partition: partitionOf(writer.writer), rows }),
        producer.call('produceWide', { writer, rows }),
      ]),
    );
    await host.service.master.release(writer.writer);
    return rows / seconds;
  };
  try {
    if (!context.quick) await move();
    const goal = { of: 'value', reach: 10e6, aim: 25e6 } as const;
    await measure(context, { name: 'shuffle.rows', unit: 'rows/s', goal }, move);
  } finally {
    await host.close();
  }
}

/** The work of Flink's network benchmark: four writers, records of 12 bytes, many channels, flushed by time. */
export async function flinkNetworkRows(context: SuiteContext): Promise<void> {
  for (const { channels, flushMs, bufferBytes, reach, aim } of FLINK_NETWORK) {
    const host = await openMappedHost(context, `flinknet-${channels}`, PEER);
    if (host === undefined) return;
    const [producer, consumer] = host.clients as [Peer, Peer];
    const records = size(context, reach / 2, 4000);
    let runs = 0;
    const move = async () => {
      const run = runs++;
      const writers = Array.from({ length: WRITERS }, (_, i) => {
        return pipelined(`flinknet-${channels}-${run}-${i}`, { subpartitions: context.quick ? 4 : channels });
      });
      for (const writer of writers) await host.service.master.register(writer);
      const partitions = writers.map((w) => partitionOf(w.writer));
      const subpartitions = writers[0]?.partitions[0]?.subpartitions;
      await producer.call('openWriters', { writers });
      await consumer.call('openGates', { partitions, channels: subpartitions });
      const seconds = await secondsOf(() =>
        Promise.all([
          consumer.call('consumeRecords', { partitions, records }),
          producer.call('produceRecords', { records, flushMs, bufferBytes }),
        ]),
      );
      for (const { writer } of writers) await host.service.master.release(writer);
      return records / seconds;
    };
    try {
      if (!context.quick) await move();
      const goal = { of: 'value', reach, aim } as const;
      await measure(context, { name: `shuffle.flinknet.${channels}`, unit: 'records/s', goal }, move);
    } finally {
      await host.close();
    }
  }
}

const FLINK_NETWORK = [
  { channels: 100, flushMs: 100, bufferBytes: 32 * 1024, reach: 70e6, aim: 200e6 },
  { channels: 1000, flushMs: 1, bufferBytes: 4 * 1024, reach: 15e6, aim: 50e6 },
];
