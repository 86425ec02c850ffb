import type { JobGraph } from '../engine/graph/index.js';
import { taskName } from '../engine/graph/index.js';
import {
  JobScheduler,
  type JobSchedulerOptions,
  type SchedulerEffect,
  type SchedulerEvent,
  type SchedulerNote,
} from '../engine/scheduler/index.js';
import { type RunState, stateAfter } from './run-state.js';

/** The real scheduler, each of whose decisions is looked at. */
export class WatchedScheduler extends JobScheduler {
  readonly #watch: SchedulerWatch;

  constructor(options: JobSchedulerOptions, watch: SchedulerWatch) {
    super(options);
    this.#watch = watch;
  }

  override step(event: SchedulerEvent): SchedulerEffect[] {
    const before = new Map(this.tasks.map(({ task, attempt }) => [task, attempt]));
    const effects = super.step(event);
    this.#watch.decided(event, effects, before, new Map(this.tasks.map(({ task, attempt }) => [task, attempt])));
    return effects;
  }
}

type Attempts = ReadonlyMap<string, number>;

/** What no decision of the scheduler may do: invariants 9 and 13, and errors that only a bug can cause. */
export class SchedulerWatch {
  readonly #graph: JobGraph;
  readonly #violate: (code: string, message: string) => void;
  readonly #slotOf = new Map<string, string>();
  readonly #failed = new Set<string>();
  readonly #acknowledged = new Map<string, { readonly attempt: number; readonly position: string }>();
  readonly #finished = new Map<string, { readonly attempt: number; readonly position: string }>();
  /** What the run is at. */
  state: RunState = 'starting';
  restarts = 0;
  aborted = 0;

  readonly #calm: boolean;
  readonly #rots: boolean;

  /** `calm`: nothing is done to this run; `rots`: copies on its disk may be damaged. */
  constructor(graph: JobGraph, violate: (code: string, message: string) => void, { calm = false, rots = false }) {
    this.#graph = graph;
    this.#violate = violate;
    this.#calm = calm;
    this.#rots = rots;
  }

  decided(event: SchedulerEvent, effects: readonly SchedulerEffect[], before: Attempts, after: Attempts): void {
    this.#noteEvent(event, before);
    this.#checkAttempts(before, after);
    for (const effect of effects) {
      this.state = stateAfter(effect, this.state);
      if (effect.kind === 'deploy') this.#slotOf.set(effect.deployment.task, effect.slot);
      if (effect.kind === 'publish') this.#checkManifest(effect, after);
      if (effect.kind === 'note' && effect.note.what === 'restarting') this.restarts++;
      if (effect.kind === 'note' && effect.note.what === 'checkpointAborted') this.#noteAborted(effect.note);
    }
  }

  /** Invariant 15: where nothing is wrong, no checkpoint waits for anybody in vain. A table that is being built is nothing wrong. */
  #noteAborted({ checkpoint, cause }: Extract<SchedulerNote, { readonly what: 'checkpointAborted' }>): void {
    this.aborted++;
    if (!this.#calm || !cause.includes('in time')) return;
    this.#violate('CHECKPOINT_STUCK', `invariant 15: nothing is wrong, and checkpoint ${checkpoint} is ${cause}`);
  }

  #noteEvent(event: SchedulerEvent, attempts: Attempts): void {
    if (event.kind === 'slotsLost') {
      for (const [task, slot] of this.#slotOf) if (event.slots.includes(slot)) this.#failed.add(task);
    }
    if (event.kind === 'prepareFailed') this.#fail(event.task, event.error);
    if (event.kind !== 'task') return;
    const { task, attempt } = event.event;
    if (attempts.get(task) !== attempt) return;
    if (event.event.kind === 'failed') this.#fail(task, JSON.parse(event.event.error));
    if (event.event.kind === 'acknowledged') {
      const key = `${task} ${event.event.checkpoint}`;
      if (!this.#acknowledged.has(key))
        this.#acknowledged.set(key, { attempt, position: JSON.stringify(event.event.position) });
    }
    if (event.event.kind === 'finished')
      this.#finished.set(task, { attempt, position: JSON.stringify(event.event.position) });
  }

  #fail(
    task: string,
    error: { readonly kind: string; readonly code: string; readonly message: string; readonly context?: object },
  ): void {
    // Where nothing rots or is mistyped, corruption is a bug as well as what only a bug can cause.
    // State that nobody waited for is one too: tasks wait for all they use.
    const isBug = error.code === 'STATE_AWAY' || (error.kind === 'internal' && error.code !== 'TASK_FAILED');
    if (isBug || (error.kind === 'corrupt' && !this.#rots)) {
      this.#violate(error.code, `${task} failed: ${error.message}`);
    }
    this.#failed.add(task);
    const partition = (error.context as { readonly partition?: unknown } | undefined)?.partition;
    if (error.code === 'PARTITION_LOST') this.#failed.add(String(partition).split('/').at(-3) ?? '');
  }

  /** Invariant 13: only failed tasks and those that read from them begin a new attempt. */
  #checkAttempts(before: Attempts, after: Attempts): void {
    const changed = [...after].filter(([task, attempt]) => before.get(task) !== attempt && before.get(task) !== 0);
    if (changed.length === 0) return;
    const region = this.#downstream(this.#failed);
    for (const [task] of changed) {
      if (!region.has(task))
        this.#violate(
          'BYSTANDER_RESTARTED',
          `invariant 13: ${task} restarted, but only ${[...this.#failed].join(', ')} failed`,
        );
    }
    this.#failed.clear();
  }

  #downstream(failed: Iterable<string>): Set<string> {
    const region = new Set<string>();
    const queue = [...failed];
    for (let task = queue.pop(); task !== undefined; task = queue.pop()) {
      if (region.has(task)) continue;
      region.add(task);
      const [vertex = -1, subtask = -1] = task.slice(1).split('.').map(Number);
      for (const edge of this.#graph.edges.filter(({ from }) => from === vertex)) {
        const width = this.#graph.vertices[edge.to]?.parallelism ?? 0;
        for (let s = 0; s < width; s++)
          if (edge.partitioning.kind !== 'forward' || s === subtask) queue.push(taskName(edge.to, s));
      }
    }
    return region;
  }

  /** Invariant 9: each snapshot is one of the attempt that goes on. */
  #checkManifest({ manifest }: Extract<SchedulerEffect, { kind: 'publish' }>, attempts: Attempts): void {
    for (const { task, finished, position } of manifest.tasks) {
      // A task that a checkpoint before held as finished has no attempt that says so again.
      const told = finished ? this.#finished.get(task) : this.#acknowledged.get(`${task} ${manifest.checkpointId}`);
      if (finished && (told === undefined || told.position === position)) continue;
      if (told?.attempt === attempts.get(task) && told?.position === position) continue;
      this.#violate(
        'SNAPSHOT_OF_DEAD_ATTEMPT',
        `invariant 9: checkpoint ${manifest.checkpointId} holds a snapshot of ${task} by attempt ${told?.attempt}, attempt ${attempts.get(task)} runs`,
      );
    }
  }
}
