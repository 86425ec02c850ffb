import type { Random } from '../base/index.js';
import type { JobBuilder, Schema, Stream } from '../engine/index.js';
import type { PlainFlow } from './plain-flow.js';
import type { JobShape } from './simulated-job.js';

/** What a production may use while it is drawn. */
export interface Drawing {
  readonly random: Random;
  /** A column name that no other step of this job has. */
  fresh(): string;
  pick<T>(from: readonly T[]): T;
}

/**
 * One rule of the grammar of jobs: an operator, or a source. It is a function of the flows it reads and of its parameters,
 * which are plain JSON, drawn once and then kept in the plan of the run.
 */
export interface Production<P> {
  /** How often it is drawn, beside the others; 0 for those that the drawing of a job asks for by name. */
  readonly weight: number;
  /** How many flows it reads; the functions below are given so many. */
  readonly inputs: 0 | 1 | 2;
  /** What it is to do with these flows; undefined where it can do nothing with them. */
  draw(drawing: Drawing, first: PlainFlow, second: PlainFlow): P | undefined;
  /** As a user of the engine writes it. */
  build(params: P, shape: JobShape, j: JobBuilder, first: Stream<Schema>, second: Stream<Schema>): Stream<Schema>;
  /** What a plain program gives for the same rows. */
  plain(params: P, shape: JobShape, first: PlainFlow, second: PlainFlow): PlainFlow;
}

/** A stream whose schema was known to the compiler, among those that are drawn. */
export function drawn<S extends Schema>(stream: Stream<S>): Stream<Schema> {
  return stream as unknown as Stream<Schema>;
}
