import type { InputBuffer, InputGate } from '../../shuffle/index.js';
import { BUFFER_BARRIER, BUFFER_DATA, BUFFER_END, BUFFER_WATERMARK } from '../../shuffle/index.js';
import type { ChannelPosition, TaskChannel } from './deployment.js';
import { readBarrier, readWatermark } from './event-payload.js';
import { MAX_WATERMARK } from './operator-chain.js';
import type { TaskFaults } from './task-environment.js';

/** What one polled buffer means for the task. */
export type InputEvent =
  | { readonly kind: 'data'; readonly channel: TaskChannel; readonly buffer: InputBuffer }
  /** Event time of all inputs together advanced. */
  | { readonly kind: 'watermark'; readonly timeMs: number }
  /** Every channel has delivered this barrier, or its END: take the snapshot, then call `aligned`. */
  | { readonly kind: 'barrier'; readonly checkpoint: number }
  /** A barrier came while a table is being built: this checkpoint cannot be aligned without blocking on itself. */
  | { readonly kind: 'declined'; readonly checkpoint: number }
  /** All channels of an input edge have ended. */
  | { readonly kind: 'edgeEnded'; readonly edge: number }
  /** Consumed, nothing to do. */
  | { readonly kind: 'nothing' };

/**
 * The input side of one task attempt: barrier alignment (Carbone et al., 2015), the minimum of the channels'
 * watermarks, tables that are built first, and ENDs that count as aligned.
 *
 * The gate has one channel for each that had not ended at the snapshot; `#live` maps its indexes to the deployment's.
 */
export class TaskInputs {
  readonly #channels: readonly TaskChannel[];
  readonly #live: readonly number[];
  readonly #gate: InputGate;
  readonly #watermarks: number[];
  readonly #ended: boolean[];
  readonly #buildFirst: ReadonlySet<number>;
  #events: InputEvent[] = [];
  #combined: number;
  #aligning: { readonly checkpoint: number; readonly arrived: Set<number> } | undefined;
  readonly #faults: TaskFaults;
  /** Checkpoints up to this id will never complete here. */
  #abortedUpTo: number;

  constructor(options: {
    readonly channels: readonly TaskChannel[];
    /** Opened on the channels that have not ended, in order. */
    readonly gate: InputGate;
    readonly buildFirstEdges: ReadonlySet<number>;
    readonly minCheckpoint: number;
    readonly faults?: TaskFaults | undefined;
  }) {
    this.#channels = options.channels;
    this.#gate = options.gate;
    this.#live = options.channels.flatMap((channel, index) => (channel.ended ? [] : [index]));
    this.#watermarks = options.channels.map((channel) => (channel.ended ? MAX_WATERMARK : channel.watermark));
    this.#ended = options.channels.map((channel) => channel.ended);
    this.#buildFirst = options.buildFirstEdges;
    this.#abortedUpTo = options.minCheckpoint - 1;
    this.#faults = options.faults ?? {};
    this.#combined = Math.min(...this.#watermarks);
    if (this.#building) this.#pauseProbeSide();
  }

  /** Event time reached by all inputs. */
  get watermark(): number {
    return this.#combined;
  }

  get allEnded(): boolean {
    return this.#ended.every((ended) => ended) && this.#events.length === 0;
  }

  whenAvailable(timeoutMs: number): Promise<void> {
    return this.#gate.whenAvailable(timeoutMs);
  }

  /** What the next visible buffer means, or undefined when there is none. Data must be released by the caller. */
  next(): InputEvent | undefined {
    const queued = this.#events.shift();
    if (queued !== undefined) return queued;
    const buffer = this.#gate.poll();
    if (buffer === undefined) return undefined;
    const index = this.#live[buffer.channel] as number;
    const channel = this.#channels[index] as TaskChannel;
    if (buffer.kind === BUFFER_DATA) return { kind: 'data', channel, buffer };
    try {
      if (buffer.kind === BUFFER_WATERMARK) return this.#onWatermark(index, readWatermark(buffer.bytes));
      if (buffer.kind === BUFFER_BARRIER) return this.#onBarrier(index, buffer.channel, readBarrier(buffer.bytes));
      if (buffer.kind === BUFFER_END) return this.#onEnd(index);
      return { kind: 'nothing' };
    } finally {
      buffer.release();
    }
  }

  /** The snapshot for the aligned barrier is taken: the channels go on. */
  aligned(): void {
    this.#resumeAligning();
  }

  /** A checkpoint will never complete: stop waiting for its barriers, skip those still to come. */
  aborted(checkpoint: number): void {
    this.#abortedUpTo = Math.max(this.#abortedUpTo, checkpoint);
    if (this.#aligning !== undefined && this.#aligning.checkpoint <= checkpoint) this.#resumeAligning();
    this.#events = this.#events.filter((event) => event.kind !== 'barrier' || event.checkpoint > checkpoint);
  }

  positions(): ChannelPosition[] {
    const positions = this.#gate.positions();
    return this.#channels.map((channel, index) => {
      const live = this.#live.indexOf(index);
      const at = (live === -1 ? undefined : positions[live]) ?? channel.descriptor.from;
      const watermark = this.#watermarks[index] as number;
      return {
        edge: channel.edge,
        producer: channel.producer,
        seq: at.seq,
        chain: at.chain.toString(16).padStart(16, '0'),
        watermark: Number.isFinite(watermark) ? watermark : null,
        ended: this.#ended[index] as boolean,
      };
    });
  }

