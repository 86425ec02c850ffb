import { type Clock, MillraceError, type SerializedError, type Timer, xxh64 } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { ChainHash } from './chain-hash.js';
import { noDoorbell } from './doorbell.js';
import { HandleT, type Push, ReleasedT } from './generated/millrace/shuffle.js';
import { releasedTwice } from './local-gate.js';
import { encode, SHUFFLE_SERVICES } from './message.js';
import type { ShuffleMetrics } from './metrics.js';
import { bufferCorrupt, bufferOutOfOrder, malformed } from './shuffle-errors.js';
import {
  BUFFER_END,
  type BufferKind,
  type ChannelDescriptor,
  type InputBuffer,
  type InputGate,
  type SubpartitionPosition,
} from './spi.js';
import { Waiter } from './waiter.js';

/** Reads partitions in another process, which pushes within a credit; released buffers give it back. */
export class WireGate implements InputGate {
  readonly channels: readonly ChannelDescriptor[];
  readonly #handle: number;
  readonly #peer: RpcPeer;
  readonly #metrics: ShuffleMetrics;
  readonly #onClose: () => void;
  readonly #waiter: Waiter;
  readonly #channels: WireChannel[];
  readonly #chainHash = new ChainHash();
  readonly #releasedChannels: number[] = [];
  readonly #releasedSeqs: bigint[] = [];
  readonly #clock: Clock;
  readonly #creditBytes: number;
  #releasedBytes = 0;
  #flushTimer: Timer | undefined;
  #turn = 0;
  #failure: unknown;
  #closed = false;

