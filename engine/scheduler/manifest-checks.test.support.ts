import assert from 'node:assert/strict';
import type { Manifest } from '../../checkpoint/index.js';
import type { JobGraph } from '../graph/index.js';
import type { TaskPosition } from '../runtime/index.js';
import type { SimulatedLogs } from './simulated-logs.test.support.js';
import type { Evidence } from './simulated-task.test.support.js';

export interface TaskInHead {
  readonly attempt: number;
  readonly finished: boolean;
  readonly position: TaskPosition;
  readonly evidence: Evidence;
}

/** The tasks of a manifest, with what each said of itself when it took the snapshot. */
export function tasksIn(manifest: Manifest): Map<string, TaskInHead> {
  return new Map(
    manifest.tasks.map(({ task, finished, position }) => {
      const parsed = JSON.parse(position) as TaskPosition;
      const evidence = JSON.parse(parsed.source as string) as Evidence;
      return [task, { attempt: evidence.attempt, finished, position: parsed, evidence }];
    }),
  );
}

/**
 * Invariant 6 from the logs themselves: each consumer stands where its producer stood, in the same log, just after this
 * checkpoint's barrier, or after END when the producer had finished. Says nothing by itself of who may acknowledge.
 */
export function checkConsistent(graph: JobGraph, logs: SimulatedLogs, manifest: Manifest): void {
  for (const { task, segments } of manifest.tasks) {
    assert.ok(!segments.slice(1).some(({ full }) => full), `${task}: a full segment replaces those before it`);
  }
  const tasks = tasksIn(manifest);
  const names = graph.vertices.flatMap(({ id, parallelism }) =>
    Array.from({ length: parallelism }, (_, subtask) => `v${id}.${subtask}`),
  );
  assert.deepEqual([...tasks.keys()].sort(), names.sort(), 'a manifest has every task once');
  for (const [name, { position, evidence }] of tasks) {
    const subtask = Number(name.slice(name.indexOf('.') + 1));
    for (const [index, read] of position.inputs.entries()) {
      const edge = graph.edges[read.edge] as JobGraph['edges'][0];
      const producer = tasks.get(`v${edge.from}.${read.producer}`) as TaskInHead;
      const channel = evidence.reads[index] as Evidence['reads'][0];
      const told = `checkpoint ${manifest.checkpointId}: ${name} of v${edge.from}.${read.producer} along edge ${edge.id}`;
      assert.equal(read.ended, producer.finished, `${told}: an END was read if and only if the producer had finished`);
      if (!channel.attached) continue; // ended in an earlier checkpoint; its log is history
      const output = graph.vertices[edge.from]?.outputs.findIndex(({ id }) => id === edge.id) as number;
      const subpartition = edge.partitioning.kind === 'hash' ? subtask : 0;
      const sent = position === undefined ? undefined : producer.position.outputs[output]?.[subpartition];
      assert.equal(channel.partition, producer.evidence.writes[output], `${told}: another log`);
      assert.deepEqual({ seq: read.seq, chain: read.chain }, sent, `${told}: read to another place than was sent`);
      if (!logs.hasPartition(channel.partition)) continue; // both finished under an earlier leader
      const last = logs.before(channel.partition, subpartition, read.seq);
      const barrier = { kind: 'barrier', checkpoint: manifest.checkpointId };
      assert.deepEqual(
        last,
        producer.finished ? { kind: 'end' } : barrier,
        `${told}: the position is not just after the barrier`,
      );
    }
  }
  assert.equal(
    manifest.final,
    [...tasks.values()].every(({ finished }) => finished),
    'final means that all have finished',
  );
}
