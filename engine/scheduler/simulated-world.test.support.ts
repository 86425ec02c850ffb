import assert from 'node:assert/strict';
import { MillraceError, type Random, type SerializedError, seededRandom } from '../../base/index.js';
import type { CompactionPlan, SegmentRef } from '../../checkpoint/index.js';
import type { JobGraph, JobVertex } from '../graph/index.js';
import type { TaskCommand, TaskDeployment } from '../runtime/index.js';
import type { SchedulerEffect, SchedulerEvent } from './events.js';
import type { JobScheduler } from './job-scheduler.js';
import { SchedulerJudge } from './scheduler-judge.test.support.js';
import { SimulatedLogs } from './simulated-logs.test.support.js';
import { SimulatedSink } from './simulated-sink.test.support.js';
import { SimulatedTask, type StateDelta } from './simulated-task.test.support.js';

export const FAULTS = [
  'loseSlot',
  'zombieSlot',
  'taskFails',
  'declines',
  'persistFails',
  'publishFails',
  'prepareFails',
  'partitionLost',
  'checkpointNow',
] as const;

export interface Fault {
  /** How many steps the world has taken when it strikes. */
  readonly at: number;
  readonly kind: (typeof FAULTS)[number];
}

type Prepare = Extract<SchedulerEffect, { kind: 'prepare' }>;

interface Slot {
  readonly down: (TaskDeployment | TaskCommand)[];
  state: 'up' | 'dying' | 'away';
}

/**
 * Everything around a JobScheduler, in one thread and in an order that chance decides: slots with simulated tasks, the
 * shuffle service, the daemon, HEAD and the sinks. Answers may come late, in any order, or from the dead. Every effect is
 * held against the invariants as it appears (`SchedulerJudge`); a run is a function of its arguments.
 */
export class SimulatedWorld {
  readonly #graph: JobGraph;
  readonly #scheduler: JobScheduler;
  readonly #jobId: string;
  readonly #random: Random;
  readonly #judge: SchedulerJudge;
  readonly #faults: Fault[];
  readonly #logs = new SimulatedLogs();
  readonly #sink: SimulatedSink;
  readonly #sourceRows: number;
  readonly #slots = new Map<string, Slot>();
  readonly #deployedTo = new Map<string, string>();
  #tasks: SimulatedTask[] = [];
  /** Prepares not yet carried out, in order per task; then answers on their way. */
  readonly #prepares: Prepare[] = [];
  readonly #answers: SchedulerEvent[] = [];
  /** Merges whose names are reserved. */
  readonly #compacting = new Set<number>();
  compactions = 0;
  readonly #held = new Map<string, StateDelta>();
  readonly #stored: Map<string, StateDelta>;
  readonly #failing = { persist: 0, publish: 0, prepare: 0 };
  #nowMs = 0;
  #slotsAwaited = false;
  #ended: { readonly error: SerializedError | undefined } | undefined;
  steps = 0;

  constructor(options: {
    readonly graph: JobGraph;
    readonly scheduler: JobScheduler;
    readonly jobId: string;
    readonly seed: number;
    readonly faults: readonly Fault[];
    readonly sourceRows: number;
    readonly spareSlots: number;
    /** Of an earlier leader: what outlived it is taken over. The scheduler was made with its HEAD. */
    readonly before?: SimulatedWorld;
  }) {
    this.#graph = options.graph;
    this.#scheduler = options.scheduler;
    this.#jobId = options.jobId;
    this.#random = seededRandom(options.seed);
    this.#faults = [...options.faults].sort((a, b) => a.at - b.at);
    this.#sourceRows = options.sourceRows;
    this.#sink = options.before === undefined ? new SimulatedSink() : options.before.#sink;
    this.#stored = options.before === undefined ? new Map() : options.before.#stored;
    this.#judge = new SchedulerJudge(options.graph, this.#logs, this.#sink, options.before?.judge.head);
    const width = Math.max(...options.graph.vertices.map(({ parallelism }) => parallelism));
    for (let slot = 0; slot < width + options.spareSlots; slot++)
      this.#slots.set(`w/${slot}`, { down: [], state: 'away' });
  }

  get judge(): SchedulerJudge {
    return this.#judge;
  }

