import fc from 'fast-check';
import type { JobEdge, JobGraph, JobVertex, Partitioning, StreamNode } from '../graph/index.js';
import { EDGE_LIMITS } from '../graph/index.js';

/** One vertex of a made-up job: how wide, and which earlier vertices it reads, and how. */
export interface VertexPlan {
  readonly parallelism: number;
  readonly inputs: readonly { readonly from: number; readonly kind: 'exchange' | 'broadcast' }[];
}

/** A plan of vertices only, as the scheduler needs it: what the operators do is the business of the simulated tasks. */
export function jobOf(plans: readonly VertexPlan[]): JobGraph {
  const edges: JobEdge[] = [];
  plans.forEach((plan, to) => {
    plan.inputs.forEach(({ from, kind }, toInput) => {
      const sameWidth = plans[from]?.parallelism === plan.parallelism;
      const exchange: Partitioning =
        sameWidth && (from + to) % 2 === 0 ? { kind: 'forward' } : { kind: 'hash', columns: ['k'] };
      const partitioning: Partitioning = kind === 'broadcast' ? { kind } : exchange;
      const limits = EDGE_LIMITS;
      edges.push({
        id: edges.length,
        from,
        to,
        partitioning,
        limits,
        buildFirst: kind === 'broadcast',
        toNode: to,
        toInput,
      });
    });
  });
  const vertices = plans.map((plan, id): JobVertex => {
    const outputs = edges.filter((edge) => edge.from === id);
    const nodes: StreamNode[] = [];
    if (plan.inputs.length === 0) nodes.push(nodeOf(id, 'source'));
    if (outputs.length === 0) nodes.push(nodeOf(id, 'sink'));
    if (nodes.length === 0) nodes.push(nodeOf(id, 'operator'));
    return {
      id,
      name: `vertex ${id}`,
      nodes,
      parallelism: plan.parallelism,
      inputs: edges.filter((edge) => edge.to === id),
      outputs,
    };
  });
  return { name: 'simulated', vertices, edges };
}

function nodeOf(id: number, kind: 'source' | 'operator' | 'sink'): StreamNode {
  // The scheduler looks at nothing but the kind.
  return {
    id,
    name: kind,
    body: { kind } as StreamNode['body'],
    inputs: [],
    schema: {} as StreamNode['schema'],
    parallelismMax: 8,
  };
}

/** Jobs of up to five vertices: chains, joins of two streams, tables that are built first, several sources and sinks. */
export const vertexPlans: fc.Arbitrary<readonly VertexPlan[]> = fc
  .array(
    fc.record({
      parallelism: fc.integer({ min: 1, max: 3 }),
      first: fc.nat(9),
      second: fc.option(fc.nat(9), { freq: 2 }),
      broadcast: fc.boolean(),
      isSource: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((raw) =>
    raw.map(({ parallelism, first, second, broadcast, isSource }, id): VertexPlan => {
      if (id === 0 || isSource) return { parallelism, inputs: [] };
      const stream = { from: first % id, kind: 'exchange' } as const;
      if (second === null) return { parallelism, inputs: [stream] };
      return { parallelism, inputs: [stream, { from: second % id, kind: broadcast ? 'broadcast' : 'exchange' }] };
    }),
  );

/** How many rows the tasks of a job handle when every source subtask emits one. */
export function handlingsPerRow(graph: JobGraph): number {
  const copies = graph.vertices.map(({ inputs, parallelism }) => (inputs.length === 0 ? parallelism : 0));
  for (const vertex of graph.vertices) {
    for (const edge of vertex.inputs) {
      const times = edge.partitioning.kind === 'broadcast' ? vertex.parallelism : 1;
      copies[vertex.id] = (copies[vertex.id] as number) + (copies[edge.from] as number) * times;
    }
  }
  return copies.reduce((total, rows) => total + rows, 0);
}
