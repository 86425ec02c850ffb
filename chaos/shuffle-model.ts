/** What a simulated shuffle was asked to do, and what it may answer. Knows of all processes; none of them knows it. */
import type { MillraceError } from '../base/index.js';
import type { InputBuffer, SubpartitionPosition } from '../shuffle/index.js';
import { type PartitionPlan, type PlannedBuffer, plannedBuffers, type WriterPlan } from './shuffle-plan.js';

/** One subpartition as one consumer reads it. */
export interface ChannelState {
  readonly partition: PartitionPlan;
  readonly subpartition: number;
  readonly consumer: number;
  readonly expected: readonly PlannedBuffer[];
  /** Below it everything was released; a new attempt begins here, or further back. */
  position: number;
  /** Highest `position` ever. */
  highest: number;
  state: 'reading' | 'ended' | 'lost';
}

/** One consumer of a writer: it reads its share of each partition. */
export interface ConsumerState {
  readonly name: string;
  readonly writer: WriterState;
  readonly mapped: boolean;
  readonly channels: readonly ChannelState[];
  attempts: number;
  readAgain: number;
  done: boolean;
}

export interface WriterState {
  readonly plan: WriterPlan;
  readonly expected: ReadonlyMap<string, readonly (readonly PlannedBuffer[])[]>;
  readonly consumers: readonly ConsumerState[];
  epoch: number;
  /** `released` from the moment the release is asked for. */
  phase: 'new' | 'registered' | 'finished' | 'released' | 'lost';
  /** The attempt of `epoch`: none yet, under way, ended without its END, to be replaced although it lives. */
  attempt: 'none' | 'running' | 'failed' | 'givenUp';
  /** Partitions of which the step with the END is on its way, or further. */
  readonly ended: Set<string>;
  /** The service holds all of it on disk. */
  durable: boolean;
  /** It shall be released whatever its state. */
  releaseAsked: boolean;
  /** The release was answered. */
  isGone: boolean;
  /** Everything below was trimmed, by partition and subpartition. */
  readonly floors: Map<string, number[]>;
}

export class ShuffleModel {
  readonly writers: WriterState[] = [];
  readonly #violate: (code: string, message: string) => void;
  /** A disk hung, failed or lost bytes: what was on it may be gone. */
  harmed = false;
  reboots = 0;
  readonly counts = { buffers: 0, lost: 0, trims: 0, attempts: 0, survived: 0 };

  constructor(violate: (code: string, message: string) => void) {
    this.#violate = violate;
  }

  add(plan: WriterPlan): WriterState {
    const expected = new Map(
      plan.partitions.map((p) => [
        p.partition,
        Array.from({ length: p.subpartitions }, (_, s) => plannedBuffers(p, s)),
      ]),
    );
    const consumers: ConsumerState[] = [];
    const writer: WriterState = {
      plan,
      expected,
      consumers,
      epoch: 0,
      phase: 'new',
      attempt: 'none',
      ended: new Set(),
      durable: false,
      releaseAsked: false,
      isGone: false,
      floors: new Map(plan.partitions.map((p) => [p.partition, Array.from({ length: p.subpartitions }, () => 0)])),
    };
    for (const [group, mapped] of plan.consumersMapped.entries()) {
      const channels = plan.partitions.flatMap((partition) =>
        channelsOf(partition, group, plan.consumersMapped.length, expected.get(partition.partition) ?? []),
      );
      const name = `c-${plan.writer}-${group}`;
      const consumer = { name, writer, mapped, channels, attempts: 0, readAgain: plan.readAgain, done: false };
      if (channels.length > 0) consumers.push(consumer);
    }
    this.writers.push(writer);
    return writer;
  }

  writer(name: string): WriterState | undefined {
    return this.writers.find(({ plan }) => plan.writer === name);
  }

