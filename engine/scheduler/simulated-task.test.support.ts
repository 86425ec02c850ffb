import assert from 'node:assert/strict';
import { MillraceError, type Random } from '../../base/index.js';
import type { JobVertex } from '../graph/index.js';
import type { TaskChannel, TaskCommand, TaskDeployment, TaskEvent, TaskPosition } from '../runtime/index.js';
import {
  chainAfter,
  type Entry,
  Fenced,
  PartitionLost,
  type Position,
  type SimulatedLogs,
} from './simulated-logs.test.support.js';
import type { SimulatedSink } from './simulated-sink.test.support.js';

/** Keyed state of a simulated task: the rows it has seen from number `from` on. */
export interface StateDelta {
  readonly from: number;
  readonly rows: readonly string[];
  readonly full: boolean;
}

/** What a simulated task says of itself in its position, so that checks need not believe the scheduler. */
export interface Evidence {
  readonly attempt: number;
  readonly reads: readonly {
    readonly edge: number;
    readonly producer: number;
    readonly partition: string;
    readonly attached: boolean;
  }[];
  readonly writes: readonly string[];
}

export interface TaskWorld {
  readonly random: Random;
  readonly logs: SimulatedLogs;
  readonly sink: SimulatedSink;
  /** How many rows a source's subtask has. */
  rowsOf(vertex: number, subtask: number): number;
  hold(task: string, attempt: number, checkpoint: number, delta: StateDelta): void;
  fetch(object: string): StateDelta;
}

interface Channel {
  readonly of: TaskChannel;
  at: Position;
  ended: boolean;
}

const END: Entry = { kind: 'end' };

/**
 * One attempt of a task, written from the design rather than from the engine: it copies every row it reads to each of its
 * outputs, aligns barriers, counts ENDs as aligned, declines while a table is being built, and commits on command.
 */
export class SimulatedTask {
  readonly deployment: TaskDeployment;
  readonly slot: string;
  /** Reports on their way to the scheduler, oldest first. */
  readonly reports: TaskEvent[] = [];
  readonly #vertex: JobVertex;
  readonly #world: TaskWorld;
  readonly #hasSink: boolean;
  readonly #channels: Channel[];
  readonly #commands: TaskCommand[] = [];
  readonly #frozen = new Map<number, number>();
  #phase: 'opening' | 'running' | 'finished' | 'done' | 'dead' = 'opening';
  #seen: string[] = [];
  #completedUpTo = 0;
  #emitted = 0;
  #aligning: { readonly checkpoint: number; readonly arrived: Set<number> } | undefined;
  #deadUpTo: number;
  #lastCheckpoint: number;
  #unsent: string[] = [];
  #open: { readonly checkpoint: number; readonly transaction: string }[] = [];

