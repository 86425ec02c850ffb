import { type Clock, MillraceError, type SerializedError, type Timer, xxh64 } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { ChainHash } from './chain-hash.js';
import {
  type AckMessage,
  type FetchedMessage,
  type OpenedWriter,
  packMessage,
  EXAMPLE_SERVICES as SERVICES,
  unpackMessage,
  type WireBuffer,
} from './example-message.js';
import { bufferCorrupt, checkChannels, checkEmitted, checkEvent } from './shuffle-errors.js';
import type {
  BufferKind,
  ChannelDescriptor,
  InputBuffer,
  InputGate,
  PartitionDescriptor,
  ResultPartitionWriter,
  ShuffleEnvironment,
  SubpartitionPosition,
  TaskWriter,
  WriterDescriptor,
} from './spi.js';

/** A step is sent when it is published; more than this may not be under way. */
const WINDOW_BYTES = 1024 * 1024;
/** A channel with fewer buffers than this fetches more. */
const FETCH_BELOW = 8;

/** A thread's end of the example plug-in: writers push steps, gates pull buffers. */
export class ExampleEnvironment implements ShuffleEnvironment {
  readonly #peer: RpcPeer;
  readonly #clock: Clock;
  readonly #writers = new Map<number, ExampleWriter>();
  readonly #gates = new Set<ExampleGate>();
  #handles = 0;