  /** Memory is gone. Finished writers whose kept data is on disk must be there again; the rest is lost. */
  rebooted(): void {
    this.reboots++;
    for (const writer of this.writers) {
      if (writer.phase === 'new' || writer.phase === 'released') continue;
      if (!this.#survives(writer)) writer.phase = 'lost';
      else this.counts.survived++;
    }
  }

  /** `listed`: the writers a service that started again knows. */
  reconciled(listed: ReadonlySet<string>): void {
    for (const { plan, phase } of this.writers) {
      if (phase !== 'registered' && phase !== 'finished') continue;
      if (listed.has(plan.writer) || this.harmed) continue;
      this.#violate('WRITER_VANISHED', `${plan.writer} is ${phase}, and the service does not know it any more`);
    }
  }

  /** A buffer was read at `seq` of a channel. */
  read({ partition, subpartition, expected }: ChannelState, seq: number, buffer: InputBuffer, by: ConsumerState): void {
    this.counts.buffers++;
    const where = `${by.name}: ${partition.partition}[${subpartition}]`;
    const right = expected[seq];
    if (buffer.seq !== seq) this.#violate('READ_OUT_OF_ORDER', `${where} gave ${buffer.seq} where ${seq} was due`);
    if (right === undefined) return this.#violate('READ_PAST_END', `${where} has buffer ${seq} after its END`);
    const same = buffer.kind === right.kind && buffer.rows === right.rows;
    if (!same || Buffer.compare(buffer.bytes, right.bytes) !== 0) {
      this.#violate('READ_WRONG', `${where} has the wrong bytes, kind or rows at ${seq}`);
    }
    if (partition.type === 'blocking' && !by.writer.ended.has(partition.partition)) {
      this.#violate('BLOCKING_READ_EARLY', `${where} was read at ${seq} before it was finished`);
    }
  }

  openedAfterRelease({ name }: ConsumerState): void {
    // What was released while its disk was set aside comes back with that disk, until it expires.
    if (this.harmed) return;
    this.#violate('OPENED_AFTER_RELEASE', `${name} could attach to what had been released`);
  }

  unnamed(error: MillraceError, { name }: ConsumerState): void {
    this.#violate('LOSS_UNNAMED', `${name} was told ${error.code}, which names no channel of it: ${error.message}`);
  }

  /** A reader who asked for `seq` was told that it is not there. False when it may ask again from further on. */
  lost(channel: ChannelState, seq: number, error: MillraceError, by: ConsumerState): boolean {
    const { partition, subpartition } = channel;
    const { writer } = by;
    this.counts.lost++;
    if (writer.phase === 'released' || writer.phase === 'lost') return true;
    const isPipelined = partition.type === 'pipelined';
    if (seq < this.floor(writer, channel)) return false;
    if (isPipelined && seq < channel.highest) return false;
    if (this.harmed && !isPipelined) return true;
    const what = `${partition.partition}[${subpartition}] (${partition.type}, ${partition.retain}) at ${seq}`;
    this.#violate('LOST_WITHOUT_REASON', `${by.name} was refused ${what}: ${error.code}: ${error.message}`);
    return true;
  }

  /** The position of everything staged by a new attempt must have all that anyone has read. */
  opened(writer: WriterState, ordinal: number, positions: readonly SubpartitionPosition[]): void {
    const partition = writer.plan.partitions[ordinal];
    for (const [subpartition, { seq, chain }] of positions.entries()) {
      const buffers = writer.expected.get(partition?.partition ?? '')?.[subpartition] ?? [];
      const due = buffers[seq];
      if (due !== undefined && due.chain !== chain) {
        this.#violate(
          'CHAIN_WRONG',
          `${partition?.partition}[${subpartition}] goes on at ${seq} with another chain hash`,
        );
      }
      for (const channel of writer.consumers.flatMap(({ channels }) => channels)) {
        const isIt = channel.partition === partition && channel.subpartition === subpartition;
        if (isIt && channel.highest > seq) {
          const what = `${partition?.partition}[${subpartition}]`;
          this.#violate('READ_UNPUBLISHED', `${what} goes on at ${seq}, and was read up to ${channel.highest}`);
        }
      }
    }
  }

  /** Where trimming may go: behind all consumers. Counts as trimmed from now on. */
  raiseFloors(writer: WriterState, partition: PartitionPlan): readonly number[] {
    const floors = writer.floors.get(partition.partition) ?? [];
    for (let subpartition = 0; subpartition < floors.length; subpartition++) {
      const positions = writer.consumers
        .flatMap(({ channels }) => channels)
        .filter((c) => c.partition === partition && c.subpartition === subpartition)
        .map(({ position }) => position);
      floors[subpartition] = Math.max(floors[subpartition] ?? 0, Math.min(...positions));
    }
    this.counts.trims++;
    return [...floors];
  }

  floor(writer: WriterState, { partition, subpartition }: ChannelState): number {
    return writer.floors.get(partition.partition)?.[subpartition] ?? 0;
  }

  #survives({ plan, durable, phase }: WriterState): boolean {
    return durable && phase === 'finished' && plan.partitions.every(({ type }) => type !== 'pipelined');
  }
}

function channelsOf(
  partition: PartitionPlan,
  group: number,
  groups: number,
  expected: readonly (readonly PlannedBuffer[])[],
): ChannelState[] {
  const all = expected.map((buffers, subpartition) => ({ buffers, subpartition }));
  const mine = partition.broadcast ? all : all.filter(({ subpartition }) => subpartition % groups === group);
  return mine.map(({ buffers, subpartition }) => ({
    partition,
    subpartition,
    consumer: partition.broadcast ? group : 0,
    expected: buffers,
    position: 0,
    highest: 0,
    state: 'reading',
  }));
}