  constructor(deployment: TaskDeployment, vertex: JobVertex, slot: string, world: TaskWorld) {
    this.deployment = deployment;
    this.slot = slot;
    this.#vertex = vertex;
    this.#world = world;
    this.#hasSink = vertex.outputs.length === 0;
    this.#deadUpTo = deployment.minCheckpoint - 1;
    this.#lastCheckpoint = deployment.minCheckpoint - 1;
    this.#channels = deployment.channels.map((of) => ({
      of,
      at: { seq: of.descriptor.from.seq, chain: of.descriptor.from.chain.toString(16).padStart(16, '0') },
      ended: of.ended,
    }));
  }

  get alive(): boolean {
    return this.#phase !== 'done' && this.#phase !== 'dead';
  }

  get running(): boolean {
    return this.#phase === 'running';
  }

  command(command: TaskCommand): void {
    if (command.kind === 'cancel') this.#phase = 'dead';
    else this.#commands.push(command);
  }

  /** The thread is gone: nothing of it runs any more; what it had said is on its way. */
  kill(): void {
    this.#phase = 'dead';
  }

  /** A user function threw. */
  fail(error: MillraceError): void {
    if (this.#phase === 'dead') return;
    this.#phase = 'dead';
    this.#report({ kind: 'failed', error: JSON.stringify(error) });
  }

  decline(checkpoint: number): void {
    if (this.#phase === 'running') this.#report({ kind: 'declined', checkpoint });
  }

  /** One step, in the order that chance decides. */
  step() {
    try {
      if (this.#phase === 'opening') return this.#start();
      const command = this.#commands.shift();
      if (command !== undefined) return this.#obey(command);
      if (this.#phase !== 'running') return;
      if (this.#vertex.inputs.length === 0) this.#sourceStep();
      else this.#inputStep();
    } catch (thrown) {
      if (thrown instanceof Fenced) this.fail(new MillraceError('fenced', 'WRITER_FENCED', thrown.message));
      else if (thrown instanceof PartitionLost) {
        this.fail(
          new MillraceError('unavailable', 'PARTITION_LOST', thrown.message, {
            context: { partition: thrown.partition },
          }),
        );
      } else throw thrown;
    }
  }

  #start() {
    const { restore, task, writer } = this.deployment;
    this.#world.logs.openWriter(writer);
    if (this.#hasSink)
      this.#world.sink.recover(task, restore?.position.transactions.map(({ transaction }) => transaction) ?? []);
    if (restore !== undefined) {
      for (const ref of restore.segments) {
        const delta = this.#world.fetch(ref.object);
        assert.ok(delta.from <= this.#seen.length, `${task}: a segment is missing`);
        this.#seen = [...this.#seen.slice(0, delta.from), ...delta.rows];
      }
      if (!restore.finished)
        assert.equal(
          this.#seen.length,
          restore.position.lateDropped,
          `${task}: restored another state than was snapshotted`,
        );
      this.#completedUpTo = this.#seen.length;
      this.#emitted = restore.position.sourceRows;
    }
    if (restore?.finished === true) {
      this.#phase = 'done';
      return this.#report({ kind: 'done' });
    }
    for (const { of, at, ended } of this.#channels) {
      if (!ended) this.#world.logs.read(of.descriptor.partition, of.descriptor.subpartition, at);
    }
    this.#phase = 'running';
    this.#report({ kind: 'running' });
  }

  #obey(command: TaskCommand) {
    switch (command.kind) {
      case 'trigger':
        if (this.#phase === 'running' && command.checkpoint > this.#lastCheckpoint) this.#snapshot(command.checkpoint);
        return;
      case 'aborted':
        this.#deadUpTo = Math.max(this.#deadUpTo, command.checkpoint);
        if (this.#vertex.inputs.length === 0) this.#lastCheckpoint = Math.max(this.#lastCheckpoint, command.checkpoint);
        if ((this.#aligning?.checkpoint ?? Number.POSITIVE_INFINITY) <= command.checkpoint) this.#aligning = undefined;
        return;
      case 'completed': {
        this.#completedUpTo = this.#frozen.get(command.checkpoint) ?? this.#completedUpTo;
        const due = this.#open.filter(({ checkpoint }) => command.finished || checkpoint <= command.checkpoint);
        for (const { transaction } of due) this.#world.sink.commit(transaction);
        this.#open = this.#open.filter((open) => !due.includes(open));
        if (!command.finished || this.#phase !== 'finished') return;
        this.#phase = 'done';
        return this.#report({ kind: 'done' });
      }
      case 'cancel':
        return;
    }
  }

  #sourceStep() {
    const { vertex, subtask } = this.deployment;
    if (this.#emitted === this.#world.rowsOf(vertex, subtask)) return this.#finish();
    this.#row(`${this.deployment.task}#${this.#emitted++}`);
  }

  #inputStep() {
    if (this.#channels.every(({ ended }) => ended)) return this.#finish();
    const readable = this.#channels.filter((channel, index) => this.#mayRead(channel, index));
    const channel = readable[this.#world.random.below(Math.max(1, readable.length))];
    if (channel === undefined) return;
    const { partition, subpartition } = channel.of.descriptor;
    const entry = this.#world.logs.read(partition, subpartition, channel.at);
    if (entry === undefined) return;
    channel.at = { seq: channel.at.seq + 1, chain: chainAfter(channel.at.chain, entry) };
    if (entry.kind === 'row') return this.#row(entry.row);
    if (entry.kind === 'end') channel.ended = true;
    else this.#barrier(this.#channels.indexOf(channel), entry.checkpoint);
    this.#completeAlignment();
  }

  #mayRead(channel: Channel, index: number): boolean {
    if (channel.ended || this.#aligning?.arrived.has(index) === true) return false;
    return !this.#building || this.#isBuildSide(channel);
  }

  get #building(): boolean {
    return this.#channels.some((channel) => !channel.ended && this.#isBuildSide(channel));
  }

  #isBuildSide(channel: Channel): boolean {
    return this.#vertex.inputs.some((edge) => edge.id === channel.of.edge && edge.buildFirst);
  }

  #barrier(index: number, checkpoint: number) {
    if (checkpoint <= this.#deadUpTo || checkpoint < (this.#aligning?.checkpoint ?? 0)) return;
    if (this.#building) {
      this.#deadUpTo = checkpoint;
      return this.#report({ kind: 'declined', checkpoint });
    }
    if (this.#aligning?.checkpoint !== checkpoint) this.#aligning = { checkpoint, arrived: new Set() };
    this.#aligning.arrived.add(index);
  }

  #completeAlignment(): void {
    const aligning = this.#aligning;
    if (aligning === undefined || !this.#channels.every(({ ended }, index) => ended || aligning.arrived.has(index)))
      return;
    this.#aligning = undefined;
    this.#snapshot(aligning.checkpoint);
  }

  #snapshot(checkpoint: number): void {
    this.#lastCheckpoint = checkpoint;
    this.#event({ kind: 'barrier', checkpoint });
    const full = this.#world.random.chance(0.2);
    const from = full ? 0 : this.#completedUpTo;
    const delta = { from, rows: this.#seen.slice(from), full };
    this.#frozen.set(checkpoint, this.#seen.length);
    const held = delta.rows.length > 0;
    const { task, attempt } = this.deployment;
    if (held) this.#world.hold(task, attempt, checkpoint, delta);
    this.#preCommit(checkpoint);
    this.#report({ kind: 'acknowledged', checkpoint, position: this.#position(), held });
  }

  #finish(): void {
    this.#event(END);
    this.#phase = 'finished';
    this.#preCommit(this.#lastCheckpoint + 1);
    this.#report({ kind: 'finished', position: this.#position() });
  }

  #row(row: string): void {
    this.#seen.push(row);
    if (this.#hasSink) this.#unsent.push(row);
    for (const { partition, subpartitions } of this.deployment.partitions) {
      const subpartition = [...row].reduce((sum, char) => sum * 31 + char.charCodeAt(0), 7) % subpartitions;
      this.#world.logs.append(this.deployment.writer, partition, subpartition, { kind: 'row', row });
    }
  }

  #event(entry: Entry): void {
    for (const { partition, subpartitions } of this.deployment.partitions) {
      for (let i = 0; i < subpartitions; i++) this.#world.logs.append(this.deployment.writer, partition, i, entry);
    }
  }

  #preCommit(checkpoint: number): void {
    if (this.#unsent.length === 0) return;
    const { task, writer } = this.deployment;
    this.#open.push({ checkpoint, transaction: this.#world.sink.preCommit(task, writer, checkpoint, this.#unsent) });
    this.#unsent = [];
  }

  #position(): TaskPosition {
    const { attempt, partitions } = this.deployment;
    const evidence: Evidence = {
      attempt,
      reads: this.#channels.map(({ of }) => ({
        edge: of.edge,
        producer: of.producer,
        partition: of.descriptor.partition,
        attached: !of.ended,
      })),
      writes: partitions.map(({ partition }) => partition),
    };
    return {
      inputs: this.#channels.map(({ of, at, ended }) => ({
        edge: of.edge,
        producer: of.producer,
        ...at,
        watermark: null,
        ended,
      })),
      outputs: partitions.map(({ partition }) => this.#world.logs.written(partition)),
      watermark: null,
      source: JSON.stringify(evidence),
      transactions: [...this.#open],
      sourceRows: this.#emitted,
      lateDropped: this.#seen.length,
    };
  }

  #report(event: DistributiveOmit<TaskEvent, 'task' | 'attempt'>): void {
    const { task, attempt } = this.deployment;
    this.reports.push({ task, attempt, ...event });
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
