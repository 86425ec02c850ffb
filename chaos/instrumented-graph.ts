import type { JobGraph, StreamNode } from '../engine/graph/index.js';
import { taskName } from '../engine/graph/index.js';
import type { Sink, SinkWriter, Source } from '../engine/index.js';
import type { Operator } from '../engine/operators/index.js';

/** What a run wants to see of its tasks, or do to them. */
export interface TaskHooks {
  /** Called as each step reaches user code; throws when this task is to fail now. */
  step(task: string): void;
  /** A sink is about to make this transaction visible. */
  committing(task: string, transaction: string): void;
}

/** The same plan with the same ids, whose sources, operators and sinks call the hooks; sources give smaller batches. */
export function instrumentGraph(graph: JobGraph, hooks: TaskHooks, batchRows: number): JobGraph {
  const vertices = graph.vertices.map((vertex) => ({
    ...vertex,
    nodes: vertex.nodes.map((node): StreamNode => {
      const nameOf = (subtask: number) => taskName(vertex.id, subtask);
      const { body } = node;
      if (body.kind === 'source')
        return { ...node, body: { ...body, source: hookedSource(body.source, hooks, nameOf, batchRows) } };
      if (body.kind === 'sink') return { ...node, body: { ...body, sink: hookedSink(body.sink, hooks, nameOf) } };
      return { ...node, body: { ...body, create: () => hookedOperator(body.create(), hooks, nameOf) } };
    }),
  }));
  return { ...graph, vertices };
}

type NameOf = (subtask: number) => string;

function hookedSource(source: Source, hooks: TaskHooks, nameOf: NameOf, batchRows: number): Source {
  return {
    ...source,
    async open(context) {
      const reader = await source.open({ ...context, batchRows });
      return {
        async next() {
          hooks.step(nameOf(context.subtask));
          return reader.next();
        },
        position: () => reader.position(),
        close: () => reader.close(),
      };
    },
  };
}

function hookedSink(sink: Sink, hooks: TaskHooks, nameOf: NameOf): Sink {
  return {
    ...sink,
    async open(context) {
      const task = nameOf(context.subtask);
      for (const transaction of context.recovered) hooks.committing(task, transaction);
      const writer: SinkWriter = await sink.open(context);
      return {
        get pending() {
          return writer.pending;
        },
        write(batch) {
          hooks.step(task);
          writer.write(batch);
        },
        preCommit: (checkpoint) => writer.preCommit(checkpoint),
        commit(transaction) {
          hooks.committing(task, transaction);
          return writer.commit(transaction);
        },
        close: () => writer.close(),
      };
    },
  };
}

function hookedOperator(operator: Operator, hooks: TaskHooks, nameOf: NameOf): Operator {
  let task = '';
  const hooked: Operator = {
    open(context, output) {
      task = nameOf(context.subtask);
      operator.open(context, output);
    },
    batch(input, batch) {
      hooks.step(task);
      operator.batch(input, batch);
    },
    keysOf: (input, batch, visit) => operator.keysOf?.(input, batch, visit),
    keysDue: (timeMs, visit) => operator.keysDue?.(timeMs, visit),
    ...(operator.assignsTime === undefined ? {} : { assignsTime: operator.assignsTime }),
  };
  if (operator.inputEnded !== undefined) hooked.inputEnded = (input) => operator.inputEnded?.(input);
  if (operator.watermark !== undefined) {
    hooked.watermark = (timeMs) => {
      hooks.step(task);
      return operator.watermark?.(timeMs) ?? true;
    };
  }
  return hooked;
}
