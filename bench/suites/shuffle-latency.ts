import { join } from 'node:path';
import { type SuiteContext, size } from '../harness.js';
import { type Peer, startProcess } from '../peer.js';
import type { Quantiles } from '../peers/shuffle-latency-peer.js';
import { type Round, rowOf } from '../row.js';
import { openMappedHost, partitionOf, pipelined } from './shuffle-host.js';

const PEER = new URL('../peers/shuffle-latency-peer.js', import.meta.url);
const NET_PEER = new URL('../peers/net-peer.js', import.meta.url);
const ROWS_PER_SECOND = 10_000;
const ROUNDS = 5;

/** From when a row should have been sent to when its column is read by another process; beside it a bare round trip. */
export async function latencyRows(context: SuiteContext): Promise<void> {
  const host = await openMappedHost(context, 'latency', PEER);
  if (host === undefined) return;
  const [producer, consumer] = host.clients as [Peer, Peer];
  const echo = startProcess(NET_PEER);
  const path = join(context.folder, 'latency-echo.sock');
  const rows = size(context, 2 * ROWS_PER_SECOND, 200);
  const p50s: Round[] = [];
  const p99s: Round[] = [];
  context.progress('shuffle.latency');
  try {
    await echo.call('listen', { kind: 'echo', path });
    for (let round = 0; round < (context.quick ? 1 : ROUNDS); round++) {
      const bare = () => producer.call<Quantiles>('roundTrips', { path, count: size(context, 500, 20) });
      const before = round % 2 === 0 ? undefined : await bare();
      const writer = pipelined(`latency-${round}`);
      await host.service.master.register(writer);
      const [latencies] = await Promise.all([
        consumer.call<Quantiles>('consume', { partition: partitionOf(writer.writer), rows }),
        producer.call('produce', { writer, rows, rowsPerSecond: ROWS_PER_SECOND }),
      ]);
      await host.service.master.release(writer.writer);
      const roundTrips = before ?? (await bare());
      p50s.push({ value: latencies.p50, limit: roundTrips.p50 });
      p99s.push({ value: latencies.p99, limit: roundTrips.p99 });
    }
  } finally {
    await echo.stop();
    await host.close();
  }
  const spec = { unit: 'ms', limitName: 'bare socket round trip, unix' };
  context.row(rowOf({ name: 'shuffle.latency.p50', ...spec, goal: atMost(3, 3) }, p50s));
  context.row(rowOf({ name: 'shuffle.latency.p99', ...spec, goal: atMost(10, 3) }, p99s));
}

function atMost(reach: number, aim: number) {
  return { of: 'value', reach, aim, atMost: true } as const;
}
