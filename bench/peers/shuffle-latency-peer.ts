import { connect } from 'node:net';
import { Batch, BatchBuilder, compileSchema } from '../../base/columnar/index.js';
import { systemClock } from '../../base/index.js';
import type { ResultPartitionWriter, ShuffleClient, WriterDescriptor } from '../../shuffle/index.js';
import { servePeer } from '../peer.js';
import { openAll, openClient, type ServiceAddress } from './shuffle-client.js';

/** Rows that are due at fixed times, whether or not the one before has arrived: no coordinated omission. */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const SCHEMA = compileSchema({ dueMs: 'float64', row: 'int32' });
const BUFFER_TIMEOUT_MS = 1;
const TRIM_ROWS = 2000;
const WAIT_MS = 100;

export interface Quantiles {
  readonly p50: number;
  readonly p99: number;
}

let client: ShuffleClient | undefined;

servePeer({
  async open(address: ServiceAddress): Promise<void> {
    client = await openClient(clock, address);
  },

  /** A row is appended when its time has come, a batch leaves `BUFFER_TIMEOUT_MS` after its first row was due at the latest. */
  async produce(order: { writer: WriterDescriptor; rows: number; rowsPerSecond: number }): Promise<void> {
    const writer = await (client as ShuffleClient).environment.openWriter(order.writer);
    const partition = writer.partitions[0] as ResultPartitionWriter;
    const builder = new BatchBuilder(SCHEMA, { rowsMax: 4096, bytesMax: 32 * 1024 });
    const startMs = sharedMs() + 20;
    const dueMs = (row: number) => startMs + (row * 1000) / order.rowsPerSecond;
    let first = 0;
    for (let row = 0; row < order.rows; ) {
      const nowMs = sharedMs();
      while (row < order.rows && dueMs(row) <= nowMs) builder.append({ dueMs: dueMs(row), row: row++ });
      // What would wait for longer than the timeout, could the next look be a millisecond late, goes now.
      if (builder.rows > 0 && (nowMs - dueMs(first) >= BUFFER_TIMEOUT_MS / 2 || row === order.rows)) {
        const { rows } = builder;
        partition.emit(0, builder.finish(), rows);
        writer.publish(NOTHING);
        first = row;
      }
      await new Promise<void>((resolve) => void clock.schedule(BUFFER_TIMEOUT_MS / 2, resolve));
    }
    await writer.close();
  },

  /** Of the latencies of all rows but the first fifth, in ms. */
  async consume(order: { partition: string; rows: number }): Promise<Quantiles> {
    const gate = await openAll(client as ShuffleClient, order.partition, 0, 1);
    const latencies = new Float64Array(order.rows);
    let buffers = 0;
    let trimAt = TRIM_ROWS;
    for (let received = 0; received < order.rows; ) {
      const buffer = gate.poll();
      if (buffer === undefined) {
        await gate.whenAvailable(WAIT_MS);
        continue;
      }
      const nowMs = sharedMs();
      const batch = Batch.decode(SCHEMA, buffer.bytes);
      for (let i = 0; i < batch.rows; i++) latencies[received++] = nowMs - (batch.column(0).floats[i] as number);
      buffer.release();
      buffers++;
      if (received < trimAt) continue;
      trimAt += TRIM_ROWS;
      await (client as ShuffleClient).master.trim(order.partition, [buffers]);
    }
    await gate.close();
    return quantilesOf(latencies.subarray(Math.floor(order.rows / 5)));
  },

  /** Round trips of 64 bytes over a bare socket, one a millisecond or so, in ms. */
  async roundTrips({ path, count }: { path: string; count: number }): Promise<Quantiles> {
    const socket = connect(path);
    await new Promise((resolve) => socket.once('connect', resolve));
    const latencies = new Float64Array(count);
    const message = new Uint8Array(64);
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      socket.write(message);
      await new Promise((resolve) => socket.once('data', resolve));
      latencies[i] = performance.now() - start;
      await new Promise<void>((resolve) => void clock.schedule(1, resolve));
    }
    socket.destroy();
    return quantilesOf(latencies);
  },
});

function quantilesOf(latencies: Float64Array): Quantiles {
  const sorted = latencies.sort();
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] as number;
  return { p50: at(0.5), p99: at(0.99) };
}

/** A clock that all processes of one machine share. */
function sharedMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}
