import { MillraceError } from '../../base/index.js';
import type { EdgeLimits, Partitioning, StreamGraph, StreamNode } from './stream-graph.js';

/** Key groups of every job: state and keyed edges are split into these, whatever the parallelism. */
export const KEY_GROUPS = 128;

/** A chain of operators that runs as one task per subtask. */
export interface JobVertex {
  readonly id: number;
  readonly name: string;
  /** Nodes of the chain, first to last. */
  readonly nodes: readonly StreamNode[];
  readonly parallelism: number;
  readonly inputs: readonly JobEdge[];
  readonly outputs: readonly JobEdge[];
}

export interface JobEdge {
  readonly id: number;
  readonly from: number;
  readonly to: number;
  readonly partitioning: Partitioning;
  readonly limits: EdgeLimits;
  readonly buildFirst: boolean;
  /** The node of the consumer's chain that reads it, and which of that node's inputs it is. */
  readonly toNode: number;
  readonly toInput: number;
}

/** The physical plan: what the scheduler deploys. Plain structure; ids are equal in every process that builds it. */
export interface JobGraph {
  readonly name: string;
  readonly vertices: readonly JobVertex[];
  readonly edges: readonly JobEdge[];
}

/**
 * Chains operators where rows go forward, to one consumer, at equal parallelism (Flink's chaining rule), and
 * numbers vertices in topological order: the order of the job file, but for tables that it names after what is joined with them.
 * What has a second input is not chained to a source: a source's task reads its source and nothing else.
 */
export function planJob(graph: StreamGraph, parallelism: number): JobGraph {
  const nodes = graph.nodes;
  if (!nodes.some((node) => node.body.kind === 'sink')) {
    throw new MillraceError(
      'invalid',
      'JOB_WITHOUT_SINK',
      `job '${graph.jobName}' has no sink; end a stream with .to(...)`,
    );
  }
  const consumers = nodes.map(() => 0);
  for (const node of nodes) for (const edge of node.inputs) consumers[edge.from] = (consumers[edge.from] ?? 0) + 1;
  // What follows a narrow source row by row is as narrow as it, up to the next keyBy.
  const widths: number[] = [];
  for (const node of nodes) {
    const forward = node.inputs
      .filter((edge) => edge.partitioning.kind === 'forward')
      .map((edge) => widths[edge.from] ?? 1);
    widths[node.id] = Math.max(1, Math.min(parallelism, node.parallelismMax, KEY_GROUPS, ...forward));
  }
  const width = (node: StreamNode) => widths[node.id] as number;

  const chainOf: number[] = [];
  const chains: StreamNode[][] = [];
  for (const node of nodes) {
    const forward = node.inputs.find((edge) => edge.partitioning.kind === 'forward');
    const producer = forward === undefined ? undefined : nodes[forward.from];
    const chain = producer === undefined ? undefined : chains[chainOf[producer.id] ?? -1];
    const chainable =
      producer !== undefined &&
      consumers[producer.id] === 1 &&
      width(producer) === width(node) &&
      chain?.at(-1) === producer &&
      (node.inputs.length === 1 || chain[0]?.body.kind !== 'source');
    if (chain !== undefined && chainable) {
      chainOf[node.id] = chainOf[producer.id] as number;
      chain.push(node);
    } else {
      chainOf[node.id] = chains.length;
      chains.push([node]);
    }
  }

  const order = producersFirst(chains, chainOf);
  const edges: JobEdge[] = [];
  for (const node of nodes) {
    node.inputs.forEach((edge, toInput) => {
      const from = order.indexOf(chainOf[edge.from] as number);
      const to = order.indexOf(chainOf[node.id] as number);
      if (from === to) return;
      // A forward edge between unequal parallelisms becomes a redistribution: row by row it has no key to follow.
      const { partitioning, limits, buildFirst } = edge;
      edges.push({ id: edges.length, from, to, partitioning, limits, buildFirst, toNode: node.id, toInput });
    });
  }
  const vertices = order.map((at, id): JobVertex => {
    const chain = chains[at] as StreamNode[];
    return {
      id,
      name: chain.map((node) => node.name).join(' -> '),
      nodes: chain,
      parallelism: width(chain[0] as StreamNode),
      inputs: edges.filter((edge) => edge.to === id),
      outputs: edges.filter((edge) => edge.from === id),
    };
  });
  for (const edge of edges) {
    const from = vertices[edge.from] as JobVertex;
    const to = vertices[edge.to] as JobVertex;
    if (edge.partitioning.kind === 'forward' && from.parallelism !== to.parallelism) {
      throw new MillraceError(
        'invalid',
        'EDGE_PARALLELISM',
        `'${from.name}' runs ${from.parallelism} wide and '${to.name}' ${to.parallelism}: put a keyBy between them`,
      );
    }
  }
  return { name: graph.jobName, vertices, edges };
}

/** The chains' numbers, each after those it reads; else as they are. */
function producersFirst(chains: readonly (readonly StreamNode[])[], chainOf: readonly number[]): number[] {
  const order: number[] = [];
  const place = (at: number) => {
    if (order.includes(at)) return;
    for (const node of chains[at] ?? []) {
      for (const { from } of node.inputs) if (chainOf[from] !== at) place(chainOf[from] as number);
    }
    order.push(at);
  };
  chains.forEach((_, at) => void place(at));
  return order;
}

/** Name of one task, stable across attempts: `v<vertex>.<subtask>`. */
export function taskName(vertex: number, subtask: number): string {
  return `v${vertex}.${subtask}`;
}

/** Subpartitions of a vertex's output along an edge: one per consumer subtask, one log when it is a broadcast. */
export function subpartitionsOf(graph: JobGraph, edge: JobEdge): number {
  const to = graph.vertices[edge.to] as JobVertex;
  if (edge.partitioning.kind === 'broadcast') return 1;
  return edge.partitioning.kind === 'forward' ? 1 : to.parallelism;
}
