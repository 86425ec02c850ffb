import assert from 'node:assert/strict';
import type {
  BufferKind,
  ChannelDescriptor,
  InputBuffer,
  InputGate,
  SubpartitionPosition,
} from '../../shuffle/index.js';
import { BUFFER_BARRIER, BUFFER_DATA, BUFFER_END, BUFFER_IDLE, BUFFER_WATERMARK } from '../../shuffle/index.js';
import { barrierPayload, watermarkPayload } from './event-payload.js';

interface Scripted {
  readonly kind: BufferKind;
  readonly bytes: Uint8Array;
}

const EMPTY = new Uint8Array(0);

/** What a script can say a channel delivers next. */
export const says = {
  row: (number = 0): Scripted => ({ kind: BUFFER_DATA, bytes: Uint8Array.of(number) }),
  barrier: (checkpoint: number): Scripted => ({ kind: BUFFER_BARRIER, bytes: barrierPayload(checkpoint) }),
  watermark: (timeMs: number): Scripted => ({ kind: BUFFER_WATERMARK, bytes: watermarkPayload(timeMs) }),
  idle: { kind: BUFFER_IDLE, bytes: EMPTY } as Scripted,
  end: { kind: BUFFER_END, bytes: EMPTY } as Scripted,
};

/** An InputGate whose channels deliver what a test put there, lowest channel first; it knows what is paused and not yet released. */
export class ScriptedGate implements InputGate {
  readonly channels: readonly ChannelDescriptor[];
  readonly paused = new Set<number>();
  unreleased = 0;
  readonly #queues: Scripted[][];
  readonly #seqs: number[];

  constructor(channels: readonly ChannelDescriptor[]) {
    this.channels = channels;
    this.#queues = channels.map(() => []);
    this.#seqs = channels.map(({ from }) => from.seq);
  }

  put(channel: number, ...buffers: readonly Scripted[]): this {
    this.#queues[channel]?.push(...buffers);
    return this;
  }

  waiting(channel: number): number {
    return this.#queues[channel]?.length ?? 0;
  }

  poll(): InputBuffer | undefined {
    const channel = this.#queues.findIndex((queue, index) => queue.length > 0 && !this.paused.has(index));
    const next = this.#queues[channel]?.shift();
    if (next === undefined) return undefined;
    const seq = this.#seqs[channel] as number;
    this.#seqs[channel] = seq + 1;
    this.unreleased++;
    let released = false;
    const release = () => {
      assert.ok(!released, 'a buffer is released twice');
      released = true;
      this.unreleased--;
    };
    return { channel, seq, kind: next.kind, rows: next.kind === BUFFER_DATA ? 1 : 0, bytes: next.bytes, release };
  }

  async whenAvailable(): Promise<void> {}

  pause(channel: number): void {
    this.paused.add(channel);
  }

  resume(channel: number): void {
    this.paused.delete(channel);
  }

  positions(): readonly SubpartitionPosition[] {
    return this.#seqs.map((seq) => ({ seq, chain: BigInt(seq) }));
  }

  async close(): Promise<void> {}
}
