import { type CompiledSchema, compileSchema, type Schema } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { Sink, Source } from '../connectors/index.js';
import type { OperatorFactory } from '../operators/index.js';

/** How rows travel along an edge. */
export type Partitioning =
  /** Subtask i to subtask i; lets two operators be chained into one task. */
  | { readonly kind: 'forward' }
  /** By the key group of these columns. */
  | { readonly kind: 'hash'; readonly columns: readonly string[] }
  /** Every consumer reads the one log. */
  | { readonly kind: 'broadcast' };

/** How far rows may be held up between two tasks. */
export interface EdgeLimits {
  /** Rows wait so long at most for their buffer to fill. */
  readonly bufferTimeoutMs: number;
  /** Unread bytes of one channel at which its writer has to wait; undefined: the run's own limit. */
  readonly maxLagBytes: number | undefined;
}

export const EDGE_LIMITS: EdgeLimits = { bufferTimeoutMs: 100, maxLagBytes: undefined };

export interface StreamEdge {
  /** Producer's node id. */
  readonly from: number;
  readonly partitioning: Partitioning;
  /** Mean nothing where both ends are chained into one task. */
  readonly limits: EdgeLimits;
  /** The consumer reads this input to its END before any other. */
  readonly buildFirst: boolean;
}

/** One logical operator. Node ids count from 0 in the order of the job file, so every process builds the same graph. */
export interface StreamNode {
  readonly id: number;
  readonly name: string;
  readonly body:
    | { readonly kind: 'source'; readonly source: Source; readonly rate: number }
    | { readonly kind: 'operator'; readonly create: OperatorFactory }
    | { readonly kind: 'sink'; readonly sink: Sink };
  readonly inputs: readonly StreamEdge[];
  /** Schema of its output; for a sink, of its input. */
  readonly schema: CompiledSchema;
  readonly parallelismMax: number;
}

/** What a job file describes, before operators are chained. */
export class StreamGraph {
  readonly jobName: string;
  readonly #nodes: StreamNode[] = [];

  constructor(jobName: string) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(jobName)) {
      throw new MillraceError(
        'invalid',
        'JOB_NAME',
        `job name '${jobName}' must be 1 to 64 letters, digits, '.', '_' or '-'`,
      );
    }
    this.jobName = jobName;
  }

  get nodes(): readonly StreamNode[] {
    return this.#nodes;
  }

  node(id: number): StreamNode {
    const node = this.#nodes[id];
    if (node === undefined) throw new MillraceError('internal', 'NODE_UNKNOWN', `there is no node ${id}`);
    return node;
  }

  add<S extends Schema>(node: {
    readonly name: string;
    readonly body: StreamNode['body'];
    readonly inputs: readonly StreamEdge[];
    readonly schema: S;
    readonly parallelismMax?: number;
  }): number {
    const id = this.#nodes.length;
    this.#nodes.push({
      id,
      name: node.name,
      body: node.body,
      inputs: node.inputs,
      schema: compileSchema(node.schema) as CompiledSchema,
      parallelismMax: node.parallelismMax ?? Number.MAX_SAFE_INTEGER,
    });
    return id;
  }
}