  close(): Promise<void> {
    return this.#gate.close();
  }

  #onWatermark(index: number, timeMs: number): InputEvent {
    if (timeMs > (this.#watermarks[index] as number)) this.#watermarks[index] = timeMs;
    return this.#combine() ?? { kind: 'nothing' };
  }

  #onBarrier(index: number, gateChannel: number, checkpoint: number): InputEvent {
    if (checkpoint <= this.#abortedUpTo) return { kind: 'nothing' };
    if (this.#building) {
      // Waiting for the other side's barrier would wait for the build side's END, which is behind this barrier.
      this.#abortedUpTo = checkpoint;
      return { kind: 'declined', checkpoint };
    }
    if (this.#aligning !== undefined && this.#aligning.checkpoint !== checkpoint) this.#resumeAligning();
    // A newer barrier proves that all older checkpoints are dead, before the scheduler's word of it may have come: theirs are skipped.
    this.#abortedUpTo = checkpoint - 1;
    this.#aligning ??= { checkpoint, arrived: new Set() };
    this.#aligning.arrived.add(index);
    this.#gate.pause(gateChannel);
    return this.#alignedEvent() ?? { kind: 'nothing' };
  }

  #onEnd(index: number): InputEvent {
    const wasBuilding = this.#building;
    this.#ended[index] = true;
    this.#watermarks[index] = MAX_WATERMARK;
    const edge = (this.#channels[index] as TaskChannel).edge;
    const edgeEnded = this.#channels.every((channel, i) => channel.edge !== edge || this.#ended[i] === true);
    if (wasBuilding && !this.#building) this.#live.forEach((_, gateChannel) => void this.#gate.resume(gateChannel));
    if (edgeEnded) this.#events.push({ kind: 'edgeEnded', edge });
    // The rows before END belong to the time it closes; then an alignment that waited for this channel may be complete.
    const watermark = this.#combine();
    if (watermark !== undefined) this.#events.push(watermark);
    const aligned = this.#alignedEvent();
    if (aligned !== undefined) this.#events.push(aligned);
    return this.#events.shift() ?? { kind: 'nothing' };
  }

  #combine(): InputEvent | undefined {
    const combined = Math.min(...this.#watermarks);
    if (combined <= this.#combined) return undefined;
    this.#combined = combined;
    return { kind: 'watermark', timeMs: combined };
  }

  #alignedEvent(): InputEvent | undefined {
    const aligning = this.#aligning;
    if (aligning === undefined) return undefined;
    const endCounts = this.#faults.endNotAligned !== true;
    const complete = this.#channels.every(
      (_, index) => (endCounts && this.#ended[index] === true) || aligning.arrived.has(index),
    );
    return complete ? { kind: 'barrier', checkpoint: aligning.checkpoint } : undefined;
  }

  #resumeAligning(): void {
    const arrived = this.#aligning?.arrived;
    this.#aligning = undefined;
    if (arrived === undefined) return;
    this.#live.forEach((index, gateChannel) => {
      if (arrived.has(index)) this.#gate.resume(gateChannel);
    });
  }

  get #building(): boolean {
    return this.#channels.some((channel, index) => this.#buildFirst.has(channel.edge) && this.#ended[index] === false);
  }

  #pauseProbeSide(): void {
    this.#live.forEach((index, gateChannel) => {
      if (!this.#buildFirst.has((this.#channels[index] as TaskChannel).edge)) this.#gate.pause(gateChannel);
    });
  }
}
