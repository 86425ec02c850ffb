import { systemClock } from '../../base/index.js';
import type { InputGate, ShuffleClient, WriterDescriptor } from '../../shuffle/index.js';
import { servePeer } from '../peer.js';
import { anonymousBytes } from '../proc-memory.js';
import { openAll, openClient, type ServiceAddress, untilAvailable } from './shuffle-client.js';

/** Thousands of subpartitions, each with buffers that say which they are. */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const BUFFER_WORDS = 256;
const WAIT_MS = 100;

let client: ShuffleClient | undefined;
let gates: InputGate[] = [];

servePeer({
  async open(address: ServiceAddress): Promise<void> {
    client = await openClient(clock, address);
  },

  /** `rounds` buffers to each subpartition of each writer, a step per writer and round. */
  async produce(order: { writers: readonly WriterDescriptor[]; rounds: number }): Promise<void> {
    const writers = [];
    for (const writer of order.writers) writers.push(await (client as ShuffleClient).environment.openWriter(writer));
    const words = new Int32Array(BUFFER_WORDS);
    const bytes = new Uint8Array(words.buffer);
    for (let round = 0; round < order.rounds; round++) {
      for (const [w, writer] of writers.entries()) {
        await untilAvailable(writer);
        const [partition] = writer.partitions;
        for (let s = 0; s < (partition?.descriptor.subpartitions ?? 0); s++) {
          words.fill(wordOf(w, s, round));
          partition?.emit(s, bytes, 1);
        }
        writer.publish(NOTHING);
      }
    }
    for (const writer of writers) await writer.close();
  },

  /** Attaches to all of them before anything is read, so that all are live. */
  async attach(order: { partitions: readonly string[]; subpartitions: number }): Promise<void> {
    gates = [];
    for (const partition of order.partitions) {
      gates.push(await openAll(client as ShuffleClient, partition, 0, order.subpartitions));
    }
  },

  /** Resolves with how many buffers arrived that were exactly what was due in their place. */
  async consume(order: { rounds: number }): Promise<number> {
    let right = 0;
    await Promise.all(
      gates.map(async (gate, w) => {
        for (let received = 0; received < order.rounds * gate.channels.length; ) {
          const buffer = gate.poll();
          if (buffer === undefined) {
            await gate.whenAvailable(WAIT_MS);
            continue;
          }
          const words = new Int32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, buffer.bytes.length / 4);
          const due = wordOf(w, gate.channels[buffer.channel]?.subpartition ?? -1, buffer.seq);
          if (words.length === BUFFER_WORDS && words.every((word) => word === due)) right++;
          buffer.release();
          received++;
        }
      }),
    );
    for (const gate of gates) await gate.close();
    return right;
  },

  /** Bytes of memory that are this process's alone. */
  anonymousBytes: () => anonymousBytes(),
});

function wordOf(writer: number, subpartition: number, round: number): number {
  return (writer * 65_537 + subpartition * 257 + round) | 0;
}
