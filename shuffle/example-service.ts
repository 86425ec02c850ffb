import { MillraceError, xxh64 } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { ExampleLog } from './example-log.js';
import {
  type FetchMessage,
  packMessage,
  EXAMPLE_SERVICES as SERVICES,
  type StepMessage,
  unpackMessage,
} from './example-message.js';
import { MasterServer } from './master-server.js';
import type { ShuffleServiceEnd } from './plugin.js';
import { SHUFFLE_DEFAULTS, type ShuffleSettings } from './settings.js';
import {
  bufferCorrupt,
  bufferOutOfOrder,
  consumerFenced,
  partitionLost,
  writerFenced,
  writerUnknown,
} from './shuffle-errors.js';
import type {
  BufferKind,
  ChannelDescriptor,
  PartitionDescriptor,
  ShuffleEvent,
  ShuffleMaster,
  WriterDescriptor,
  WriterStatus,
} from './spi.js';
import { checkWriter, isKept, retentionOf } from './writer-spec.js';

interface Partition {
  readonly descriptor: PartitionDescriptor;
  readonly logs: readonly ExampleLog[];
  degraded: boolean;
}

/** A lineage of attempts; all but the epoch passes from one to the next. */
interface Writer {
  descriptor: WriterDescriptor;
  readonly partitions: readonly Partition[];
  /** Published steps. */
  tail: number;
  opened: boolean;
  pressed: boolean;
  /** Tells whoever holds it that it may be available again. */
  tell: () => void;
}

interface Attachment {
  readonly writer: Writer;
  readonly partition: Partition;
  readonly log: ExampleLog;
  readonly channel: ChannelDescriptor;
  readonly generation: number;
}

const FETCH_BYTES = 64 * 1024;

/**
 * The daemon's end of the example plug-in: all buffers in Maps on one heap. A step is one message, handled in one go: so it
 * is visible as a whole or not at all, and a fence is a comparison of epochs. Without limit for hybrid and blocking partitions.
 */
export class ExampleService implements ShuffleMaster, ShuffleServiceEnd {
  readonly master: ShuffleMaster = this;
  readonly #settings: ShuffleSettings;
  readonly #writers = new Map<string, Writer>();
  readonly #partitions = new Map<string, Writer>();
  /** The lowest epoch that each writer may have; survives its release. */
  readonly #epochs = new Map<string, number>();
  readonly #handlers: ((event: ShuffleEvent) => void)[] = [];
  readonly #masterServer: MasterServer;

  constructor(settings: Partial<ShuffleSettings>) {
    this.#settings = { ...SHUFFLE_DEFAULTS, ...settings };
    this.#masterServer = new MasterServer(this);
  }

