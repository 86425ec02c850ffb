import assert from 'node:assert/strict';
import type { MillraceError } from '../../base/index.js';
import type { Manifest } from '../../checkpoint/index.js';
import type { JobEdge, JobGraph, JobVertex } from '../graph/index.js';
import type { TaskDeployment } from '../runtime/index.js';
import type { SchedulerEffect, SchedulerEvent } from './events.js';
import type { JobScheduler } from './job-scheduler.js';
import { checkConsistent, type TaskInHead, tasksIn } from './manifest-checks.test.support.js';
import type { SimulatedLogs } from './simulated-logs.test.support.js';
import type { SimulatedSink } from './simulated-sink.test.support.js';

type Tasks = JobScheduler['tasks'];

/** Holds each effect of a scheduler against the invariants. It knows what was delivered and what HEAD holds, not what the scheduler thinks. */
export class SchedulerJudge {
  readonly #graph: JobGraph;
  readonly #logs: SimulatedLogs;
  readonly #sink: SimulatedSink;
  readonly #attempts = new Map<string, number>();
  /** Writers whose `prepared` has been delivered. */
  readonly #prepared = new Set<string>();
  readonly #done = new Set<string>();
  /** Before the event at hand. */
  #running = new Set<string>();
  /** Tasks that failed and were not yet restarted; and producers whose lost logs were named. */
  readonly #blamed = new Set<string>();
  readonly #lostProducers = new Set<string>();
  #head: Manifest | undefined;
  #headTasks = new Map<string, TaskInHead>();
  #publishing: Manifest | undefined;
  #publishedDelivered = 0;
  #ended = false;
  newestCheckpoint = 0;
  restarts = 0;
  published = 0;

  /** `head`: of an earlier leader; none of its logs are left. */
  constructor(graph: JobGraph, logs: SimulatedLogs, sink: SimulatedSink, head: Manifest | undefined) {
    this.#graph = graph;
    this.#logs = logs;
    this.#sink = sink;
    if (head === undefined) return;
    this.#head = head;
    this.#publishedDelivered = head.checkpointId;
    this.newestCheckpoint = head.checkpointId;
    this.#headTasks = new Map([...tasksIn(head)].map(([task, saved]) => [task, { ...saved, attempt: 0 }]));
  }

  get head(): Manifest | undefined {
    return this.#head;
  }

