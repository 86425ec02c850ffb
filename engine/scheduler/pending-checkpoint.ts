import { MillraceError } from '../../base/index.js';
import type { Manifest, SegmentRef, TaskSnapshot } from '../../checkpoint/index.js';
import type { JobGraph } from '../graph/index.js';
import { taskName } from '../graph/index.js';
import type { TaskPosition } from '../runtime/index.js';
import type { Compactions } from './compactions.js';
import { producersOf, subpartitionFor, type TaskState } from './task-state.js';

interface Acknowledgement {
  readonly attempt: number;
  readonly position: TaskPosition;
  readonly held: boolean;
  readonly finished: boolean;
}

/** One checkpoint between its trigger and HEAD: who has acknowledged, and what the manifest will say. */
export class PendingCheckpoint {
  readonly id: number;
  readonly triggeredMs: number;
  phase: 'collecting' | 'persisting' | 'publishing' = 'collecting';
  manifest: Manifest | undefined;
  readonly #acks = new Map<string, Acknowledgement>();

  constructor(id: number, triggeredMs: number) {
    this.id = id;
    this.triggeredMs = triggeredMs;
  }

  /** The first acknowledgement of a task stands. */
  acknowledge(task: TaskState, position: TaskPosition, held: boolean): void {
    if (!this.#acks.has(task.name))
      this.#acks.set(task.name, { attempt: task.attempt, position, held, finished: false });
  }

  /** True when every task has acknowledged, or finished before it could: then its finished snapshot counts. */
  collected(tasks: ReadonlyMap<string, TaskState>): boolean {
    for (const task of tasks.values())
      if (!this.#acks.has(task.name) && task.finishedPosition === undefined) return false;
    for (const task of tasks.values()) {
      const position = task.finishedPosition;
      if (this.#acks.has(task.name) || position === undefined) continue;
      this.#acks.set(task.name, { attempt: task.attempt, position, held: false, finished: true });
    }
    return true;
  }

  get heldTasks(): { readonly task: string; readonly attempt: number }[] {
    return [...this.#acks].filter(([, ack]) => ack.held).map(([task, ack]) => ({ task, attempt: ack.attempt }));
  }

  position(task: string): TaskPosition | undefined {
    return this.#acks.get(task)?.position;
  }

  isFinished(task: string): boolean {
    return this.#acks.get(task)?.finished === true;
  }

  /**
   * Invariant 6: every consumer stands exactly at its producer's barrier, with an equal chain hash.
   * @throws MillraceError `CHECKPOINT_INCONSISTENT` (internal) naming the edge.
   */
  verify(graph: JobGraph): void {
    for (const edge of graph.edges) {
      const consumers = graph.vertices[edge.to]?.parallelism ?? 0;
      const outputIndex = graph.vertices[edge.from]?.outputs.indexOf(edge) ?? -1;
      for (let consumer = 0; consumer < consumers; consumer++) {
        const inputs = this.position(taskName(edge.to, consumer))?.inputs ?? [];
        for (const producer of producersOf(graph, edge, consumer)) {
          const { subpartition } = subpartitionFor(edge, consumer);
          const sent = this.position(taskName(edge.from, producer))?.outputs[outputIndex]?.[subpartition];
          const read = inputs.find((input) => input.edge === edge.id && input.producer === producer);
          // A producer that was finished in an earlier checkpoint and restored has no log any more; its END was read then.
          if (read?.ended === true && this.isFinished(taskName(edge.from, producer))) continue;
          if (sent === undefined || read === undefined || sent.seq !== read.seq || sent.chain !== read.chain) {
            const told = `${taskName(edge.from, producer)} sent ${sent?.seq} (${sent?.chain}), ${taskName(edge.to, consumer)} read ${read?.seq} (${read?.chain})`;
            throw new MillraceError(
              'internal',
              'CHECKPOINT_INCONSISTENT',
              `checkpoint ${this.id}, edge ${edge.id}: ${told}`,
            );
          }
        }
      }
    }
  }

  buildManifest(options: {
    readonly tasks: ReadonlyMap<string, TaskState>;
    readonly segments: ReadonlyMap<string, SegmentRef>;
    readonly compactions: Compactions;
    readonly epoch: number;
    readonly meta: string;
  }): Manifest {
    const snapshots: TaskSnapshot[] = [];
    for (const [name, ack] of [...this.#acks].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const added = options.segments.get(name);
      const before = options.compactions.applied(name, (options.tasks.get(name) as TaskState).segments);
      const kept = added === undefined ? before : added.full ? [added] : [...before, added];
      const segments = ack.finished ? [] : kept;
      snapshots.push({ task: name, finished: ack.finished, segments, position: JSON.stringify(ack.position) });
    }
    this.manifest = {
      format: 2,
      checkpointId: this.id,
      epoch: options.epoch,
      tasks: snapshots,
      meta: options.meta,
      final: snapshots.every((snapshot) => snapshot.finished),
    };
    return this.manifest;
  }
}
