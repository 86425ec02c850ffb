import type { MessagePort } from 'node:worker_threads';
import { workerData } from 'node:worker_threads';
import { mappedMemory, remoteSharedArrayMemory, type SharedMemory, systemClock } from '../../base/index.js';
import { nodeNetwork, rpcPeer } from '../../base/rpc/index.js';
import { type ShuffleClient, shuffleClient, type WriterDescriptor } from '../../shuffle/index.js';
import { servePeer } from '../peer.js';

/** A producer or a consumer of the shuffle, in a process or a thread, as a task would be: a client of the service. */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const BUFFERS_PER_STEP = 4;
const TRIM_BYTES = 16 * 2 ** 20;
const WAIT_MS = 100;

let client: ShuffleClient | undefined;

servePeer({
  /** `folder`: where the memory is mapped; undefined in a thread (its memory is given) and for the wire. */
  async open({ address, folder }: { address: string; folder: string | undefined }): Promise<void> {
    const peer = rpcPeer(await nodeNetwork({ clock }).connect(address), { clock });
    const memory = memoryOf(folder);
    client = shuffleClient({ peer, clock, ...(memory === undefined ? {} : { memory }) });
  },
  async produce(order: { writer: WriterDescriptor; buffers: number; bufferBytes: number }): Promise<void> {
    const writer = await (client as ShuffleClient).environment.openWriter(order.writer);
    const [partition] = writer.partitions;
    const payload = new Uint8Array(order.bufferBytes).fill(7);
    for (let sent = 0; sent < order.buffers; ) {
      if (!writer.available) {
        await writer.whenAvailable(WAIT_MS);
        continue;
      }
      const step = Math.min(BUFFERS_PER_STEP, order.buffers - sent);
      for (let i = 0; i < step; i++) partition?.emit(0, payload, 1);
      writer.publish(NOTHING);
      sent += step;
    }
    await writer.close();
  },
  /** Reads, verifies (the gate does) and trims every now and then, as completed checkpoints would. */
  async consume(order: { partition: string; buffers: number; bufferBytes: number }): Promise<void> {
    const { environment, master } = client as ShuffleClient;
    const from = { seq: 0, chain: 0n };
    const gate = await environment.openGate([{ partition: order.partition, subpartition: 0, consumer: 0, from }]);
    const trimBuffers = Math.max(1, Math.floor(TRIM_BYTES / order.bufferBytes));
    for (let received = 0; received < order.buffers; ) {
      const buffer = gate.poll();
      if (buffer === undefined) {
        await gate.whenAvailable(WAIT_MS);
        continue;
      }
      buffer.release();
      if (++received % trimBuffers === 0) await master.trim(order.partition, [received]);
    }
    await gate.close();
  },
});

function memoryOf(folder: string | undefined): SharedMemory | undefined {
  if (folder !== undefined) return mappedMemory({ folder });
  return workerData === null || workerData === undefined
    ? undefined
    : remoteSharedArrayMemory(workerData as MessagePort);
}
