import type { Schema } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';
import type { Source } from '../connectors/index.js';
import { StreamGraph } from '../graph/index.js';
import { Stream } from './stream.js';

/** Values given on the command line (`--param rows=1000`), by name. */
export type JobParams = Readonly<Record<string, string>>;

/** What a job file exports by default. */
export interface JobDefinition {
  readonly kind: 'millrace-job';
  readonly name: string;
  /** Describes the job again, with these parameters; the same parameters give the same graph. */
  build(params: JobParams): StreamGraph;
}

/**
 * Describes a job. `describe` runs once in every process that takes part, so it must do nothing but describe.
 *
 * @example export default job('count', (j) => { j.from(source).keyBy('k').window(...).aggregate({ n: count() }).to(sink); });
 */
export function job(name: string, describe: (j: JobBuilder) => void): JobDefinition {
  return {
    kind: 'millrace-job',
    name,
    build(params) {
      const graph = new StreamGraph(name);
      const builder = new JobBuilder(graph, params);
      describe(builder);
      builder.checkParams();
      return graph;
    },
  };
}

export class JobBuilder {
  readonly #graph: StreamGraph;
  readonly #params: JobParams;
  readonly #asked = new Set<string>();

  constructor(graph: StreamGraph, params: JobParams) {
    this.#graph = graph;
    this.#params = params;
  }

  /** A stream of the source's rows. `rate`: rows a second over all subtasks, 0 (default) for as fast as it goes. */
  from<S extends Schema>(source: Source<S>, options: { readonly rate?: number } = {}): Stream<S> {
    const id = this.#graph.add({
      name: source.name,
      body: { kind: 'source', source: source as unknown as Source, rate: options.rate ?? 0 },
      inputs: [],
      schema: source.schema,
      ...(source.parallelismMax === undefined ? {} : { parallelismMax: source.parallelismMax }),
    });
    return new Stream<S>({ graph: this.#graph, node: id, schema: source.schema, time: undefined });
  }

  /** A number that can be set with `--param name=value`. @throws MillraceError `PARAM` (invalid) naming it. */
  param(name: string, byDefault: number): number;
  /** A text that can be set with `--param name=value`. */
  param(name: string, byDefault: string): string;
  param(name: string, byDefault: number | string): number | string {
    this.#asked.add(name);
    const given = this.#params[name];
    if (given === undefined) return byDefault;
    if (typeof byDefault === 'string') return given;
    const value = Number(given);
    if (given.trim() === '' || !Number.isFinite(value)) {
      throw new MillraceError('invalid', 'PARAM', `parameter ${name} must be a number, not '${given}'`);
    }
    return value;
  }

  /** @throws MillraceError `PARAM` (invalid) when a parameter was given that the job never asks for. */
  checkParams(): void {
    for (const name of Object.keys(this.#params)) {
      if (this.#asked.has(name)) continue;
      const known = [...this.#asked].sort().join(', ') || 'none';
      throw new MillraceError('invalid', 'PARAM', `this job has no parameter '${name}' (it has: ${known})`);
    }
  }
}
