import { MillraceError, type SerializedError } from '../../base/index.js';
import type { Manifest, SegmentRef } from '../../checkpoint/index.js';
import type { JobGraph } from '../graph/index.js';
import type { TaskDeployment, TaskEvent, TaskPosition } from '../runtime/index.js';
import { Compactions } from './compactions.js';
import { deploymentOf } from './deployment-of.js';
import type { SchedulerEffect, SchedulerEvent, SchedulerNote, SlotId } from './events.js';
import type { JobSchedulerOptions } from './job-scheduler-options.js';
import { PendingCheckpoint } from './pending-checkpoint.js';
import { restartDelayMs } from './restart-delay.js';
import {
  createTasks,
  failureRegion,
  partitionId,
  SlotTable,
  type TaskState,
  writerId,
  writerOf,
} from './task-state.js';

/**
 * One job's scheduler and checkpoint coordinator as pure decisions: `step(event)` returns the effects to carry out, and
 * nothing here waits, reads a clock or does I/O. The driver (and the simulator) feeds it one event at a time.
 *
 * Recovery: the failed tasks and all that consumed from them roll back to the newest complete checkpoint, under a new
 * lineage (new attempt, new partitions). Their producers go on; what they sent since that checkpoint is retained in the
 * shuffle service and read again from the position in the snapshot.
 */
export class JobScheduler {
  readonly #options: JobSchedulerOptions;
  readonly #graph: JobGraph;
  readonly #tasks: Map<string, TaskState>;
  readonly #slots: SlotTable;
  #latest: Manifest | undefined;
  /** Attempt of each task whose positions the newest complete checkpoint holds; empty at a fresh start or resume. */
  #attemptsAtLatest = new Map<string, number>();
  #pending: PendingCheckpoint | undefined;
  readonly #compactions: Compactions;
  #nextCheckpoint: number;
  /** Failures that came while HEAD was being moved: decided when it is known where HEAD is. */
  #deferred: { readonly task: string; readonly error: SerializedError }[] = [];
  #restarts = 0;
  #exceptions = 0;
  /** In a row. */
  #storeFailures = 0;
  #started = false;
  #restarting = false;
  #allRunning = false;
  #ended = false;
  #effects: SchedulerEffect[] = [];

  constructor(options: JobSchedulerOptions) {
    this.#options = options;
    this.#graph = options.graph;
    this.#tasks = createTasks(options.graph);
    this.#slots = new SlotTable(options.graph);
    this.#latest = options.latest;
    this.#compactions = new Compactions(options.compaction);
    this.#nextCheckpoint = (options.latest?.checkpointId ?? 0) + 1;
  }

