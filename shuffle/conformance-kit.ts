import { strict as assert } from 'node:assert';
import type {
  ChannelDescriptor,
  InputBuffer,
  InputGate,
  PartitionDescriptor,
  ShuffleEnvironment,
  ShuffleMaster,
  TaskWriter,
  WriterDescriptor,
} from './spi.js';

/** One shuffle service, fresh for each case. */
export interface ShuffleUnderTest {
  readonly master: ShuffleMaster;
  /** Where the writers live. */
  readonly producer: ShuffleEnvironment;
  /** Where the gates live; may be the same. */
  readonly consumer: ShuffleEnvironment;
  /** Bytes a subpartition may have unconsumed before it pushes back. */
  readonly unconsumedBytesMax: number;
  /** Whether it has a disk for what does not fit into memory. */
  readonly spills?: boolean;
  /** Lets messages that are under way arrive: a few milliseconds of this service's clock. */
  turn(): Promise<void>;
  close(): Promise<void>;
}

export interface ShuffleConformanceCase {
  readonly name: string;
  run(shuffle: ShuffleUnderTest): Promise<void>;
}

export const NOTHING = new Uint8Array(0);
export const START = { seq: 0, chain: 0n } as const;
export const WAIT_MS = 5_000;

export function pipelined(partition: string, subpartitions = 1): PartitionDescriptor {
  return { partition, type: 'pipelined', subpartitions, broadcast: false, consumers: 1 };
}

export function broadcast(partition: string, consumers: number): PartitionDescriptor {
  return { partition, type: 'pipelined', subpartitions: 1, broadcast: true, consumers };
}

export function writerOf(writer: string, epoch: number, ...partitions: PartitionDescriptor[]): WriterDescriptor {
  return { writer, epoch, partitions };
}

export function channel(partition: string, subpartition = 0, consumer = 0, from: ChannelDescriptor['from'] = START) {
  return { partition, subpartition, consumer, from };
}

/** Bytes that tell where they belong. */
export function bytesOf(length: number, tag: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (tag * 31 + i * 7) & 0xff;
  return bytes;
}

export async function nextBuffer(gate: InputGate): Promise<InputBuffer> {
  for (let waited = 0; waited < 100; waited++) {
    const buffer = gate.poll();
    if (buffer !== undefined) return buffer;
    await gate.whenAvailable(WAIT_MS / 100);
  }
  throw new assert.AssertionError({ message: 'no buffer arrived' });
}

export interface ReadBuffer {
  readonly channel: number;
  readonly seq: number;
  readonly kind: number;
  readonly bytes: Uint8Array;
}

export async function readAll(gate: InputGate, count: number): Promise<ReadBuffer[]> {
  const all: ReadBuffer[] = [];
  for (let i = 0; i < count; i++) {
    const buffer = await nextBuffer(gate);
    all.push({ channel: buffer.channel, seq: buffer.seq, kind: buffer.kind, bytes: buffer.bytes.slice() });
    buffer.release();
  }
  return all;
}

export async function open(s: ShuffleUnderTest, descriptor: WriterDescriptor): Promise<TaskWriter> {
  await s.master.register(descriptor);
  return s.producer.openWriter(descriptor);
}

export function emit(writer: TaskWriter, bytes: Uint8Array, subpartition = 0, partition = 0): void {
  writer.partitions[partition]?.emit(subpartition, bytes, 1);
}

export async function rejectsWith(code: string, work: () => unknown): Promise<void> {
  await assert.rejects(
    async () => work(),
    (e: unknown) => (e as { code?: string }).code === code,
  );
}

/** Publishes until the writer learns that it is fenced; a wire writer learns it by the answer. */
export async function publishUntilFenced(s: ShuffleUnderTest, writer: TaskWriter): Promise<void> {
  for (let i = 0; i < 200; i++) {
    try {
      emit(writer, bytesOf(8, i));
      writer.publish(NOTHING);
    } catch (e) {
      assert.equal((e as { code?: string }).code, 'WRITER_FENCED');
      return;
    }
    await s.turn();
  }
  assert.fail('the writer was never told that it is fenced');
}
