import { systemClock } from '../../base/index.js';
import { BUFFER_END, type ShuffleClient, type WriterDescriptor } from '../../shuffle/index.js';
import { servePeer } from '../peer.js';
import { openAll, openClient, type ServiceAddress, Trimmer, untilAvailable } from './shuffle-client.js';

/** A producer or a consumer of the shuffle, in a process or a thread, as a task would be: a client of the service. */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const BUFFERS_PER_STEP = 4;
const TRIM_BYTES = 16 * 2 ** 20;
const WAIT_MS = 100;

let client: ShuffleClient | undefined;

servePeer({
  async open(address: ServiceAddress): Promise<void> {
    client = await openClient(clock, address);
  },
  /** Writes a finished partition: so many buffers to each subpartition, then END. */
  async fill(order: { writer: WriterDescriptor; buffers: number; bufferBytes: number }): Promise<void> {
    const writer = await (client as ShuffleClient).environment.openWriter(order.writer);
    const [partition] = writer.partitions;
    const subpartitions = order.writer.partitions[0]?.subpartitions ?? 0;
    const payload = new Uint8Array(order.bufferBytes).fill(7);
    for (let i = 0; i < order.buffers; i++) {
      await untilAvailable(writer);
      for (let sub = 0; sub < subpartitions; sub++) partition?.emit(sub, payload, 1);
      writer.publish(NOTHING);
    }
    partition?.event(BUFFER_END, NOTHING);
    writer.publish(NOTHING);
    await writer.close();
  },
  /** Reads all subpartitions to their ends, one after the other, and verifies them (the gate does). Resolves with the buffers. */
  async drain(order: { partition: string; subpartitions: number }): Promise<number> {
    let received = 0;
    for (let sub = 0; sub < order.subpartitions; sub++) {
      const gate = await openAll(client as ShuffleClient, order.partition, sub, sub + 1);
      for (let ended = false; !ended; ) {
        const buffer = gate.poll();
        if (buffer === undefined) {
          await gate.whenAvailable(WAIT_MS);
          continue;
        }
        ended = buffer.kind === BUFFER_END;
        if (!ended) received++;
        buffer.release();
      }
      await gate.close();
    }
    return received;
  },
  /** Resolves with the CPU time it took, in ms. */
  async produce(order: { writer: WriterDescriptor; buffers: number; bufferBytes: number }): Promise<number> {
    const writer = await (client as ShuffleClient).environment.openWriter(order.writer);
    const [partition] = writer.partitions;
    const payload = new Uint8Array(order.bufferBytes).fill(7);
    const before = process.cpuUsage();
    for (let sent = 0; sent < order.buffers; ) {
      await untilAvailable(writer);
      const step = Math.min(BUFFERS_PER_STEP, order.buffers - sent);
      for (let i = 0; i < step; i++) partition?.emit(0, payload, 1);
      writer.publish(NOTHING);
      sent += step;
    }
    const { user, system } = process.cpuUsage(before);
    await writer.close();
    return (user + system) / 1000;
  },
  /** Reads, verifies (the gate does) and trims every now and then, as completed checkpoints would. */
  async consume(order: { partition: string; buffers: number; bufferBytes: number }): Promise<void> {
    const gate = await openAll(client as ShuffleClient, order.partition, 0, 1);
    const trimmer = new Trimmer(client as ShuffleClient, order.partition);
    const trimBuffers = Math.max(1, Math.floor(TRIM_BYTES / order.bufferBytes));
    for (let received = 0; received < order.buffers; ) {
      const buffer = gate.poll();
      if (buffer === undefined) {
        await gate.whenAvailable(WAIT_MS);
        continue;
      }
      buffer.release();
      if (++received % trimBuffers === 0) trimmer.trim(() => [received]);
    }
    await trimmer.done();
    await gate.close();
  },
  /** All consumers of a broadcast in one thread, each with a gate of its own; nothing is trimmed. */
  async consumeBroadcast(order: { partition: string; consumers: number; buffers: number }): Promise<void> {
    const consumers = Array.from({ length: order.consumers }, async (_, consumer) => {
      const gate = await openAll(client as ShuffleClient, order.partition, 0, 1, consumer);
      for (let received = 0; received < order.buffers; ) {
        const buffer = gate.poll();
        if (buffer === undefined) {
          await gate.whenAvailable(WAIT_MS);
          continue;
        }
        buffer.release();
        received++;
      }
      await gate.close();
    });
    await Promise.all(consumers);
  },
});