  async register(descriptor: WriterDescriptor): Promise<void> {
    checkWriter(descriptor);
    const { writer: name, epoch } = descriptor;
    const allowed = this.#epochs.get(name) ?? 0;
    if (epoch < allowed) throw writerFenced(name, epoch, allowed);
    this.#epochs.set(name, epoch);
    const known = this.#writers.get(name);
    if (known !== undefined) {
      if (known.descriptor.epoch === epoch) return;
      if (shapeOf(known.descriptor) !== shapeOf(descriptor))
        throw refused('WRITER_CHANGED', `writer "${name}" changed`);
      known.tell();
      Object.assign(known, { descriptor, opened: false, tell: () => {} });
      return;
    }
    for (const { partition } of descriptor.partitions) {
      if (this.#partitions.has(partition)) throw refused('PARTITION_TAKEN', `partition "${partition}" exists already`);
    }
    const partitions = descriptor.partitions.map((partition) => ({
      descriptor: partition,
      logs: Array.from({ length: partition.subpartitions }, () => new ExampleLog(partition)),
      degraded: false,
    }));
    const writer: Writer = { descriptor, partitions, tail: 0, opened: false, pressed: false, tell: () => {} };
    this.#writers.set(name, writer);
    for (const { partition } of descriptor.partitions) this.#partitions.set(partition, writer);
  }

  async seal(name: string, epoch: number): Promise<{ readonly tail: number }> {
    this.#epochs.set(name, Math.max(epoch, this.#epochs.get(name) ?? 0));
    this.#writers.get(name)?.tell();
    return { tail: this.#writers.get(name)?.tail ?? 0 };
  }

  async trim(name: string, seqs: readonly number[]): Promise<void> {
    const writer = this.#partitions.get(name);
    const partition = writer?.partitions.find(({ descriptor }) => descriptor.partition === name);
    if (writer === undefined || partition === undefined) return;
    for (const [subpartition, seq] of seqs.entries()) partition.logs[subpartition]?.allowTrim(seq);
    partition.degraded = false;
    this.#sweep(writer);
  }

  async release(name: string): Promise<void> {
    const writer = this.#writers.get(name);
    if (writer === undefined) return;
    this.#writers.delete(name);
    for (const { partition } of writer.descriptor.partitions) this.#partitions.delete(partition);
    writer.tell();
    for (const log of logsOf(writer)) log.wake();
  }

  async releaseJob(job: string): Promise<void> {
    for (const [name, { descriptor }] of [...this.#writers]) if (descriptor.job === job) await this.release(name);
  }

  async list(): Promise<readonly WriterStatus[]> {
    return [...this.#writers.values()].map((writer) => ({
      writer: writer.descriptor.writer,
      epoch: writer.descriptor.epoch,
      sealed: (this.#epochs.get(writer.descriptor.writer) ?? 0) > writer.descriptor.epoch,
      tail: writer.tail,
      job: writer.descriptor.job,
      partitions: writer.partitions.map(({ descriptor, logs }) => ({
        partition: descriptor.partition,
        type: descriptor.type,
        finished: logs.every((log) => log.ended),
        firstSeqs: logs.map((log) => log.first),
        nextSeqs: logs.map((log) => log.next),
        retainedBytes: logs.reduce((bytes, log) => bytes + log.retainedBytes, 0),
      })),
    }));
  }

  onEvent(handler: (event: ShuffleEvent) => void): void {
    this.#handlers.push(handler);
  }

  async close(): Promise<void> {
    for (const name of [...this.#writers.keys()]) await this.release(name);
  }

  attach(peer: RpcPeer): void {
    this.#masterServer.serve(peer);
    this.#serveWriters(peer);
    this.#serveGates(peer);
  }

  #serveWriters(peer: RpcPeer): void {
    const opened = new Map<number, { readonly writer: Writer; readonly epoch: number }>();
    const tell = (handle: number, told: object) => peer.notify(SERVICES.ack, packMessage({ handle, ...told }));
    peer.serve(SERVICES.openWriter, (body) => {
      const { header } = unpackMessage<{ handle: number; writer: string; epoch: number }>(body);
      const { handle, writer: name, epoch } = header;
      const writer = this.#writers.get(name);
      if (writer === undefined || epoch > writer.descriptor.epoch) throw writerUnknown(name, epoch);
      this.#checkNotFenced(writer, epoch);
      if (writer.opened) throw refused('WRITER_TAKEN', `writer "${name}" of epoch ${epoch} was opened before`);
      opened.set(handle, { writer, epoch });
      writer.opened = true;
      writer.tell = () => tell(handle, this.#stateOf(writer, epoch));
      const positions = writer.partitions.map(({ logs }) => logs.map((log) => log.end));
      return packMessage({ position: writer.tail, positions, available: this.#isAvailable(writer) });
    });
    peer.serve(SERVICES.step, (body) => {
      const { header, payload } = unpackMessage<StepMessage>(body);
      const { writer, epoch } = opened.get(header.handle) as { writer: Writer; epoch: number };
      const state = this.#stateOf(writer, epoch);
      if (!('error' in state)) this.#publish(writer, header, payload);
      tell(header.handle, this.#stateOf(writer, epoch));
      return undefined;
    });
  }

  #publish(writer: Writer, { outputs }: StepMessage, payload: Uint8Array): void {
    let at = 0;
    for (const { partition, subpartition, kind, rows, length, checksum } of outputs) {
      const log = writer.partitions[partition]?.logs[subpartition] as ExampleLog;
      const bytes = new Uint8Array(payload.subarray(at, at + length));
      at += length;
      if (xxh64(bytes) !== BigInt(checksum)) {
        throw bufferCorrupt(`${partition}`, subpartition, log.next, 'it was damaged on its way to the service');
      }
      log.append({ kind: kind as BufferKind, rows, bytes, checksum: BigInt(checksum) });
    }
    writer.tail++;
    for (const log of logsOf(writer)) log.wake();
    this.#sweep(writer);
  }

  #serveGates(peer: RpcPeer): void {
    const gates = new Map<number, readonly Attachment[]>();
    peer.serve(SERVICES.openGate, (body) => {
      const { header } = unpackMessage<{ handle: number; channels: readonly ChannelText[] }>(body);
      const channels = header.channels.map((c) => ({ ...c, from: { seq: c.from.seq, chain: BigInt(c.from.chain) } }));
      gates.set(
        header.handle,
        channels.map((channel) => this.#attachConsumer(channel)),
      );
      return undefined;
    });
    peer.serve(SERVICES.fetch, async (body) => {
      const { handle, channel, seq } = unpackMessage<FetchMessage>(body).header;
      for (;;) {
        const attachment = gates.get(handle)?.[channel];
        if (attachment === undefined) throw new MillraceError('closed', 'GATE_CLOSED', 'the input gate is closed');
        if (this.#isReadable(attachment, seq)) {
          const buffers = attachment.log.read(seq, FETCH_BYTES);
          const headers = buffers.map(({ kind, rows, bytes, checksum }) => ({
            kind,
            rows,
            checksum,
            length: bytes.length,
          }));
          return packMessage(
            { buffers: headers },
            buffers.map(({ bytes }) => bytes),
          );
        }
        await attachment.log.changed();
      }
    });
    peer.serve(SERVICES.consumed, (body) => {
      const { handle, channel, seq } = unpackMessage<FetchMessage>(body).header;
      const attachment = gates.get(handle)?.[channel];
      if (attachment !== undefined) this.#consume(attachment, seq);
      return undefined;
    });
    const close = (handle: number) => {
      const attachments = gates.get(handle) ?? [];
      gates.delete(handle);
      for (const { log } of attachments) log.wake();
    };
    peer.serve(SERVICES.closeGate, (body) => {
      close(unpackMessage<{ handle: number }>(body).header.handle);
      return undefined;
    });
    void peer.closed.then(() => [...gates.keys()].forEach(close));
  }

  #attachConsumer(channel: ChannelDescriptor): Attachment {
    const { partition: name, subpartition, consumer, from } = channel;
    const writer = this.#partitions.get(name);
    const partition = writer?.partitions.find(({ descriptor }) => descriptor.partition === name);
    const log = partition?.logs[subpartition];
    if (
      writer === undefined ||
      partition === undefined ||
      log === undefined ||
      consumer >= partition.descriptor.consumers
    ) {
      throw partitionLost(name, subpartition, from.seq, `there is no consumer ${consumer} of such a partition`);
    }
    if (from.seq > log.next) throw partitionLost(name, subpartition, from.seq, `only ${log.next} were published`);
    if (from.seq < log.first) throw this.#lost(channel, from.seq, log);
    if (log.chainAt(from.seq) !== from.chain) {
      throw bufferOutOfOrder(name, subpartition, from.seq, 'what was consumed before it is not what was published');
    }
    return { writer, partition, log, channel, generation: log.attach(consumer, from.seq) };
  }

  #isReadable({ writer, partition, log, channel, generation }: Attachment, seq: number): boolean {
    const { partition: name, subpartition, consumer } = channel;
    if (this.#partitions.get(name) !== writer) throw partitionLost(name, subpartition, seq, 'its writer was released');
    if (!log.isAttached(consumer, generation)) throw consumerFenced(name, subpartition, consumer);
    if (seq < log.first) throw this.#lost(channel, seq, log);
    if (partition.descriptor.type === 'blocking' && !partition.logs.every(({ ended }) => ended)) return false;
    return seq < log.next;
  }

  #consume({ writer, log, channel, generation }: Attachment, seq: number): void {
    if (!log.isAttached(channel.consumer, generation)) return log.wake();
    const before = this.#isAvailable(writer);
    log.consume(channel.consumer, seq);
    this.#sweep(writer);
    if (!before && this.#isAvailable(writer)) writer.tell();
  }

  /** Trims what may go; says so where more had to go than was allowed. */
  #sweep(writer: Writer): void {
    for (const { descriptor, logs } of writer.partitions) {
      for (const log of logs) log.sweep(retentionOf(descriptor), false);
    }
    const { unconsumedBytesMax, arenaBytes } = this.#settings;
    const quotaBytes = Math.max(4 * unconsumedBytesMax, arenaBytes / 8);
    const limited = writer.partitions.filter(({ descriptor }) => retentionOf(descriptor) === 'trimmed');
    const retainedBytes = limited.flatMap(({ logs }) => logs).reduce((bytes, log) => bytes + log.retainedBytes, 0);
    const pressed = retainedBytes > quotaBytes / 2;
    if (pressed && !writer.pressed) this.#emit({ kind: 'pressure', writer: writer.descriptor.writer, retainedBytes });
    writer.pressed = pressed;
    if (retainedBytes <= quotaBytes) return;
    for (const partition of limited) {
      const went = partition.logs.filter((log) => log.sweep('trimmed', true));
      if (went.length === 0 || partition.degraded) continue;
      partition.degraded = true;
      const firstSeq = (went[0] as ExampleLog).first;
      this.#emit({ kind: 'degraded', partition: partition.descriptor.partition, firstSeq });
    }
  }

  #stateOf(writer: Writer, epoch: number): object {
    const state = { position: writer.tail, available: this.#isAvailable(writer) };
    try {
      this.#checkNotFenced(writer, epoch);
      return state;
    } catch (thrown) {
      return { ...state, error: JSON.stringify(thrown) };
    }
  }

  #checkNotFenced(writer: Writer, epoch: number): void {
    const { writer: name } = writer.descriptor;
    if (this.#writers.get(name) !== writer) throw writerFenced(name, epoch);
    const allowed = this.#epochs.get(name) ?? 0;
    if (allowed > epoch) throw writerFenced(name, epoch, allowed);
  }

  #isAvailable(writer: Writer): boolean {
    return writer.partitions.every(({ descriptor, logs }) => {
      const limit = descriptor.maxLagBytes ?? this.#settings.unconsumedBytesMax;
      return isKept(descriptor) || logs.every((log) => log.unconsumedBytes < limit);
    });
  }

  #lost({ partition, subpartition }: ChannelDescriptor, seq: number, log: ExampleLog): MillraceError {
    const reason = `seq ${log.first} is the first retained`;
    this.#emit({ kind: 'lost', partition, reason });
    return partitionLost(partition, subpartition, seq, reason);
  }

  #emit(event: ShuffleEvent): void {
    for (const handler of this.#handlers) handler(event);
  }
}

type ChannelText = Omit<ChannelDescriptor, 'from'> & {
  readonly from: { readonly seq: number; readonly chain: string };
};

function logsOf(writer: Writer): readonly ExampleLog[] {
  return writer.partitions.flatMap(({ logs }) => logs);
}

function shapeOf({ partitions }: WriterDescriptor): string {
  return JSON.stringify(partitions.map((p) => [p.partition, p.type, p.subpartitions, p.consumers, p.broadcast]));
}

function refused(code: string, message: string): MillraceError {
  return new MillraceError('invalid', code, message);
}