  constructor(peer: RpcPeer, clock: Clock) {
    this.#peer = peer;
    this.#clock = clock;
    peer.serve(SERVICES.ack, (body) => {
      const ack = unpackMessage<AckMessage>(body).header;
      this.#writers.get(ack.handle)?.acknowledged(ack);
      return undefined;
    });
    void peer.closed.then((cause) => {
      const gone = new MillraceError('unavailable', 'SHUFFLE_GONE', `${peer.peer} is gone`, { cause });
      for (const writer of this.#writers.values()) writer.fail(gone);
    });
  }

  async openWriter(descriptor: WriterDescriptor): Promise<TaskWriter> {
    const handle = ++this.#handles;
    const { writer, epoch } = descriptor;
    const answer = await this.#peer.request(SERVICES.openWriter, packMessage({ handle, writer, epoch }));
    const { header } = unpackMessage<OpenedWriter>(answer);
    const opened = new ExampleWriter(descriptor, handle, header, this.#peer, this.#clock);
    this.#writers.set(handle, opened);
    return opened;
  }

  async openGate(channels: readonly ChannelDescriptor[]): Promise<InputGate> {
    checkChannels(channels);
    const handle = ++this.#handles;
    await this.#peer.request(SERVICES.openGate, packMessage({ handle, channels }));
    const gate = new ExampleGate(channels, handle, this.#peer, this.#clock);
    this.#gates.add(gate);
    return gate;
  }

  async close(): Promise<void> {
    for (const opened of [...this.#writers.values(), ...this.#gates]) await opened.close();
  }
}

class ExampleWriter implements TaskWriter {
  readonly partitions: readonly ResultPartitionWriter[];
  readonly #handle: number;
  readonly #peer: RpcPeer;
  readonly #sleepers: Sleepers;
  #outputs: object[] = [];
  #payload: Uint8Array[] = [];
  /** Bytes of steps under way, oldest first. */
  readonly #unacked: number[] = [];
  #position: number;
  #serviceAvailable: boolean;
  #failure: MillraceError | undefined;

  constructor(descriptor: WriterDescriptor, handle: number, opened: OpenedWriter, peer: RpcPeer, clock: Clock) {
    this.#handle = handle;
    this.#peer = peer;
    this.#sleepers = new Sleepers(clock);
    this.#position = opened.position;
    this.#serviceAvailable = opened.available;
    const stage: Stage = (output, bytes) => {
      if (this.#failure !== undefined) throw this.#failure;
      // A copy: the caller may write to his bytes again at once.
      this.#payload.push(new Uint8Array(bytes));
      this.#outputs.push(output);
    };
    this.partitions = descriptor.partitions.map((partition, ordinal) => {
      const ends = opened.positions[ordinal]?.map(({ seq, chain }) => ({ seq, chain: BigInt(chain) })) ?? [];
      return new ExamplePartitionWriter(partition, ordinal, ends, stage);
    });
  }

  get position(): number {
    return this.#position;
  }

  get available(): boolean {
    if (this.#failure !== undefined) return true;
    return this.#serviceAvailable && this.#unacked.reduce((sum, bytes) => sum + bytes, 0) < WINDOW_BYTES;
  }

  publish(determinants: Uint8Array): number {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#outputs.length === 0 && determinants.length === 0) return this.#position;
    const step = packMessage({ handle: this.#handle, outputs: this.#outputs }, this.#payload);
    this.#outputs = [];
    this.#payload = [];
    this.#peer.notify(SERVICES.step, step);
    this.#unacked.push(step.length);
    return ++this.#position;
  }

  async whenAvailable(timeoutMs: number): Promise<void> {
    if (!this.available) await this.#sleepers.sleep(timeoutMs);
  }

  async stored(): Promise<void> {
    while (this.#failure === undefined && this.#unacked.length > 0) await this.#sleepers.sleep(1000);
    if (this.#failure !== undefined) throw this.#failure;
  }

  acknowledged({ position, available, error }: AckMessage): void {
    if (error !== undefined) this.fail(MillraceError.fromJSON(JSON.parse(error) as SerializedError));
    while (this.#unacked.length > Math.max(0, this.#position - position)) this.#unacked.shift();
    this.#serviceAvailable = available;
    this.#sleepers.wake();
  }

  fail(error: MillraceError): void {
    this.#failure ??= error;
    this.#sleepers.wake();
  }

  async close(): Promise<void> {
    this.fail(new MillraceError('closed', 'WRITER_CLOSED', 'the writer is closed'));
  }
}

type Stage = (output: WireOutput, bytes: Uint8Array) => void;
type WireOutput = WireBuffer & { readonly partition: number; readonly subpartition: number };

class ExamplePartitionWriter implements ResultPartitionWriter {
  readonly descriptor: PartitionDescriptor;
  readonly #ordinal: number;
  readonly #ends: SubpartitionPosition[];
  readonly #stage: Stage;

  constructor(descriptor: PartitionDescriptor, ordinal: number, ends: SubpartitionPosition[], stage: Stage) {
    this.descriptor = descriptor;
    this.#ordinal = ordinal;
    this.#ends = ends;
    this.#stage = stage;
  }

  emit(subpartition: number, bytes: Uint8Array, rows: number): void {
    checkEmitted(this.descriptor.partition, bytes, rows);
    this.#write(subpartition, 0, bytes, rows);
  }

  event(kind: Exclude<BufferKind, 0>, payload: Uint8Array): void {
    checkEvent(this.descriptor.partition, kind);
    checkEmitted(this.descriptor.partition, payload, 0);
    for (let n = 0; n < this.#ends.length; n++) this.#write(n, kind, payload, 0);
  }

  positions(): readonly SubpartitionPosition[] {
    return [...this.#ends];
  }

  #write(subpartition: number, kind: BufferKind, bytes: Uint8Array, rows: number): void {
    const end = this.#ends[subpartition];
    if (end === undefined) {
      const message = `partition "${this.descriptor.partition}" has no subpartition ${subpartition}`;
      throw new MillraceError('invalid', 'SUBPARTITION_UNKNOWN', message);
    }
    const checksum = xxh64(bytes);
    const { length } = bytes;
    this.#stage({ partition: this.#ordinal, subpartition, kind, rows, length, checksum: String(checksum) }, bytes);
    this.#ends[subpartition] = { seq: end.seq + 1, chain: new ChainHash().next(end.chain, checksum) };
  }
}

interface Channel {
  readonly arrived: (WireBuffer & { readonly bytes: Uint8Array })[];
  /** Behind everything polled. */
  position: SubpartitionPosition;
  /** Behind everything fetched. */
  fetched: number;
  /** Behind everything released without a gap, and what was released beyond. */
  consumed: number;
  readonly released: Set<number>;
  fetching: boolean;
  paused: boolean;
  failure: unknown;
}

class ExampleGate implements InputGate {
  readonly channels: readonly ChannelDescriptor[];
  readonly #handle: number;
  readonly #peer: RpcPeer;
  readonly #sleepers: Sleepers;
  readonly #channels: readonly Channel[];
  #turn = 0;
  #closed = false;

  constructor(channels: readonly ChannelDescriptor[], handle: number, peer: RpcPeer, clock: Clock) {
    this.channels = channels;
    this.#handle = handle;
    this.#peer = peer;
    this.#sleepers = new Sleepers(clock);
    const fresh = { fetching: false, paused: false, failure: undefined };
    this.#channels = channels.map(({ from }) => {
      return { ...fresh, arrived: [], position: from, fetched: from.seq, consumed: from.seq, released: new Set() };
    });
    for (const index of channels.keys()) void this.#fetch(index);
  }

  poll(): InputBuffer | undefined {
    if (this.#closed) throw new MillraceError('closed', 'GATE_CLOSED', 'the input gate is closed');
    for (let i = 0; i < this.#channels.length; i++) {
      const index = (this.#turn + i) % this.#channels.length;
      const channel = this.#channels[index] as Channel;
      if (!isReady(channel)) continue;
      if (channel.arrived.length === 0) throw channel.failure;
      this.#turn = index + 1;
      return this.#take(index, channel);
    }
    return undefined;
  }

  async whenAvailable(timeoutMs: number): Promise<void> {
    if (!this.#closed && !this.#channels.some(isReady)) await this.#sleepers.sleep(timeoutMs);
  }

  pause(channel: number): void {
    (this.#channels[channel] as Channel).paused = true;
  }

  resume(channel: number): void {
    (this.#channels[channel] as Channel).paused = false;
    this.#sleepers.wake();
  }

  positions(): readonly SubpartitionPosition[] {
    return this.#channels.map(({ position }) => position);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#sleepers.wake();
    await this.#peer.request(SERVICES.closeGate, packMessage({ handle: this.#handle })).catch(() => {});
  }

  async #fetch(index: number): Promise<void> {
    const channel = this.#channels[index] as Channel;
    channel.fetching = true;
    try {
      const request = packMessage({ handle: this.#handle, channel: index, seq: channel.fetched });
      const { header, payload } = unpackMessage<FetchedMessage>(await this.#peer.request(SERVICES.fetch, request));
      let at = 0;
      for (const buffer of header.buffers) {
        // A copy of its own, because columns are read in place and so must stand where 8 divides the address.
        channel.arrived.push({ ...buffer, bytes: new Uint8Array(payload.subarray(at, at + buffer.length)) });
        at += buffer.length;
      }
      channel.fetched += header.buffers.length;
    } catch (thrown) {
      channel.failure = thrown;
    }
    channel.fetching = false;
    this.#sleepers.wake();
  }

  #take(index: number, channel: Channel): InputBuffer {
    const { kind, rows, bytes, checksum } = channel.arrived.shift() as Channel['arrived'][0];
    const { seq, chain } = channel.position;
    if (xxh64(bytes) !== BigInt(checksum)) {
      const { partition, subpartition } = this.channels[index] as ChannelDescriptor;
      channel.failure = bufferCorrupt(partition, subpartition, seq, 'it was damaged on the way here');
      channel.arrived.length = 0;
      throw channel.failure;
    }
    channel.position = { seq: seq + 1, chain: new ChainHash().next(chain, BigInt(checksum)) };
    const ended = channel.failure !== undefined || channel.fetching;
    if (channel.arrived.length < FETCH_BELOW && !ended) void this.#fetch(index);
    const release = () => this.#release(index, channel, seq);
    return { channel: index, seq, kind: kind as BufferKind, rows, bytes, release };
  }

  #release(index: number, channel: Channel, seq: number): void {
    if (seq < channel.consumed || channel.released.has(seq)) {
      throw new MillraceError('internal', 'RELEASED_TWICE', `buffer ${seq} of channel ${index} was released twice`);
    }
    channel.released.add(seq);
    while (channel.released.delete(channel.consumed)) channel.consumed++;
    if (this.#closed) return;
    this.#peer.notify(SERVICES.consumed, packMessage({ handle: this.#handle, channel: index, seq: channel.consumed }));
  }
}

function isReady({ paused, arrived, failure }: Channel): boolean {
  return !paused && (arrived.length > 0 || failure !== undefined);
}

/** Whoever waits for something to happen, or for time to pass. */
class Sleepers {
  readonly #clock: Clock;
  readonly #wakes = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  sleep(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        timer.cancel();
        this.#wakes.delete(wake);
        resolve();
      };
      const timer: Timer = this.#clock.schedule(timeoutMs, wake);
      this.#wakes.add(wake);
    });
  }

  wake(): void {
    for (const wake of [...this.#wakes]) wake();
  }
}
