import { systemClock } from '../../base/index.js';
import {
  BUFFER_END,
  type InputGate,
  type ShuffleClient,
  type SubpartitionPosition,
  type TaskWriter,
  type WriterDescriptor,
} from '../../shuffle/index.js';
import { servePeer } from '../peer.js';
import { openClient, type ServiceAddress, untilAvailable } from './shuffle-client.js';

/**
 * A producer and a consumer with nothing but a connection to the service, which come back after it died as the engine
 * would bring them back: the producer as the next attempt, where the last one's visible buffers end; the consumer where
 * it was.
 */
const clock = systemClock();
const NOTHING = new Uint8Array(0);
const BUFFER_WORDS = 16 * 1024;
const WAIT_MS = 100;
const TRIM_MS = 5;
const RETRY_MS = 2;
const GIVE_UP_MS = 10_000;
/** So long after the first buffer gaps are not counted: everything is new then. */
const WARM_MS = 200;

let service: ServiceAddress | undefined;
let ending = false;

servePeer({
  open(address: ServiceAddress): void {
    service = address;
  },
  end(): void {
    ending = true;
  },
  /** Buffers that begin with their seq; resolves with how many are stored, END included, and how many attempts it took. */
  async produce({ writer }: { writer: WriterDescriptor }): Promise<{ buffers: number; attempts: number }> {
    ending = false;
    for (let epoch = writer.epoch; ; epoch++) {
      const attempt = { ...writer, epoch };
      const buffers = await connected(
        async (client) => {
          // Who is told nothing tries the same attempt again: registering it twice is no error.
          await client.master.register(attempt);
          return client.environment.openWriter(attempt);
        },
        (opened) => produceUntilEnd(opened),
      );
      if (buffers !== undefined) return { buffers, attempts: epoch - writer.epoch + 1 };
    }
  },
  /** Reads to END; how many buffers came, each once and in order, and the longest time between two, in ms. */
  async consume({ partition }: { partition: string }): Promise<{ buffers: number; gapMs: number; attempts: number }> {
    const reading = new Reading();
    for (let attempts = 1; ; attempts++) {
      const ended = await connected(
        async (client) => {
          const channel = { partition, subpartition: 0, consumer: 0, from: reading.position };
          return { client, gate: await client.environment.openGate([channel]) };
        },
        ({ client, gate }) => reading.readFrom(gate, (seq) => void client.master.trim(partition, [seq]).catch(ignore)),
      );
      if (ended !== undefined) return { buffers: reading.position.seq, gapMs: reading.gapMs, attempts };
    }
  },
});

/** Undefined when the connection was lost meanwhile; what else fails is thrown. */
async function connected<Opened, Result>(
  open: (client: ShuffleClient) => Promise<Opened>,
  use: (opened: Opened) => Promise<Result>,
): Promise<Result | undefined> {
  const giveUpAtMs = clock.monotonicMs() + GIVE_UP_MS;
  for (;;) {
    let opened: Opened;
    try {
      opened = await open(await openClient(clock, service as ServiceAddress));
    } catch (error) {
      if (!isUnavailable(error) || clock.monotonicMs() > giveUpAtMs) throw error;
      await new Promise<void>((resolve) => void clock.schedule(RETRY_MS, resolve));
      continue;
    }
    try {
      return await use(opened);
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      return undefined;
    }
  }
}

async function produceUntilEnd(writer: TaskWriter): Promise<number> {
  const partition = writer.partitions[0] as TaskWriter['partitions'][number];
  let seq = (partition.positions()[0] as SubpartitionPosition).seq;
  const words = new Int32Array(BUFFER_WORDS).fill(7);
  const bytes = new Uint8Array(words.buffer);
  while (!ending) {
    await untilAvailable(writer);
    words[0] = seq++;
    partition.emit(0, bytes, 1);
    writer.publish(NOTHING);
    // To hear of what comes back.
    await new Promise<void>((resolve) => clock.soon(resolve));
  }
  partition.event(BUFFER_END, NOTHING);
  writer.publish(NOTHING);
  await writer.stored();
  await writer.close();
  return seq + 1;
}

/** What a consumer keeps over all its gates. */
class Reading {
  position: SubpartitionPosition = { seq: 0, chain: 0n };
  gapMs = 0;
  #lastMs = 0;
  #countFromMs = Number.POSITIVE_INFINITY;
  #trimAtMs = 0;

  /** @throws when a buffer is missing, comes twice or is another. */
  async readFrom(gate: InputGate, trim: (seq: number) => void): Promise<true> {
    for (;;) {
      const buffer = gate.poll();
      if (buffer === undefined) {
        await gate.whenAvailable(WAIT_MS);
        continue;
      }
      const nowMs = clock.monotonicMs();
      const { seq } = this.position;
      if (seq === 0) this.#countFromMs = nowMs + WARM_MS;
      if (nowMs > this.#countFromMs) this.gapMs = Math.max(this.gapMs, nowMs - this.#lastMs);
      this.#lastMs = nowMs;
      const ended = buffer.kind === BUFFER_END;
      const word = ended ? seq : new Int32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, 1)[0];
      if (buffer.seq !== seq || word !== seq) {
        throw new Error(`buffer ${word} (seq ${buffer.seq}) came where ${seq} was due`);
      }
      buffer.release();
      this.position = gate.positions()[0] as SubpartitionPosition;
      if (ended) {
        await gate.close();
        return true;
      }
      if (nowMs < this.#trimAtMs) continue;
      this.#trimAtMs = nowMs + TRIM_MS;
      trim(seq + 1);
    }
  }
}

function isUnavailable(error: unknown): boolean {
  const { kind, code } = error as { readonly kind?: string; readonly code?: string };
  return kind === 'unavailable' || code === 'ECONNREFUSED' || code === 'ENOENT';
}

function ignore(): void {}
