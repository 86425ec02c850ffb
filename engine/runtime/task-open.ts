import type { CompiledSchema } from '../../base/columnar/index.js';
import { keyGroupRange } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { StateStore } from '../../statestore/index.js';
import type { SinkWriter } from '../connectors/index.js';
import { type JobVertex, KEY_GROUPS, type StreamNode } from '../graph/index.js';
import type { Operator, Output } from '../operators/index.js';
import type { TaskDeployment } from './deployment.js';
import { type ChainEnd, OperatorChain } from './operator-chain.js';
import { SinkTransactions } from './sink-transactions.js';
import { SourceInput } from './source-input.js';
import type { TaskCounters, TaskEnvironment } from './task-environment.js';
import { TaskInputs } from './task-inputs.js';
import { TaskOutputs } from './task-outputs.js';
import type { TaskParts } from './task-parts.js';

/** Rows a source's batch has; small enough that a paced source moves smoothly. */
const SOURCE_BATCH_ROWS = 4096;

/** A source's place in the chain: its batches go on as they are. */
function passThrough(): Operator {
  let next: Output | undefined;
  return {
    open(_context, output) {
      next = output;
    },
    batch(_input, batch) {
      next?.batch(batch);
    },
  };
}

/** Puts one attempt together: state restored, log and gate attached, operators opened, in that order. */
export async function openTask(
  vertex: JobVertex,
  deployment: TaskDeployment,
  environment: TaskEnvironment,
  counters: TaskCounters,
  wake: () => void,
): Promise<TaskParts> {
  const range = keyGroupRange(deployment.subtask, KEY_GROUPS, vertex.parallelism);
  const segments = deployment.restore?.segments ?? [];
  const local = await environment.openState?.(`v${vertex.id}`, range, segments);
  const state = local?.state ?? environment.createState(range);
  try {
    if (local === undefined && segments.length > 0) {
      state.restore(await Promise.all(segments.map((ref) => environment.segments.fetch(ref))));
    }
    const parts = await openParts(vertex, deployment, environment, counters, wake, state);
    return { ...parts, local };
  } catch (thrown) {
    await state.close?.();
    await local?.close();
    throw thrown;
  }
}

async function openParts(
  vertex: JobVertex,
  deployment: TaskDeployment,
  environment: TaskEnvironment,
  counters: TaskCounters,
  wake: () => void,
  state: StateStore,
): Promise<Omit<TaskParts, 'local'>> {
  const last = vertex.nodes.at(-1) as StreamNode;
  const finished = deployment.restore?.finished === true;
  const writer = await environment.shuffle.openWriter({
    writer: deployment.writer,
    epoch: deployment.epoch,
    partitions: deployment.partitions,
  });
  const outputs = new TaskOutputs({
    writer,
    edges: vertex.outputs,
    schema: last.schema,
    counters,
  });
  const sink = await openSink(last, deployment, environment);
  const chain = openOperators(vertex, deployment, environment, counters, state, sink ?? outputs);
  const source = finished ? undefined : await openSource(vertex, deployment, environment, wake);
  const inputs = source !== undefined || finished ? undefined : await openInputs(vertex, deployment, environment);
  return { state, chain, inputs, source, outputs, sink };
}

async function openSink(
  node: StreamNode,
  deployment: TaskDeployment,
  environment: TaskEnvironment,
): Promise<SinkTransactions | undefined> {
  if (node.body.kind !== 'sink') return undefined;
  const recovered = deployment.restore?.position.transactions ?? [];
  const writer: SinkWriter = await node.body.sink.open({
    disk: environment.disk,
    clock: environment.clock,
    logger: environment.logger,
    subtask: deployment.subtask,
    attempt: `${environment.runId}-${deployment.attempt}`,
    schema: node.schema.schema,
    recovered: recovered.map(({ transaction }) => transaction),
  });
  return new SinkTransactions(writer, []);
}

async function openSource(
  vertex: JobVertex,
  deployment: TaskDeployment,
  environment: TaskEnvironment,
  wake: () => void,
): Promise<SourceInput | undefined> {
  const node = vertex.nodes[0] as StreamNode;
  if (node.body.kind !== 'source') return undefined;
  const reader = await node.body.source.open({
    disk: environment.disk,
    clock: environment.clock,
    logger: environment.logger,
    subtask: deployment.subtask,
    parallelism: vertex.parallelism,
    position: deployment.restore?.position.source ?? undefined,
    batchRows: SOURCE_BATCH_ROWS,
  });
  const rowsPerSecond = node.body.rate / vertex.parallelism;
  return new SourceInput({ reader, schema: node.schema, clock: environment.clock, rowsPerSecond, wake });
}

async function openInputs(
  vertex: JobVertex,
  deployment: TaskDeployment,
  environment: TaskEnvironment,
): Promise<TaskInputs> {
  const live = deployment.channels.filter((channel) => !channel.ended);
  const gate = await environment.shuffle.openGate(live.map((channel) => channel.descriptor));
  return new TaskInputs({
    channels: deployment.channels,
    gate,
    buildFirstEdges: new Set(vertex.inputs.filter((edge) => edge.buildFirst).map((edge) => edge.id)),
    minCheckpoint: deployment.minCheckpoint,
    faults: environment.faults,
  });
}

function openOperators(
  vertex: JobVertex,
  deployment: TaskDeployment,
  environment: TaskEnvironment,
  counters: TaskCounters,
  state: StateStore,
  end: SinkTransactions | TaskOutputs,
): OperatorChain {
  const chainEnd: ChainEnd = end instanceof SinkTransactions ? { batch: (batch) => end.write(batch) } : end;
  const watermark = deployment.restore?.position.watermark ?? Number.NEGATIVE_INFINITY;
  const chain = new OperatorChain(chainEnd, watermark);
  for (const node of vertex.nodes) {
    if (node.body.kind === 'sink') break;
    const operator = node.body.kind === 'source' ? passThrough() : node.body.create();
    chain.add(operator, node.schema, (output) =>
      operator.open(
        {
          subtask: deployment.subtask,
          parallelism: vertex.parallelism,
          statePrefix: `n${node.id}/`,
          state,
          keyGroups: KEY_GROUPS,
          clock: environment.clock,
          logger: environment.logger,
          inputs: node.inputs.map((edge) => schemaOf(environment, edge.from)),
          output: node.schema,
          counters,
          watermark,
        },
        output,
      ),
    );
  }
  return chain;
}

function schemaOf(environment: TaskEnvironment, nodeId: number): CompiledSchema {
  for (const vertex of environment.graph.vertices) {
    const node = vertex.nodes.find((candidate) => candidate.id === nodeId);
    if (node !== undefined) return node.schema;
  }
  throw new MillraceError('internal', 'NODE_UNKNOWN', `there is no node ${nodeId}`);
}