  constructor(parts: {
    readonly channels: readonly ChannelDescriptor[];
    readonly handle: number;
    readonly peer: RpcPeer;
    readonly clock: Clock;
    /** Of each channel. */
    readonly creditBytes: number;
    readonly metrics: ShuffleMetrics;
    readonly onClose: () => void;
  }) {
    this.channels = parts.channels;
    this.#handle = parts.handle;
    this.#peer = parts.peer;
    this.#metrics = parts.metrics;
    this.#onClose = parts.onClose;
    this.#clock = parts.clock;
    this.#creditBytes = parts.creditBytes;
    this.#channels = parts.channels.map(({ from }) => ({ position: from, arrived: [], paused: false }));
    this.#waiter = new Waiter(
      parts.clock,
      { ...noDoorbell(), live: true },
      0,
      () => this.#isReady(),
      () => {},
      { patient: false },
    );
  }

  /** A buffer arrived. The payload belongs to this gate. */
  pushed(push: Push, payload: Uint8Array): void {
    const error = push.error();
    if (error !== null) {
      this.fail(MillraceError.fromJSON(JSON.parse(error) as SerializedError));
      return;
    }
    // Columns are read in place, so they need the alignment they had when they were written.
    const bytes = payload.byteOffset % 8 === 0 ? payload : payload.slice();
    if (bytes !== payload) this.#peer.recycle(payload);
    const kind = push.kind() as BufferKind;
    const arrived = { seq: Number(push.seq()), kind, rows: push.rows(), checksum: push.checksum(), bytes };
    const channel = this.#channels[push.channel()];
    if (channel === undefined) throw malformed(`a buffer of channel ${push.channel()} of ${this.#channels.length}`);
    if (kind > BUFFER_END) throw malformed(`a buffer of kind ${kind}`);
    channel.arrived.push(arrived);
    this.#waiter.check();
  }

  fail(error: unknown): void {
    this.#failure ??= error;
    this.#waiter.check();
  }

  poll(): InputBuffer | undefined {
    if (this.#closed) throw new MillraceError('closed', 'GATE_CLOSED', 'the input gate is closed');
    const count = this.#channels.length;
    for (let i = 0; i < count; i++) {
      const index = (this.#turn + i) % count;
      const channel = this.#channels[index] as WireChannel;
      if (channel.paused || channel.arrived.length === 0) continue;
      this.#turn = (index + 1) % count;
      return this.#take(index, channel);
    }
    // What arrived before the failure is good.
    if (this.#failure !== undefined) throw this.#failure;
    return undefined;
  }

  whenAvailable(timeoutMs: number): Promise<void> {
    return this.#waiter.wait(timeoutMs);
  }

  pause(channel: number): void {
    this.#channel(channel).paused = true;
  }

  resume(channel: number): void {
    this.#channel(channel).paused = false;
    this.#waiter.check();
  }

  positions(): readonly SubpartitionPosition[] {
    return this.#channels.map((channel) => channel.position);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#flushReleased();
    this.#closed = true;
    this.#waiter.close();
    this.#onClose();
    await this.#peer.request(SHUFFLE_SERVICES.closeGate, encode(new HandleT(this.#handle))).catch(() => {});
  }

  #take(index: number, channel: WireChannel): InputBuffer {
    const { seq, kind, rows, checksum, bytes } = channel.arrived.shift() as ArrivedBuffer;
    const { partition, subpartition } = this.channels[index] as ChannelDescriptor;
    const { position } = channel;
    if (seq !== position.seq) {
      throw this.#broken(bufferOutOfOrder(partition, subpartition, position.seq, `seq ${seq} came instead`));
    }
    if (xxh64(bytes) !== checksum) {
      throw this.#broken(bufferCorrupt(partition, subpartition, seq, 'it was damaged on the way here'));
    }
    channel.position = { seq: seq + 1, chain: this.#chainHash.next(position.chain, checksum) };
    this.#metrics.buffersIn++;
    this.#metrics.bytesIn += bytes.length;
    let released = false;
    const release = () => {
      if (released) throw releasedTwice(index, seq);
      released = true;
      this.#peer.recycle(bytes);
      this.#release(index, seq, bytes.length);
    };
    return { channel: index, seq, kind, rows, bytes, release };
  }

  /** Credit that goes back buffer by buffer costs the service as many messages as it sends. */
  #release(channel: number, seq: number, bytes: number): void {
    if (this.#closed) return;
    this.#releasedChannels.push(channel);
    this.#releasedSeqs.push(BigInt(seq));
    this.#releasedBytes += bytes;
    const due = this.#releasedSeqs.length >= RELEASES_MAX || this.#releasedBytes >= this.#creditBytes / 4;
    if (due) this.#flushReleased();
    else this.#flushTimer ??= this.#clock.schedule(RELEASES_MS, () => this.#flushReleased());
  }

  #flushReleased(): void {
    this.#flushTimer?.cancel();
    this.#flushTimer = undefined;
    if (this.#closed || this.#releasedSeqs.length === 0) return;
    this.#releasedBytes = 0;
    const released = new ReleasedT(this.#handle, this.#releasedChannels, this.#releasedSeqs);
    this.#peer.notify(SHUFFLE_SERVICES.released, encode(released));
    this.#releasedChannels.length = 0;
    this.#releasedSeqs.length = 0;
  }

  #broken(error: MillraceError): MillraceError {
    this.#failure ??= error;
    for (const channel of this.#channels) channel.arrived.length = 0;
    return error;
  }

  #isReady(): boolean {
    if (this.#failure !== undefined || this.#closed) return true;
    return this.#channels.some((channel) => !channel.paused && channel.arrived.length > 0);
  }

  #channel(index: number): WireChannel {
    const channel = this.#channels[index];
    if (channel !== undefined) return channel;
    throw new MillraceError('invalid', 'CHANNEL_UNKNOWN', `the input gate has no channel ${index}`);
  }
}

interface WireChannel {
  position: SubpartitionPosition;
  readonly arrived: ArrivedBuffer[];
  paused: boolean;
}

interface ArrivedBuffer {
  readonly seq: number;
  readonly kind: BufferKind;
  readonly rows: number;
  readonly checksum: bigint;
  readonly bytes: Uint8Array;
}

/** Credit goes back in batches of at most so many, ... */
const RELEASES_MAX = 16;
/** ... and after so long at the latest, also when the consumer is busy with something else. */
const RELEASES_MS = 1;
