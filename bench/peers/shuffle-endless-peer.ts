import { systemClock } from '../../base/index.js';
import { BUFFER_END, type ShuffleClient, type WriterDescriptor } from '../../shuffle/index.js';
import { servePeer } from '../peer.js';
import { openAll, openClient, type ServiceAddress, untilAvailable } from './shuffle-client.js';

/** A producer that goes on until it is told to end, and a consumer that says how long it ever had to wait. */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const BUFFER_WORDS = 8 * 1024;
const WAIT_MS = 100;
const TRIM_MS = 5;
/** So long after the first buffer gaps are not counted: everything is new then. */
const WARM_MS = 200;

let client: ShuffleClient | undefined;
let ending = false;

servePeer({
  async open(address: ServiceAddress): Promise<void> {
    client = await openClient(clock, address);
  },
  end(): void {
    ending = true;
  },
  /** Buffers that begin with their number, as fast as they are taken; resolves with how many there were, END included. */
  async produce({ writer: descriptor }: { writer: WriterDescriptor }): Promise<number> {
    ending = false;
    const writer = await (client as ShuffleClient).environment.openWriter(descriptor);
    const words = new Int32Array(BUFFER_WORDS).fill(7);
    const bytes = new Uint8Array(words.buffer);
    let turnAtMs = clock.monotonicMs() + 1;
    let seq = 0;
    while (!ending) {
      await untilAvailable(writer);
      words[0] = seq++;
      writer.partitions[0]?.emit(0, bytes, 1);
      writer.publish(NOTHING);
      if (clock.monotonicMs() < turnAtMs) continue;
      // To hear that it is to end.
      await new Promise<void>((resolve) => clock.soon(resolve));
      turnAtMs = clock.monotonicMs() + 1;
    }
    writer.partitions[0]?.event(BUFFER_END, NOTHING);
    writer.publish(NOTHING);
    await writer.close();
    return seq + 1;
  },
  /** Reads to END; resolves with how many buffers came and the longest time between two, in ms. */
  async consume({ partition }: { partition: string }): Promise<{ buffers: number; gapMs: number }> {
    const gate = await openAll(client as ShuffleClient, partition, 0, 1);
    let gapMs = 0;
    let seq = 0;
    let lastMs = 0;
    let countFromMs = Number.POSITIVE_INFINITY;
    let trimAtMs = 0;
    for (let ended = false; !ended; ) {
      const buffer = gate.poll();
      if (buffer === undefined) {
        await gate.whenAvailable(WAIT_MS);
        continue;
      }
      const nowMs = clock.monotonicMs();
      if (seq === 0) countFromMs = nowMs + WARM_MS;
      if (nowMs > countFromMs) gapMs = Math.max(gapMs, nowMs - lastMs);
      lastMs = nowMs;
      ended = buffer.kind === BUFFER_END;
      const word = ended ? seq : new Int32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, 1)[0];
      if (buffer.seq !== seq || word !== seq)
        throw new Error(`buffer ${word} (seq ${buffer.seq}) came where ${seq} was due`);
      seq++;
      buffer.release();
      if (nowMs < trimAtMs) continue;
      trimAtMs = nowMs + TRIM_MS;
      // Nobody answers while the service is gone; consumed buffers then go without being asked for.
      (client as ShuffleClient).master.trim(partition, [seq]).catch(() => undefined);
      await new Promise<void>((resolve) => clock.soon(resolve));
    }
    await gate.close();
    return { buffers: seq, gapMs };
  },
});