  /** Runs for some steps; then everything but HEAD, what it refers to, and the sinks' files is gone. */
  crashAfter(steps: number): void {
    while (this.#ended === undefined && this.steps++ < steps) this.#oneThing();
  }

  /** Runs until the scheduler ends the job. Fails when it never does, or ends it with an error. */
  run(stepsMax: number): void {
    while (this.#ended === undefined) {
      assert.ok(
        this.steps++ < stepsMax,
        `the job has not ended after ${stepsMax} steps: ${JSON.stringify(this.#scheduler.tasks)}`,
      );
      while ((this.#faults[0]?.at ?? Number.POSITIVE_INFINITY) <= this.steps)
        this.#strike((this.#faults.shift() as Fault).kind);
      this.#oneThing();
    }
    assert.equal(this.#ended.error, undefined, `the job ended with ${JSON.stringify(this.#ended.error)}`);
    this.#judge.checkCompleted(this.#expectedOutput());
  }

  #oneThing() {
    const r = this.#random;
    const alive = this.#tasks.filter((task) => task.alive);
    const kind = r.below(100);
    if (kind < 50) return alive[r.below(Math.max(1, alive.length))]?.step();
    if (kind < 68) return this.#deliverReport();
    if (kind < 79) return this.#deliverDown();
    if (kind < 83) return this.#carryOutPrepare();
    if (kind < 91) return this.#deliverAnswer();
    if (kind < 96) {
      this.#nowMs += r.below(40);
      return this.#dispatch({ kind: 'checkpointDue', nowMs: this.#nowMs });
    }
    if (kind < 99) return this.#slotsMove();
    if (this.#slotsAwaited && this.#up.length > 0) this.#dispatch({ kind: 'slotsOverdue' });
  }

  #deliverReport() {
    const talking = this.#tasks.filter(
      (task) => task.reports.length > 0 && this.#slots.get(task.slot)?.state !== 'away',
    );
    const task = talking[this.#random.below(Math.max(1, talking.length))];
    const event = task?.reports.shift();
    if (event !== undefined) this.#dispatch({ kind: 'task', event });
  }

  #deliverDown(): void {
    const busy = [...this.#slots].filter(([, slot]) => slot.state === 'up' && slot.down.length > 0);
    const [name, slot] = busy[this.#random.below(Math.max(1, busy.length))] ?? [];
    const message = slot?.down.shift();
    if (message === undefined || name === undefined) return;
    if ('writer' in message) {
      const vertex = this.#graph.vertices[message.vertex] as JobVertex;
      this.#tasks.push(new SimulatedTask(message, vertex, name, this.#taskWorld));
    } else {
      const named = this.#tasks.find(
        ({ deployment: d, slot: at }) => d.task === message.task && d.attempt === message.attempt && at === name,
      );
      named?.command(message);
    }
  }

  get #taskWorld() {
    return {
      random: this.#random,
      logs: this.#logs,
      sink: this.#sink,
      rowsOf: (vertex: number, subtask: number) => this.#rowsOf(vertex, subtask),
      hold: (task: string, attempt: number, checkpoint: number, delta: StateDelta) => {
        this.#held.set(`${task}/${attempt}/${checkpoint}`, delta);
      },
      fetch: (object: string) => this.#stored.get(object) as StateDelta,
    };
  }

  #carryOutPrepare(): void {
    const first = this.#prepares.filter(
      (one, index) => this.#prepares.findIndex(({ task }) => task === one.task) === index,
    );
    const prepare = first[this.#random.below(Math.max(1, first.length))];
    if (prepare === undefined) return;
    this.#prepares.splice(this.#prepares.indexOf(prepare), 1);
    const { task, attempt, supersedes, writer } = prepare;
    if (supersedes !== undefined) {
      this.#logs.seal(supersedes.writer);
      this.#logs.release(supersedes.writer);
    }
    if (this.#failing.prepare > 0) {
      this.#failing.prepare--;
      const error = new MillraceError('unavailable', 'SHUFFLE_MEMORY_FULL', 'no memory').toJSON();
      this.#answers.push({ kind: 'prepareFailed', task, attempt, error });
      return;
    }
    this.#logs.register(writer);
    this.#answers.push({ kind: 'prepared', task, attempt });
  }

  #deliverAnswer(): void {
    const [answer] = this.#answers.splice(this.#random.below(Math.max(1, this.#answers.length)), 1);
    if (answer !== undefined) this.#dispatch(answer);
  }

