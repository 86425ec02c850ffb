import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type JobGraph, KEY_GROUPS, planJob, subpartitionsOf, taskName } from './job-graph.js';
import { EDGE_LIMITS, type Partitioning, StreamGraph, type StreamNode } from './stream-graph.js';

const SCHEMA = { k: 'utf8' } as const;
const forward: Partitioning = { kind: 'forward' };
const hash: Partitioning = { kind: 'hash', columns: ['k'] };
const broadcast: Partitioning = { kind: 'broadcast' };

class Describe {
  readonly graph = new StreamGraph('job');

  add(
    kind: 'source' | 'operator' | 'sink',
    inputs: readonly (readonly [number, Partitioning])[],
    parallelismMax?: number,
  ): number {
    return this.graph.add({
      name: `${kind}${this.graph.nodes.length}`,
      body: { kind } as StreamNode['body'],
      inputs: inputs.map(([from, partitioning]) => ({
        from,
        partitioning,
        limits: EDGE_LIMITS,
        buildFirst: partitioning.kind === 'broadcast',
      })),
      schema: SCHEMA,
      ...(parallelismMax === undefined ? {} : { parallelismMax }),
    });
  }
}

const shape = (graph: JobGraph) =>
  graph.vertices.map(({ nodes, parallelism }) => [nodes.map(({ id }) => id), parallelism]);
const links = (graph: JobGraph) =>
  graph.edges.map(({ from, to, partitioning }) => `${from} ${partitioning.kind} ${to}`);

test('operators are chained along forward edges, and cut at a keyBy', () => {
  const d = new Describe();
  const source = d.add('source', []);
  const filter = d.add('operator', [[source, forward]]);
  const window = d.add('operator', [[filter, hash]]);
  d.add('sink', [[window, forward]]);
  const plan = planJob(d.graph, 4);
  assert.deepEqual(shape(plan), [
    [[0, 1], 4],
    [[2, 3], 4],
  ]);
  assert.deepEqual(links(plan), ['0 hash 1']);
  assert.equal(plan.edges[0]?.toNode, 2);
  assert.equal(plan.vertices[0]?.name, 'source0 -> operator1');
});

test('a producer of two streams is not chained to either, and both edges are there', () => {
  const d = new Describe();
  const source = d.add('source', []);
  d.add('sink', [[source, forward]]);
  d.add('sink', [[source, forward]]);
  const plan = planJob(d.graph, 2);
  assert.deepEqual(shape(plan), [
    [[0], 2],
    [[1], 2],
    [[2], 2],
  ]);
  assert.deepEqual(links(plan), ['0 forward 1', '0 forward 2']);
  assert.deepEqual(
    plan.vertices[0]?.outputs.map(({ id }) => id),
    [0, 1],
  );
});

test('a join is chained to its stream and reads its table over a broadcast edge, built first, into its second input', () => {
  const d = new Describe();
  const stream = d.add('source', []);
  const window = d.add('operator', [[stream, hash]]);
  const table = d.add('source', [], 1);
  const join = d.add('operator', [
    [window, forward],
    [table, broadcast],
  ]);
  d.add('sink', [[join, forward]]);
  const plan = planJob(d.graph, 3);
  // The table is named after the window, and comes before the task that reads it.
  assert.deepEqual(shape(plan), [
    [[0], 3],
    [[2], 1],
    [[1, 3, 4], 3],
  ]);
  assert.deepEqual(links(plan), ['0 hash 2', '1 broadcast 2']);
  const edge = plan.edges[1] as JobGraph['edges'][0];
  assert.deepEqual([edge.from, edge.to, edge.toNode, edge.toInput, edge.buildFirst], [1, 2, 3, 1, true]);
  assert.equal(subpartitionsOf(plan, edge), 1);
});

// The source's task read no table: the join gave nothing, and the first checkpoint ended the job.
test('a join of a source with a table is a task of its own', () => {
  const d = new Describe();
  const stream = d.add('source', []);
  const filter = d.add('operator', [[stream, forward]]);
  const table = d.add('source', []);
  const join = d.add('operator', [
    [filter, forward],
    [table, broadcast],
  ]);
  d.add('sink', [[join, forward]]);
  const plan = planJob(d.graph, 2);
  assert.deepEqual(shape(plan), [
    [[0, 1], 2],
    [[2], 2],
    [[3, 4], 2],
  ]);
  assert.deepEqual(links(plan), ['0 forward 2', '1 broadcast 2']);
});

test('parallelism is bounded by what a node can use and by the key groups', () => {
  const d = new Describe();
  const source = d.add('source', [], 2);
  const window = d.add('operator', [[source, hash]]);
  d.add('sink', [[window, forward]]);
  const plan = planJob(d.graph, 1000);
  assert.deepEqual(shape(plan), [
    [[0], 2],
    [[1, 2], KEY_GROUPS],
  ]);
  assert.equal(subpartitionsOf(plan, plan.edges[0] as JobGraph['edges'][0]), KEY_GROUPS);
});

test('what follows a narrow source row by row is as narrow, up to the next keyBy', () => {
  const d = new Describe();
  const source = d.add('source', [], 1);
  d.add('sink', [[source, forward]]);
  const other = d.add('operator', [[source, forward]]);
  const window = d.add('operator', [[other, hash]]);
  d.add('sink', [[window, forward]]);
  assert.deepEqual(
    planJob(d.graph, 3).vertices.map(({ parallelism }) => parallelism),
    [1, 1, 1, 3],
  );
});

test('rows cannot go forward to something narrower: the message says what to do', () => {
  const d = new Describe();
  const source = d.add('source', []);
  d.add('operator', [[source, forward]], 1);
  d.add('sink', [[source, forward]]);
  planJob(d.graph, 1);
  assert.throws(() => planJob(d.graph, 2), { code: 'EDGE_PARALLELISM', kind: 'invalid', message: /2 wide.*1.*keyBy/ });
});

test('a job without a sink is refused', () => {
  const d = new Describe();
  d.add('source', []);
  assert.throws(() => planJob(d.graph, 1), { code: 'JOB_WITHOUT_SINK', kind: 'invalid' });
});

test('names of tasks are stable', () => {
  assert.equal(taskName(3, 12), 'v3.12');
});
