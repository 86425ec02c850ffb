import type { JobGraph } from '../graph/index.js';
import { taskName } from '../graph/index.js';
import type { TaskChannel, TaskDeployment } from '../runtime/index.js';
import { partitionId, producersOf, subpartitionFor, type TaskState, writerId, writerOf } from './task-state.js';

/** What a deployment is made from, besides the task itself. */
export interface DeploymentContext {
  readonly graph: JobGraph;
  readonly jobId: string;
  readonly tasks: ReadonlyMap<string, TaskState>;
  /** Attempt of each task whose positions the newest complete checkpoint holds; empty at a fresh start or resume. */
  readonly attemptsAtLatest: ReadonlyMap<string, number>;
  readonly minCheckpoint: number;
}

/**
 * How to start the current attempt of a task: its own log, and where to begin in each producer's. A snapshot's position
 * counts in the log it was taken from; a producer restarted since then has a new one, which begins there, at 0.
 */
export function deploymentOf(task: TaskState, context: DeploymentContext): TaskDeployment {
  const { graph, jobId, tasks, attemptsAtLatest, minCheckpoint } = context;
  const channels: TaskChannel[] = [];
  for (const edge of task.vertex.inputs) {
    for (const subtask of producersOf(graph, edge, task.subtask)) {
      const producer = tasks.get(taskName(edge.from, subtask)) as TaskState;
      const saved = task.restore?.position.inputs.find((input) => input.edge === edge.id && input.producer === subtask);
      const sameLog = saved !== undefined && attemptsAtLatest.get(producer.name) === producer.attempt;
      channels.push({
        edge: edge.id,
        producer: subtask,
        descriptor: {
          partition: partitionId(jobId, producer, edge),
          ...subpartitionFor(edge, task.subtask),
          from: sameLog ? { seq: saved.seq, chain: BigInt(`0x${saved.chain}`) } : { seq: 0, chain: 0n },
        },
        watermark: saved?.watermark ?? Number.NEGATIVE_INFINITY,
        ended: saved?.ended ?? false,
      });
    }
  }
  return {
    task: task.name,
    vertex: task.vertex.id,
    subtask: task.subtask,
    attempt: task.attempt,
    writer: writerId(jobId, task),
    epoch: task.attempt,
    partitions: writerOf(graph, jobId, task).partitions,
    channels,
    restore: task.restore,
    minCheckpoint,
  };
}