  get #up(): string[] {
    return [...this.#slots].filter(([, slot]) => slot.state === 'up').map(([name]) => name);
  }

  /** A dying slot's connection breaks, or a slot that is away comes (back). */
  #slotsMove() {
    const dying = [...this.#slots].filter(([, { state }]) => state === 'dying').map(([name]) => name);
    if (dying.length > 0) return this.#loseSlots(this.#random.chance(0.5) ? dying : dying.slice(0, 1));
    const away = [...this.#slots].filter(([, { state }]) => state === 'away');
    const [name, slot] = away[this.#random.below(Math.max(1, away.length))] ?? [];
    if (name === undefined || slot === undefined) return;
    // What an earlier connection of this slot left running is a zombie by now and is not heard any more.
    for (const task of this.#tasks) if (task.slot === name) task.kill();
    slot.state = 'up';
    this.#dispatch({ kind: 'slotAdded', slot: name });
  }

  #loseSlots(slots: readonly string[]) {
    for (const name of slots) {
      const slot = this.#slots.get(name) as Slot;
      slot.state = 'away';
      slot.down.length = 0;
      for (const task of this.#tasks) if (task.slot === name) task.reports.length = 0;
    }
    this.#dispatch({ kind: 'slotsLost', slots, reason: 'simulated' });
  }

  #strike(fault: Fault['kind']) {
    const r = this.#random;
    const pick = <T>(list: readonly T[]): T | undefined => list[r.below(Math.max(1, list.length))];
    switch (fault) {
      case 'loseSlot':
      case 'zombieSlot': {
        const name = pick(this.#up);
        if (name === undefined) return;
        (this.#slots.get(name) as Slot).state = 'dying';
        if (fault === 'loseSlot') for (const task of this.#tasks) if (task.slot === name) task.kill();
        return;
      }
      case 'taskFails':
        return pick(this.#tasks.filter((task) => task.alive))?.fail(
          new MillraceError('internal', 'TASK_FAILED', 'simulated'),
        );
      case 'declines':
        return pick(this.#tasks.filter((task) => task.running))?.decline(this.#judge.newestCheckpoint);
      case 'persistFails':
        this.#failing.persist++;
        return;
      case 'publishFails':
        this.#failing.publish++;
        return;
      case 'prepareFails':
        this.#failing.prepare++;
        return;
      case 'partitionLost': {
        const partition = pick(this.#logs.partitions);
        if (partition !== undefined) this.#logs.lose(partition);
        return;
      }
      case 'checkpointNow':
        return this.#dispatch({ kind: 'checkpointDue', nowMs: this.#nowMs });
    }
  }

  #dispatch(event: SchedulerEvent) {
    if (this.#ended !== undefined) return;
    const where = (task: string, attempt: number) => this.#deployedTo.get(`${task}/${attempt}`);
    this.#judge.before(event, this.#scheduler.tasks, where);
    const effects = this.#scheduler.step(event);
    this.#judge.after(event, effects, this.#scheduler.tasks);
    for (const effect of effects) this.#carryOut(effect);
  }

  #carryOut(effect: SchedulerEffect) {
    switch (effect.kind) {
      case 'prepare':
        this.#prepares.push(effect);
        return;
      case 'deploy':
        this.#deployedTo.set(`${effect.deployment.task}/${effect.deployment.attempt}`, effect.slot);
        this.#slots.get(effect.slot)?.down.push(effect.deployment);
        return;
      case 'command':
        this.#slots.get(effect.slot)?.down.push(effect.command);
        return;
      case 'persist':
        return this.#persist(effect.checkpoint, effect.tasks);
      case 'compact':
        return this.#compact(effect.compaction, effect.plan);
      case 'compactionOver':
        assert.ok(this.#compacting.delete(effect.compaction), `merge ${effect.compaction} is over twice`);
        return;
      case 'publish': {
        const checkpoint = effect.manifest.checkpointId;
        if (this.#failing.publish-- > 0) {
          const error = new MillraceError('corrupt', 'HEAD_CORRUPT', 'simulated').toJSON();
          this.#answers.push({ kind: 'publishFailed', checkpoint, error });
          return;
        }
        this.#failing.publish = 0;
        this.#judge.headMoved(effect.manifest);
        this.#answers.push({ kind: 'published', checkpoint });
        return;
      }
      case 'forget':
        for (const key of [...this.#held.keys()]) {
          const checkpoint = Number(key.slice(key.lastIndexOf('/') + 1));
          if (effect.completed ? checkpoint <= effect.checkpoint : checkpoint === effect.checkpoint)
            this.#held.delete(key);
        }
        return;
      case 'trim':
        return this.#logs.trim(effect.partition, effect.seqs);
      case 'release':
        for (const writer of effect.writers) this.#logs.release(writer);
        return;
      case 'awaitSlots':
        this.#slotsAwaited = true;
        return;
      case 'note':
        return;
      case 'ended':
        this.#ended = { error: effect.error };
    }
  }

  /** Now and then it fails; its answer comes some time, or after everything else. */
  #compact(compaction: number, plan: CompactionPlan): void {
    this.#compacting.add(compaction);
    if (this.#random.chance(0.2)) return void this.#answers.push({ kind: 'compactFailed', compaction });
    const deltas = plan.inputs.map(({ object }) => this.#stored.get(object) as StateDelta);
    const from = Math.min(...deltas.map((delta) => delta.from));
    let rows: readonly string[] = [];
    for (const delta of deltas) rows = [...rows.slice(0, delta.from - from), ...delta.rows];
    const object = `${this.#jobId}/merged/${compaction}`;
    this.#stored.set(object, { from, rows, full: plan.full });
    const fixed = { offset: 0, indexBytes: 0, checksum: '1'.repeat(16), first: 0, last: 127, deltas: 2 };
    const outputs = [{ ...fixed, object, length: rows.length, full: plan.full }];
    this.compactions++;
    this.#answers.push({ kind: 'compacted', compaction, outputs });
  }

  #persist(checkpoint: number, tasks: readonly { readonly task: string; readonly attempt: number }[]): void {
    if (this.#failing.persist > 0) {
      this.#failing.persist--;
      this.#answers.push({ kind: 'persistFailed', checkpoint, reason: 'simulated' });
      return;
    }
    const segments = new Map<string, SegmentRef>();
    for (const { task, attempt } of tasks) {
      const object = `${this.#jobId}/${task}/${attempt}/${checkpoint}`;
      const delta = this.#held.get(`${task}/${attempt}/${checkpoint}`);
      assert.ok(delta !== undefined, `segment ${object} is to be stored and is not held`);
      this.#stored.set(object, delta);
      const length = delta.rows.length;
      const fixed = { offset: 0, indexBytes: 0, checksum: '0'.repeat(16), first: 0, last: 127, deltas: 1 };
      segments.set(task, { ...fixed, object, length, full: delta.full });
    }
    this.#answers.push({ kind: 'persisted', checkpoint, segments });
  }

  /** Some sources end long before others: checkpoints of partly finished jobs are the harder ones. */
  #rowsOf(vertex: number, subtask: number): number {
    return Math.floor(this.#sourceRows / (1 + 3 * ((vertex + subtask) % 3)));
  }

  /** Each source row reaches a sink once per path; a broadcast multiplies it by its readers. */
  #expectedOutput(): Map<string, number> {
    const expected = new Map<string, number>();
    const walk = (vertex: JobVertex, row: string, copies: number): void => {
      if (vertex.outputs.length === 0)
        expected.set(`v${vertex.id} ${row}`, (expected.get(`v${vertex.id} ${row}`) ?? 0) + copies);
      for (const edge of vertex.outputs) {
        const to = this.#graph.vertices[edge.to] as JobVertex;
        walk(to, row, edge.partitioning.kind === 'broadcast' ? copies * to.parallelism : copies);
      }
    };
    for (const vertex of this.#graph.vertices) {
      if (vertex.inputs.length > 0) continue;
      for (let subtask = 0; subtask < vertex.parallelism; subtask++) {
        for (let row = 0; row < this.#rowsOf(vertex.id, subtask); row++)
          walk(vertex, `v${vertex.id}.${subtask}#${row}`, 1);
      }
    }
    return expected;
  }
}
