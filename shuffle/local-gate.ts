import { type Clock, MillraceError, xxh64 } from '../base/index.js';
import { type Doorbell, MASTER_DOORBELL } from './doorbell.js';
import type { LocalChannel } from './local-channel.js';
import type { ShuffleMetrics } from './metrics.js';
import type { BufferKind, ChannelDescriptor, InputBuffer, InputGate, SubpartitionPosition } from './spi.js';
import type { TaskLog } from './task-log.js';
import { Waiter } from './waiter.js';

export interface GateParts {
  readonly channels: readonly LocalChannel[];
  /** A doorbell address of this gate alone. */
  readonly address: number;
  readonly clock: Clock;
  readonly doorbell: Doorbell;
  readonly metrics: ShuffleMetrics;
  readonly openLog: (number: number) => Promise<TaskLog>;
  readonly onClose: () => void;
}

/** Reads any number of subpartitions in shared memory, in turn. */
export class LocalGate implements InputGate {
  readonly channels: readonly ChannelDescriptor[];
  readonly #parts: GateParts;
  readonly #channels: readonly LocalChannel[];
  readonly #waiter: Waiter;
  /** Who is asked first by the next poll. */
  #turn = 0;
  #following = 0;
  /** Since `#countedFromMs`, when it last fell asleep. */
  #buffersIn = 0;
  #bytesIn = 0;
  #countedFromMs = 0;
  #failure: unknown;
  #closed = false;

  constructor(parts: GateParts) {
    this.#parts = parts;
    this.#channels = parts.channels;
    this.channels = parts.channels.map((channel) => channel.descriptor);
    const arm = (nap: boolean) => {
      const buffers = nap ? Math.floor((NAP_BYTES / this.#bytesIn) * this.#buffersIn) : 1;
      for (const channel of this.#channels) if (!channel.paused) channel.sleep(parts.address, buffers);
      if (nap) this.#beginCount();
    };
    for (const channel of this.#channels) channel.onFetched = () => this.#waiter.check();
    this.#waiter = new Waiter(parts.clock, parts.doorbell, parts.address, () => this.#isReady(), arm, {
      isBusy: () => parts.doorbell.far && this.#isBusy(),
    });
  }

  poll(): InputBuffer | undefined {
    if (this.#closed) throw new MillraceError('closed', 'GATE_CLOSED', 'the input gate is closed');
    if (this.#failure !== undefined) throw this.#failure;
    const count = this.#channels.length;
    for (let i = 0; i < count; i++) {
      const index = (this.#turn + i) % count;
      const channel = this.#channels[index] as LocalChannel;
      if (channel.paused) continue;
      try {
        const record = channel.next();
        const buffer = record === -1 ? undefined : this.#take(index, channel, record);
        if (buffer !== undefined) {
          this.#turn = (index + 1) % count;
          return buffer;
        }
      } catch (e) {
        throw this.#failed(e);
      }
      this.#followSuccessor(channel);
    }
    return undefined;
  }

  async whenAvailable(timeoutMs: number): Promise<void> {
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
    this.#closed = true;
    this.#waiter.close();
    this.#parts.onClose();
  }

  #take(index: number, channel: LocalChannel, record: number): InputBuffer | undefined {
    const { seq } = channel;
    const taken = channel.take(record);
    if (taken === undefined) return undefined;
    const { kind, rows, bytes, checksum } = taken;
    const { metrics } = this.#parts;
    metrics.buffersIn++;
    metrics.bytesIn += bytes.length;
    this.#buffersIn++;
    this.#bytesIn += bytes.length;
    return new LocalBuffer(this, index, seq, kind, rows, bytes, checksum);
  }

  /** For the buffers of this gate. */
  released(channel: number, seq: number): void {
    if (this.#closed) return;
    const writer = this.#channel(channel).release(seq);
    if (writer !== 0) this.#parts.doorbell.ring(writer);
  }

  /** Whether so much came since it last slept that a ring for each buffer costs more than a nap. */
  #isBusy(): boolean {
    const ms = this.#parts.clock.monotonicMs() - this.#countedFromMs;
    if (this.#buffersIn > ms * BUSY_BUFFERS_PER_MS && this.#bytesIn > 0) return true;
    this.#beginCount();
    return false;
  }

  #beginCount(): void {
    this.#buffersIn = 0;
    this.#bytesIn = 0;
    this.#countedFromMs = this.#parts.clock.monotonicMs();
  }

  #isReady(): boolean {
    if (this.#closed || this.#failure !== undefined) return true;
    for (const channel of this.#channels) {
      if (channel.paused) continue;
      if (channel.hasNext()) return true;
      this.#followSuccessor(channel);
    }
    return false;
  }

  #followSuccessor(channel: LocalChannel): void {
    const { successor } = channel;
    if (successor === undefined || this.#following > 0) return;
    this.#following++;
    this.#parts
      .openLog(successor)
      .then(
        (log) => channel.follow(log),
        (e: unknown) => {
          // Released, or succeeded once more, in between: the pointer says which when it is read again.
          if (!(e instanceof MillraceError && e.code === 'MEMORY_NOT_FOUND')) this.#failure ??= e;
        },
      )
      .finally(() => {
        this.#following--;
        this.#waiter.check();
      });
  }

  /** A gate that failed once keeps failing: the position behind the failure means nothing. */
  #failed(e: unknown): unknown {
    this.#failure = e;
    if (e instanceof MillraceError && e.code === 'PARTITION_LOST') this.#parts.doorbell.ring(MASTER_DOORBELL);
    return e;
  }

  #channel(index: number): LocalChannel {
    const channel = this.#channels[index];
    if (channel !== undefined) return channel;
    throw new MillraceError('invalid', 'CHANNEL_UNKNOWN', `the input gate has no channel ${index}`);
  }
}

class LocalBuffer implements InputBuffer {
  readonly channel: number;
  readonly seq: number;
  readonly kind: BufferKind;
  readonly rows: number;
  readonly bytes: Uint8Array;
  /** Of `bytes`, verified. */
  readonly checksum: bigint;
  #gate: LocalGate | undefined;

  constructor(
    gate: LocalGate,
    channel: number,
    seq: number,
    kind: BufferKind,
    rows: number,
    bytes: Uint8Array,
    checksum: bigint,
  ) {
    this.#gate = gate;
    this.checksum = checksum;
    this.channel = channel;
    this.seq = seq;
    this.kind = kind;
    this.rows = rows;
    this.bytes = bytes;
  }

  release(): void {
    const gate = this.#gate;
    if (gate === undefined) throw releasedTwice(this.channel, this.seq);
    this.#gate = undefined;
    gate.released(this.channel, this.seq);
  }
}

/** A ring takes some 150 us, of three event loops. */
const BUSY_BUFFERS_PER_MS = 8;
/** What may gather during a nap. */
const NAP_BYTES = 2 ** 20;

/** The checksum a buffer was verified with. */
export function checksumOf(buffer: InputBuffer): bigint {
  return buffer instanceof LocalBuffer ? buffer.checksum : xxh64(buffer.bytes);
}

export function releasedTwice(channel: number, seq: number): MillraceError {
  return new MillraceError('internal', 'RELEASED_TWICE', `buffer ${seq} of channel ${channel} was released twice`);
}