  /** HEAD was moved; the scheduler has not heard of it yet. */
  headMoved(manifest: Manifest): void {
    checkConsistent(this.#graph, this.#logs, manifest);
    assert.ok(manifest.checkpointId > (this.#head?.checkpointId ?? 0), 'checkpoint ids grow');
    this.#head = manifest;
    this.#headTasks = tasksIn(manifest);
    this.published++;
    this.#sink.published(
      [...this.#headTasks.values()].flatMap(({ position }) =>
        position.transactions.map(({ transaction }) => transaction),
      ),
    );
  }

  before(event: SchedulerEvent, tasks: Tasks, slotOf: (task: string, attempt: number) => string | undefined): void {
    this.#running = new Set(
      tasks.filter(({ phase }) => phase === 'deployed' || phase === 'running').map(({ task }) => task),
    );
    if (event.kind === 'published') this.#publishedDelivered = event.checkpoint;
    if (event.kind === 'published' || event.kind === 'publishFailed') this.#publishing = undefined;
    if (event.kind === 'published') {
      // What has finished for good has nothing left to restart.
      for (const task of this.#blamed)
        if (this.#headTasks.get(task)?.finished === true && !this.#hasSink(task)) this.#blamed.delete(task);
    }
    if (event.kind === 'prepared') this.#prepared.add(`${event.task}/${event.attempt}`);
    if (event.kind === 'prepareFailed' && this.#isCurrent(event.task, event.attempt)) this.#blamed.add(event.task);
    if (event.kind === 'slotsLost') {
      for (const { task, attempt, phase } of tasks) {
        const runs = phase === 'deployed' || phase === 'running' || (phase === 'finished' && this.#hasSink(task));
        if (runs && event.slots.includes(slotOf(task, attempt) ?? '')) this.#blamed.add(task);
      }
    }
    if (event.kind === 'task' && event.event.kind === 'failed')
      this.#failed(event.event.task, event.event.attempt, event.event.error, tasks);
    if (
      event.kind === 'task' &&
      event.event.kind === 'done' &&
      this.#isCurrent(event.event.task, event.event.attempt)
    ) {
      this.#done.add(event.event.task);
    }
  }

  after(event: SchedulerEvent, effects: readonly SchedulerEffect[], tasks: Tasks): void {
    assert.ok(!this.#ended || effects.length === 0, `effects after the end, for ${event.kind}`);
    this.#checkRestarts(event, tasks, effects);
    for (const effect of effects) {
      assert.ok(!this.#ended, `${effect.kind} after 'ended'`);
      this.#checkEffect(effect, tasks);
    }
  }

  /** The job has completed: all is committed, once, and nothing is left lying about. */
  checkCompleted(expected: ReadonlyMap<string, number>): void {
    assert.deepEqual(
      sorted(this.#sink.committed()),
      sorted(expected),
      'committed output is not the function of the input (invariant 10)',
    );
    assert.deepEqual(this.#logs.writers, [], 'logs that nobody released');
  }

  #failed(task: string, attempt: number, error: string, tasks: Tasks): void {
    const phase = tasks.find((one) => one.task === task)?.phase;
    if (!this.#isCurrent(task, attempt) || phase === 'done') return;
    this.#blamed.add(task);
    const { code, context } = JSON.parse(error) as MillraceError;
    const writer = String(context.partition ?? '')
      .split('/')
      .slice(-3, -1);
    if (code === 'PARTITION_LOST' && writer.length === 2) this.#lostProducers.add(writer[0] as string);
    // Nothing of a healthy attempt may be fenced or lose its input unless a fault took it.
    assert.notEqual(code, 'WRITER_FENCED', `${task}/${attempt} is the current attempt and was fenced`);
  }

  #checkRestarts(event: SchedulerEvent, tasks: Tasks, effects: readonly SchedulerEffect[]): void {
    const restarted: string[] = [];
    for (const { task, attempt } of tasks) {
      const before = this.#attempts.get(task) ?? 0;
      assert.ok(attempt === before || attempt === before + 1, `${task} went from attempt ${before} to ${attempt}`);
      if (attempt !== before && before > 0) restarted.push(task);
      if (attempt !== before) this.#done.delete(task);
      this.#attempts.set(task, attempt);
    }
    if (effects.some(({ kind }) => kind === 'ended')) return;
    if (restarted.length === 0) {
      assert.ok(
        this.#blamed.size === 0 || this.#publishing !== undefined,
        `${[...this.#blamed]} failed and nothing restarted`,
      );
      return;
    }
    this.restarts++;
    // A replaced attempt is told to stop where its slot lives: a sink has no log whose seal would stop it.
    const told = effects.flatMap((effect) =>
      effect.kind === 'command' && effect.command.kind === 'cancel' ? [effect.command.task] : [],
    );
    for (const task of restarted) {
      if (event.kind === 'task' && this.#running.has(task))
        assert.ok(told.includes(task), `${task} is replaced and was not cancelled`);
    }
    const needed = this.#region(this.#blamed);
    const allowed = this.#region([...this.#blamed, ...this.#lostProducers]);
    for (const task of needed)
      assert.ok(restarted.includes(task), `${task} read from a failed task and was not restarted`);
    for (const task of restarted)
      assert.ok(
        allowed.has(task),
        `${task} has nothing to do with ${[...this.#blamed]} and was restarted (invariant 13)`,
      );
    this.#blamed.clear();
    this.#lostProducers.clear();
  }

  #checkEffect(effect: SchedulerEffect, tasks: Tasks) {
    switch (effect.kind) {
      case 'prepare': {
        const { task, attempt, writer, supersedes } = effect;
        const before =
          attempt === 1 ? undefined : { writer: writer.writer.replace(/\d+$/, String(attempt - 1)), epoch: attempt };
        assert.deepEqual(
          supersedes,
          before,
          `${task}/${attempt} is prepared without sealing its predecessor (invariant 3)`,
        );
        assert.equal(writer.epoch, attempt);
        return;
      }
      case 'deploy':
        return this.#checkDeployment(effect.deployment, tasks);
      case 'command':
        if (effect.command.kind === 'trigger') this.newestCheckpoint = effect.command.checkpoint;
        if (effect.command.kind === 'completed') {
          const told = `'completed ${effect.command.checkpoint}' before HEAD was known to have moved (invariant 7)`;
          assert.equal(effect.command.checkpoint, this.#publishedDelivered, told);
          const { task, finished } = { ...effect.command };
          assert.equal(finished, this.#headTasks.get(task)?.finished);
        }
        return;
      case 'publish': {
        assert.equal(this.#publishing, undefined, 'HEAD is moved twice at once');
        this.#publishing = effect.manifest;
        for (const [task, { attempt, finished }] of tasksIn(effect.manifest)) {
          const done = finished && this.#headTasks.get(task)?.finished === true;
          assert.ok(
            done || attempt === this.#attempts.get(task),
            `${task}: the acknowledgement of attempt ${attempt} counts, it is at ${this.#attempts.get(task)} (invariant 9)`,
          );
        }
        return;
      }
      case 'trim': {
        assert.equal(
          this.#publishedDelivered,
          this.#head?.checkpointId,
          'trimmed before HEAD was known to have moved (invariant 7)',
        );
        assert.ok(this.#logs.hasPartition(effect.partition), `${effect.partition} is trimmed and was never laid out`);
        const barrier = [...this.#headTasks.values()].flatMap(({ evidence, position }) => {
          const at = evidence.writes.indexOf(effect.partition);
          return at === -1 ? [] : [position.outputs[at]?.map(({ seq }) => seq)];
        })[0];
        assert.ok(barrier !== undefined, `${effect.partition} is trimmed and not in HEAD (invariant 8)`);
        effect.seqs.forEach((seq, i) => {
          assert.ok(seq <= (barrier[i] as number), `${effect.partition}[${i}] is trimmed beyond HEAD (invariant 8)`);
        });
        return;
      }
      case 'ended':
        this.#ended = true;
        if (effect.error !== undefined) return;
        assert.equal(this.#head?.final, true, 'the job ended before its final checkpoint');
        assert.equal(this.#publishedDelivered, this.#head?.checkpointId);
        for (const task of this.#attempts.keys())
          assert.ok(!this.#hasSink(task) || this.#done.has(task), `the job ended before ${task} said done`);
    }
  }

  #checkDeployment(deployment: TaskDeployment, tasks: Tasks): void {
    const { task, attempt, channels, vertex, subtask, restore } = deployment;
    for (const other of tasks)
      assert.notEqual(other.phase, 'preparing', `${task} is deployed while ${other.task} is being prepared`);
    assert.ok(this.#prepared.has(`${task}/${attempt}`), `${task}/${attempt} is deployed and was never prepared`);
    const head = this.#headTasks.get(task);
    assert.deepEqual(restore?.position, head?.position, `${task} is deployed from something else than HEAD`);
    assert.equal(restore?.finished, head?.finished);
    assert.ok(deployment.minCheckpoint > this.newestCheckpoint, `${task} would take a dead checkpoint's barrier`);
    const inputs = (this.#graph.vertices[vertex] as JobVertex).inputs;
    const wanted = inputs.flatMap((edge) => this.#producers(edge, subtask).map((producer) => ({ edge, producer })));
    assert.equal(channels.length, wanted.length);
    wanted.forEach(({ edge, producer }, index) => {
      const channel = channels[index] as (typeof channels)[0];
      const name = `v${edge.from}.${producer}`;
      const saved = head?.position.inputs[index];
      assert.deepEqual([channel.edge, channel.producer, channel.ended], [edge.id, producer, saved?.ended ?? false]);
      if (channel.ended) return;
      const { partition, from } = channel.descriptor;
      const current = this.#attempts.get(name) as number;
      assert.ok(
        partition.endsWith(`/${name}/${current}/e${edge.id}`),
        `${task} reads ${partition}, not the log of ${name}/${current}`,
      );
      assert.ok(this.#logs.hasPartition(partition), `${task} is deployed before ${partition} is laid out`);
      const survived = this.#headTasks.get(name)?.attempt === current;
      const at =
        survived && saved !== undefined ? { seq: saved.seq, chain: BigInt(`0x${saved.chain}`) } : { seq: 0, chain: 0n };
      assert.deepEqual(from, at, `${task} starts at another place of ${partition} than its snapshot`);
    });
  }

  #isCurrent(task: string, attempt: number): boolean {
    return this.#attempts.get(task) === attempt;
  }

  #hasSink(task: string): boolean {
    return this.#vertexOf(task).outputs.length === 0;
  }

  #vertexOf(task: string): JobVertex {
    return this.#graph.vertices[Number(task.slice(1, task.indexOf('.')))] as JobVertex;
  }

  #producers(edge: JobEdge, subtask: number): number[] {
    if (edge.partitioning.kind === 'forward') return [subtask];
    return Array.from({ length: this.#graph.vertices[edge.from]?.parallelism ?? 0 }, (_, producer) => producer);
  }

  /** These tasks and all that can have read from them. */
  #region(failed: Iterable<string>): Set<string> {
    const region = new Set(failed);
    for (const vertex of this.#graph.vertices) {
      for (let subtask = 0; subtask < vertex.parallelism; subtask++) {
        const reads = vertex.inputs.some((edge) =>
          this.#producers(edge, subtask).some((producer) => region.has(`v${edge.from}.${producer}`)),
        );
        if (reads) region.add(`v${vertex.id}.${subtask}`);
      }
    }
    return region;
  }
}

function sorted(counts: ReadonlyMap<string, number>): [string, number][] {
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}
