import { type RowOf, rows, type Schema, type Source, type SourceReader } from '../engine/index.js';

/**
 * Made-up rows of which subtask s of p reads s, s + p, s + 2p ..: all subtasks go through event time together, as partitions
 * of a log do. (`rows` gives each subtask a part of its own: event time then stands at the slowest one's.)
 */
export function interleavedRows<const S extends Schema>(
  schema: S,
  rowAt: (index: number) => RowOf<S>,
  count: number,
): Source<S> {
  return {
    name: 'interleavedRows',
    schema,
    async open(context): Promise<SourceReader> {
      const { subtask, parallelism } = context;
      const mine = Math.ceil(Math.max(0, count - subtask) / parallelism);
      const source = rows(schema, (i) => rowAt(subtask + i * parallelism), { count: mine });
      return source.open({ ...context, subtask: 0, parallelism: 1 });
    },
  };
}