  /** Takes one event; returns what has to be done because of it, in order. */
  step(event: SchedulerEvent): SchedulerEffect[] {
    this.#effects = [];
    if (!this.#ended) this.#on(event);
    return this.#effects;
  }

  /** Attempts and phases, for people. */
  get tasks(): readonly {
    readonly task: string;
    readonly name: string;
    readonly attempt: number;
    readonly phase: string;
  }[] {
    return [...this.#tasks.values()].map((t) => ({
      task: t.name,
      name: t.vertex.name,
      attempt: t.attempt,
      phase: t.phase,
    }));
  }

  #on(event: SchedulerEvent): void {
    switch (event.kind) {
      case 'slotAdded':
        this.#slots.add(event.slot);
        if (this.#started) this.#deployPrepared();
        else if (this.#slots.complete) this.#start();
        return;
      case 'slotsLost':
        return this.#slotsLost(event.slots, event.reason);
      case 'task':
        return this.#taskEvent(event.event);
      case 'prepared': {
        const task = this.#current(event.task, event.attempt);
        if (task?.phase !== 'preparing') return;
        task.phase = 'prepared';
        return this.#deployPrepared();
      }
      case 'prepareFailed':
        if (this.#current(event.task, event.attempt) !== undefined) this.#fail([event.task], event.error);
        return;
      case 'persisted':
        return this.#persisted(event.checkpoint, event.segments);
      case 'persistFailed':
        if (this.#pending?.id !== event.checkpoint) return;
        this.#abort(event.reason);
        return this.#storeFailed(event.reason);
      case 'published':
        if (this.#pending?.id === event.checkpoint) this.#published(this.#pending);
        return;
      case 'publishFailed':
        if (this.#pending?.id !== event.checkpoint) return;
        // Fenced: another leader owns the job now, and this one must not touch it any more.
        if (event.error.kind === 'fenced') return this.#end(event.error);
        this.#abort(event.error.message);
        this.#storeFailed(event.error.message);
        return this.#failDeferred();
      case 'compacted':
        this.#effects.push(...this.#compactions.stored(event.compaction, event.outputs));
        return this.#compact();
      case 'compactFailed':
        return void this.#effects.push(...this.#compactions.failed(event.compaction));
      case 'epochChanged':
        return this.#compactions.void();
      case 'checkpointDue':
        return this.#checkpointDue(event.nowMs);
      case 'slotsOverdue':
        return this.#slotsOverdue();
      case 'cancel':
        return this.#end(new MillraceError('closed', 'JOB_CANCELLED', event.reason).toJSON());
    }
  }

  #start(): void {
    this.#started = true;
    for (const task of this.#tasks.values()) this.#prepare(task);
    this.#deployPrepared();
    this.#endWhenDone();
  }

  #slotsOverdue(): void {
    if (this.#slots.complete) return;
    if (this.#slots.empty) {
      return this.#end(
        new MillraceError('unavailable', 'NO_SLOTS', 'no worker is left, and none came back in time').toJSON(),
      );
    }
    this.#slots.assign(true);
    if (this.#started) this.#deployPrepared();
    else this.#start();
  }

  #slotsLost(slots: readonly SlotId[], reason: string): void {
    const lost = [...this.#tasks.values()].filter((task) => slots.includes(this.#slots.slotOf(task.subtask) ?? ''));
    for (const slot of slots) this.#slots.remove(slot);
    this.#slots.assign();
    if (!this.#started) return;
    if (!this.#slots.complete) this.#effects.push({ kind: 'awaitSlots' });
    // What was not deployed yet finds its new slot when it is. What a finished task without a sink sent is kept by the
    // shuffle service; nothing of it has to run again.
    const failed = lost.filter(
      ({ phase, hasSink }) => phase === 'deployed' || phase === 'running' || (phase === 'finished' && hasSink),
    );
    const error = new MillraceError('unavailable', 'SLOT_LOST', `slot ${slots.join(', ')}: ${reason}`).toJSON();
    if (failed.length > 0) {
      this.#fail(
        failed.map((task) => task.name),
        error,
      );
    }
  }

  #taskEvent(event: TaskEvent): void {
    const task = this.#current(event.task, event.attempt); // an attempt that was replaced has no say (invariant 9)
    if (task === undefined) return;
    switch (event.kind) {
      case 'running':
        if (task.phase !== 'deployed') return;
        task.phase = 'running';
        return this.#noteRunning();
      case 'acknowledged':
        if (this.#pending?.id !== event.checkpoint || this.#pending.phase !== 'collecting') return;
        this.#pending.acknowledge(task, event.position, event.held);
        return this.#collected();
      case 'declined':
        if (this.#pending?.id === event.checkpoint && this.#pending.phase === 'collecting') {
          this.#abort(`${task.name} is still building a table`);
        }
        return;
      case 'finished':
        if (task.phase === 'deployed') task.phase = 'running';
        if (task.phase !== 'running') return;
        task.phase = 'finished';
        task.finishedPosition = event.position;
        this.#noteRunning();
        if (this.#pending?.phase === 'collecting') return this.#collected();
        return this.#finalCheckpoint();
      case 'failed':
        // Done by now (its finished snapshot is in HEAD, it had not heard of it): nothing of it has to run again.
        if (task.phase === 'done') return;
        return this.#fail([event.task], JSON.parse(event.error) as SerializedError);
      case 'done':
        task.phase = 'done';
        this.#noteRunning();
        return this.#endWhenDone();
    }
  }

  // ---- checkpoints ----

  #checkpointDue(nowMs: number): void {
    const pending = this.#pending;
    if (pending !== undefined) {
      const late = nowMs - pending.triggeredMs > this.#options.checkpointTimeoutMs;
      if (late && pending.phase === 'collecting') this.#abort('not acknowledged in time');
      return;
    }
    const tasks = [...this.#tasks.values()];
    const settled = tasks.every(
      (task) => task.phase === 'running' || task.phase === 'finished' || task.phase === 'done',
    );
    if (this.#started && settled && tasks.some((task) => task.isSource && task.phase === 'running'))
      this.#trigger(nowMs);
    else if (this.#started && settled) this.#finalCheckpoint();
  }

  #trigger(nowMs: number): void {
    const checkpoint = this.#nextCheckpoint++;
    this.#pending = new PendingCheckpoint(checkpoint, nowMs);
    this.#note({ what: 'checkpointTriggered', checkpoint });
    for (const task of this.#tasks.values()) {
      if (task.isSource && task.phase === 'running') this.#command(task, { kind: 'trigger', checkpoint });
    }
  }

  /** After the last END there is no barrier any more: the finished snapshots alone make the final checkpoint. */
  #finalCheckpoint(): void {
    if (this.#ended || this.#pending !== undefined || this.#latest?.final === true) return;
    if (![...this.#tasks.values()].every((task) => task.phase === 'finished' || task.phase === 'done')) return;
    const checkpoint = this.#nextCheckpoint++;
    this.#pending = new PendingCheckpoint(checkpoint, 0);
    this.#note({ what: 'checkpointTriggered', checkpoint });
    this.#collected();
  }

  #collected(): void {
    const pending = this.#pending;
    if (pending?.phase !== 'collecting' || !pending.collected(this.#tasks)) return;
    try {
      pending.verify(this.#graph);
    } catch (error) {
      return this.#end(MillraceError.from(error).toJSON());
    }
    pending.phase = 'persisting';
    const tasks = pending.heldTasks;
    if (tasks.length === 0) this.#persisted(pending.id, new Map());
    else this.#effects.push({ kind: 'persist', checkpoint: pending.id, tasks });
  }

  #persisted(checkpoint: number, segments: ReadonlyMap<string, SegmentRef>): void {
    const pending = this.#pending;
    if (pending?.id !== checkpoint || pending.phase !== 'persisting') return;
    pending.phase = 'publishing';
    const { epoch, meta } = this.#options;
    const manifest = pending.buildManifest({
      tasks: this.#tasks,
      segments,
      compactions: this.#compactions,
      epoch,
      meta,
    });
    if (this.#options.faults?.trimBeforeComplete === true) {
      for (const task of this.#tasks.values()) this.#trim(task, pending.position(task.name));
    }
    this.#effects.push({ kind: 'publish', manifest });
  }

  /** HEAD has moved: only now may anything be trimmed or committed (invariant 7). */
  #published(pending: PendingCheckpoint): void {
    const manifest = pending.manifest as Manifest;
    this.#pending = undefined;
    this.#latest = manifest;
    this.#restarts = 0;
    this.#exceptions = 0;
    this.#storeFailures = 0;
    let bytes = 0;
    for (const snapshot of manifest.tasks) {
      const task = this.#tasks.get(snapshot.task) as TaskState;
      this.#attemptsAtLatest.set(task.name, task.attempt);
      const added = snapshot.segments.filter((ref) => !task.segments.includes(ref));
      bytes += added.reduce((total, ref) => total + ref.length, 0);
      task.segments = snapshot.segments;
      this.#effects.push(...this.#compactions.settle(task.name, task.segments));
      // Of a task that was done before, all is trimmed; or, after a resume, there never was a log.
      if (task.phase !== 'done') this.#trim(task, pending.position(task.name));
      this.#command(task, { kind: 'completed', checkpoint: pending.id, finished: snapshot.finished });
      if (snapshot.finished && !task.hasSink) task.phase = 'done';
    }
    this.#effects.push({ kind: 'forget', checkpoint: pending.id, completed: true });
    this.#note({ what: 'checkpointCompleted', checkpoint: pending.id, bytes, final: manifest.final });
    this.#compact();
    this.#failDeferred();
    this.#endWhenDone();
    this.#finalCheckpoint();
  }

  /** One at a time, while nothing is more urgent: tasks write changes only, so their lists of segments grow. */
  #compact(): void {
    // Nothing follows a final checkpoint that could bring a merge in.
    if (this.#ended || this.#latest?.final === true || this.#pending?.manifest?.final === true) return;
    this.#effects.push(...this.#compactions.begin(this.#tasks.values()));
  }

  #trim(task: TaskState, position: TaskPosition | undefined): void {
    task.vertex.outputs.forEach((edge, index) => {
      const seqs = position?.outputs[index]?.map(({ seq }) => seq);
      if (seqs !== undefined) {
        this.#effects.push({ kind: 'trim', partition: partitionId(this.#options.jobId, task, edge), seqs });
      }
    });
  }

  #abort(cause: string): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    this.#pending = undefined;
    this.#effects.push({ kind: 'forget', checkpoint: pending.id, completed: false });
    this.#note({ what: 'checkpointAborted', checkpoint: pending.id, cause });
    for (const task of this.#tasks.values()) this.#command(task, { kind: 'aborted', checkpoint: pending.id });
  }

  /** A full disk, say: going on would only redo more after the stop that comes anyway. */
  #storeFailed(reason: string): void {
    this.#storeFailures++;
    if (this.#storeFailures < (this.#options.storeFailuresMax ?? Number.POSITIVE_INFINITY)) return;
    const message = `${this.#storeFailures} checkpoints in a row could not be stored: ${reason}`;
    this.#end(new MillraceError('unavailable', 'CHECKPOINTS_FAIL', message).toJSON());
  }

  // ---- failure and recovery ----

  #fail(names: readonly string[], error: SerializedError): void {
    if (this.#pending?.phase === 'publishing') {
      for (const task of names) this.#deferred.push({ task, error });
      return;
    }
    this.#restarts++;
    // Stored state that is damaged is so the next time too, unless it was only badly read.
    if (error.code === 'TASK_FAILED' || error.code === 'SEGMENT_CORRUPT') this.#exceptions++;
    // Bad input stays bad; a fenced leader must not go on.
    const { restartsMax, exceptionsMax = restartsMax } = this.#options;
    if (error.kind === 'invalid' || this.#restarts > restartsMax || this.#exceptions > exceptionsMax)
      return this.#end(error);
    if (this.#options.faults?.ackOfDeadAttempt !== true) this.#abort(`${names.join(', ')} failed`);
    const lost = error.code === 'PARTITION_LOST' ? this.#producerOf(String(error.context.partition ?? '')) : undefined;
    const region = failureRegion(this.#graph, this.#tasks, lost === undefined ? names : [...names, lost]);
    const restarted: string[] = [];
    for (const name of region) {
      const task = this.#tasks.get(name) as TaskState;
      this.#command(task, { kind: 'cancel' });
      restarted.push(name);
      this.#prepare(task);
    }
    this.#restarting = true;
    this.#allRunning = false;
    const survivors = this.#tasks.size - restarted.length;
    this.#note({ what: 'restarting', tasks: restarted.sort(), survivors, cause: error.message });
    this.#deployPrepared();
    this.#finalCheckpoint();
    this.#endWhenDone();
  }

  #failDeferred(): void {
    const deferred = this.#deferred;
    this.#deferred = [];
    // A task that is done by now (its finished snapshot was published) has nothing left to run.
    const alive = deferred.filter(({ task }) => this.#tasks.get(task)?.phase !== 'done');
    const first = alive[0];
    if (first !== undefined) {
      this.#fail(
        alive.map(({ task }) => task),
        first.error,
      );
    }
  }

  /** Begins a new attempt from the newest complete checkpoint. */
  #prepare(task: TaskState): void {
    const before = task.attempt;
    const snapshot = this.#latest?.tasks.find((candidate) => candidate.task === task.name);
    task.attempt++;
    task.finishedPosition = undefined;
    task.segments = snapshot?.segments ?? [];
    task.restore = undefined;
    if (snapshot !== undefined) {
      const position = JSON.parse(snapshot.position) as TaskPosition;
      task.restore = { position, segments: snapshot.segments, finished: snapshot.finished };
      if (snapshot.finished) task.finishedPosition = position;
    }
    if (snapshot?.finished === true && !task.hasSink) {
      task.phase = 'done';
      return;
    }
    task.phase = 'preparing';
    const { jobId } = this.#options;
    this.#effects.push({
      kind: 'prepare',
      task: task.name,
      attempt: task.attempt,
      writer: writerOf(this.#graph, jobId, task),
      delayMs: restartDelayMs(this.#restarts),
      supersedes: before === 0 ? undefined : { writer: writerId(jobId, task, before), epoch: task.attempt },
    });
  }

  /** Deploys when everything that has to start is prepared and has a slot: a consumer finds its producers' logs laid out. */
  #deployPrepared(): void {
    const tasks = [...this.#tasks.values()];
    if (tasks.some((task) => task.phase === 'preparing')) return;
    for (const task of tasks) {
      if (task.phase !== 'prepared') continue;
      const slot = this.#slots.slotOf(task.subtask);
      if (slot === undefined) continue; // its slot is awaited
      task.phase = 'deployed';
      this.#effects.push({ kind: 'deploy', slot, deployment: this.#deploymentOf(task) });
    }
  }

  #deploymentOf(task: TaskState): TaskDeployment {
    return deploymentOf(task, {
      graph: this.#graph,
      jobId: this.#options.jobId,
      tasks: this.#tasks,
      attemptsAtLatest: this.#attemptsAtLatest,
      minCheckpoint: this.#nextCheckpoint,
    });
  }

  // ---- small things ----

  #current(name: string, attempt: number): TaskState | undefined {
    const task = this.#tasks.get(name);
    return task?.attempt === attempt || this.#options.faults?.ackOfDeadAttempt === true ? task : undefined;
  }

  #producerOf(partition: string): string | undefined {
    for (const task of this.#tasks.values()) {
      for (const edge of task.vertex.outputs)
        if (partitionId(this.#options.jobId, task, edge) === partition) return task.name;
    }
    return undefined;
  }

  #command(task: TaskState, command: CommandBody): void {
    const slot = this.#slots.slotOf(task.subtask);
    const alive = task.phase === 'deployed' || task.phase === 'running' || task.phase === 'finished';
    if (slot === undefined || !alive) return;
    this.#effects.push({ kind: 'command', slot, command: { task: task.name, attempt: task.attempt, ...command } });
  }

  #noteRunning(): void {
    if (
      [...this.#tasks.values()].some(
        (task) => task.phase === 'preparing' || task.phase === 'prepared' || task.phase === 'deployed',
      )
    )
      return;
    if (this.#allRunning) return;
    this.#allRunning = true;
    this.#note({ what: 'running', tasks: this.#tasks.size, afterRestart: this.#restarting });
    this.#restarting = false;
  }

  #note(note: SchedulerNote): void {
    this.#effects.push({ kind: 'note', note });
  }

  #endWhenDone(): void {
    if (this.#latest?.final === true && [...this.#tasks.values()].every((task) => task.phase === 'done'))
      this.#end(undefined);
  }

  #end(error: SerializedError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const task of this.#tasks.values()) this.#command(task, { kind: 'cancel' });
    const writers = [...this.#tasks.values()]
      .filter((task) => task.attempt > 0)
      .map((task) => writerId(this.#options.jobId, task));
    this.#effects.push({ kind: 'release', writers }, { kind: 'ended', error });
  }
}

type CommandBody =
  | { readonly kind: 'trigger' | 'aborted'; readonly checkpoint: number }
  | { readonly kind: 'completed'; readonly checkpoint: number; readonly finished: boolean }
  | { readonly kind: 'cancel' };
