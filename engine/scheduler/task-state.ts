import type { SegmentRef } from '../../checkpoint/index.js';
import type { PartitionDescriptor, WriterDescriptor } from '../../shuffle/index.js';
import { type JobEdge, type JobGraph, type JobVertex, subpartitionsOf, taskName } from '../graph/index.js';
import type { TaskPosition, TaskRestore } from '../runtime/index.js';
import type { SlotId } from './events.js';

/**
 * created -> preparing -> prepared -> deployed -> running -> finished -> done
 *               ^____________________________________|  (restart: a new attempt, a new lineage)
 */
export type TaskPhase = 'created' | 'preparing' | 'prepared' | 'deployed' | 'running' | 'finished' | 'done';

/** One task of a job, across its attempts. */
export interface TaskState {
  readonly name: string;
  readonly vertex: JobVertex;
  readonly subtask: number;
  readonly hasSink: boolean;
  readonly isSource: boolean;
  /** Counts from 1; also the lineage of its partitions, as every restart here begins a new one. */
  attempt: number;
  phase: TaskPhase;
  /** What the current attempt started from. */
  restore: TaskRestore | undefined;
  /** Segments of the newest complete checkpoint, oldest first. */
  segments: readonly SegmentRef[];
  /** Set once finished. */
  finishedPosition: TaskPosition | undefined;
}

export function createTasks(graph: JobGraph): Map<string, TaskState> {
  const tasks = new Map<string, TaskState>();
  for (const vertex of graph.vertices) {
    for (let subtask = 0; subtask < vertex.parallelism; subtask++) {
      const name = taskName(vertex.id, subtask);
      tasks.set(name, {
        name,
        vertex,
        subtask,
        hasSink: vertex.nodes.some((node) => node.body.kind === 'sink'),
        isSource: vertex.inputs.length === 0,
        attempt: 0,
        phase: 'created',
        restore: undefined,
        segments: [],
        finishedPosition: undefined,
      });
    }
  }
  return tasks;
}

export function writerId(jobId: string, task: TaskState, attempt = task.attempt): string {
  return `${jobId}/${task.name}/${attempt}`;
}

export function partitionId(jobId: string, task: TaskState, edge: JobEdge): string {
  return `${writerId(jobId, task)}/e${edge.id}`;
}

export function writerOf(graph: JobGraph, jobId: string, task: TaskState): WriterDescriptor {
  const partitions = task.vertex.outputs.map((edge): PartitionDescriptor => {
    const broadcast = edge.partitioning.kind === 'broadcast';
    return {
      partition: partitionId(jobId, task, edge),
      type: 'pipelined',
      subpartitions: subpartitionsOf(graph, edge),
      broadcast,
      consumers: broadcast ? (graph.vertices[edge.to] as JobVertex).parallelism : 1,
      ...(edge.limits.maxLagBytes === undefined ? {} : { maxLagBytes: edge.limits.maxLagBytes }),
    };
  });
  return { writer: writerId(jobId, task), epoch: task.attempt, partitions };
}

/** Producer subtasks that feed one consumer subtask along an edge. */
export function producersOf(graph: JobGraph, edge: JobEdge, consumerSubtask: number): number[] {
  if (edge.partitioning.kind === 'forward') return [consumerSubtask];
  return Array.from({ length: (graph.vertices[edge.from] as JobVertex).parallelism }, (_, subtask) => subtask);
}

/** The subpartition, and which of its consumers, a consumer subtask reads along an edge. */
export function subpartitionFor(
  edge: JobEdge,
  consumerSubtask: number,
): { readonly subpartition: number; readonly consumer: number } {
  if (edge.partitioning.kind === 'broadcast') return { subpartition: 0, consumer: consumerSubtask };
  return { subpartition: edge.partitioning.kind === 'forward' ? 0 : consumerSubtask, consumer: 0 };
}

/** The failed tasks and all that consumed from them: what rolls back together. Producers stay: what they sent since the checkpoint is retained. */
export function failureRegion(
  graph: JobGraph,
  tasks: ReadonlyMap<string, TaskState>,
  failed: Iterable<string>,
): Set<string> {
  const region = new Set<string>();
  const queue = [...failed];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (region.has(name)) continue;
    region.add(name);
    const task = tasks.get(name) as TaskState;
    for (const edge of task.vertex.outputs) {
      const width = (graph.vertices[edge.to] as JobVertex).parallelism;
      for (let subtask = 0; subtask < width; subtask++) {
        if (producersOf(graph, edge, subtask).includes(task.subtask)) queue.push(taskName(edge.to, subtask));
      }
    }
  }
  return region;
}

/**
 * Which slot each subtask index lives in: subtask s of every vertex shares one slot (so a chain of exchanges mostly stays
 * in one thread). A slot that lives keeps its subtasks through restarts.
 */
export class SlotTable {
  readonly #width: number;
  readonly #slots = new Set<SlotId>();
  readonly #homes = new Map<number, SlotId>();

  constructor(graph: JobGraph) {
    this.#width = Math.max(...graph.vertices.map((vertex) => vertex.parallelism));
  }

  add(slot: SlotId): void {
    this.#slots.add(slot);
    this.assign();
  }

  remove(slot: SlotId): void {
    this.#slots.delete(slot);
    for (const [subtask, home] of this.#homes) if (home === slot) this.#homes.delete(subtask);
  }

  has(slot: SlotId): boolean {
    return this.#slots.has(slot);
  }

  slotOf(subtask: number): SlotId | undefined {
    return this.#homes.get(subtask);
  }

  get complete(): boolean {
    return this.#homes.size === this.#width;
  }

  get empty(): boolean {
    return this.#slots.size === 0;
  }

  /** Gives homeless subtasks a free slot; with `crowd`, the least crowded one when none is free. */
  assign(crowd = false): void {
    const load = new Map([...this.#slots].sort().map((slot) => [slot, 0]));
    for (const home of this.#homes.values()) load.set(home, (load.get(home) ?? 0) + 1);
    for (let subtask = 0; subtask < this.#width; subtask++) {
      if (this.#homes.has(subtask)) continue;
      const best = [...load].sort(([, a], [, b]) => a - b)[0];
      if (best === undefined || (best[1] > 0 && !crowd)) return;
      this.#homes.set(subtask, best[0]);
      load.set(best[0], best[1] + 1);
    }
  }
}
