import { MillraceError, type Random } from '../base/index.js';
import { type JobBuilder, job, jsonLines, type Schema, type Stream } from '../engine/index.js';
import type { Drawing, Production } from './job-production.js';
import { edge, filter, join, map, top } from './operator-productions.js';
import { lineOf, type PlainFlow } from './plain-flow.js';
import { type JobShape, type JobStep, OUTPUT_FOLDER, type SimulatedJob } from './simulated-job.js';
import { source, table } from './source-productions.js';
import { window } from './window-production.js';

/** The grammar. A new operator is one more here. */
export const PRODUCTIONS: Readonly<Record<string, Production<unknown>>> = Object.fromEntries(
  // Each knows its own parameters; what is drawn by one is only ever given to the same one.
  Object.entries({ source, table, filter, map, window, top, join, edge }).map(([op, production]) => [
    op,
    production as Production<unknown>,
  ]),
);
const NAMES = Object.keys(PRODUCTIONS);

/** @throws MillraceError `PRODUCTION_UNKNOWN` (invalid): a plan from another time. */
function productionOf(op: string): Production<unknown> {
  const production = PRODUCTIONS[op];
  if (production !== undefined) return production;
  throw new MillraceError('invalid', 'PRODUCTION_UNKNOWN', `no production '${op}' (there are: ${NAMES.join(', ')})`);
}

const STEPS_MAX = 7;
const OPEN_MAX = 3;
/** No flow at all: what a production that reads fewer is given. */
const NOTHING: PlainFlow = { schema: {}, time: undefined, whole: new Set(), rows: [] };

/** A job for rows of this shape: sources, steps on what is open, forks, and a sink on all that is left open. */
export function drawJob(random: Random, shape: JobShape): JobStep[] {
  const draft = new Draft(random, shape);
  draft.go(undefined, draft.add('source', []));
  if (random.chance(0.3)) draft.go(undefined, draft.add('source', []));
  for (let left = 2 + random.below(STEPS_MAX - 1); left > 0; left--) {
    const op = draft.weighted(NAMES);
    const first = draft.pickOpen();
    const others = productionOf(op).inputs === 2 ? [draft.table()] : [];
    draft.go(first, draft.add(op, [first, ...others]));
  }
  return withoutUnused(draft.finish());
}

class Draft {
  readonly #drawing: Drawing;
  readonly #shape: JobShape;
  readonly #steps: JobStep[] = [];
  readonly #flows: PlainFlow[] = [];
  #open: number[] = [];
  #names = 0;

  constructor(random: Random, shape: JobShape) {
    this.#shape = shape;
    this.#drawing = {
      random,
      fresh: () => `c${this.#names++}`,
      pick: (from) => from[random.below(from.length)] as never,
    };
  }

  weighted(names: readonly string[]): string {
    return this.#drawing.pick(names.flatMap((name) => new Array<string>(productionOf(name).weight).fill(name)));
  }

  /** Returns its number, or undefined where the production can do nothing here. */
  add(op: string, from: readonly number[]): number | undefined {
    const flows = from.map((step) => this.#flows[step] as PlainFlow);
    const production = productionOf(op);
    const params = production.draw(this.#drawing, flows[0] ?? NOTHING, flows[1] ?? NOTHING);
    if (params === undefined) return undefined;
    this.#flows.push(plainStep({ op, from, params }, this.#shape, this.#flows));
    return this.#steps.push({ op, from, params }) - 1;
  }

  pickOpen(): number {
    return this.#drawing.pick(this.#open);
  }

  /** What was open goes on in this step, and perhaps beside it. */
  go(from: number | undefined, step: number | undefined): void {
    if (step === undefined) return;
    const forks = this.#open.length < OPEN_MAX && this.#drawing.random.chance(0.3);
    if (!forks) this.#open = this.#open.filter((open) => open !== from);
    this.#open.push(step);
  }

  /**
   * Something to join with: a table, or what is made of a source of its own. (One that shares its source with the stream would
   * have to end while the stream waits for it, which it can only where all of the stream finds room.)
   */
  table(): number {
    const { random } = this.#drawing;
    const plain = this.add('table', []) as number;
    if (random.chance(0.7)) return plain;
    let step = random.chance(0.3) ? plain : (this.add('source', []) as number);
    for (let left = 1 + random.below(3); left > 0; left--) {
      step = this.add(this.weighted(NAMES.filter((op) => productionOf(op).inputs === 1)), [step]) ?? step;
    }
    return step;
  }

  finish(): JobStep[] {
    return [...this.#steps, ...this.#open.map((from): JobStep => ({ op: 'sink', from: [from] }))];
  }
}

/** The steps from which something reaches a sink. */
export function withoutUnused(steps: readonly JobStep[]): JobStep[] {
  const used = new Set<number>();
  for (let i = steps.length - 1; i >= 0; i--) {
    const { op, from } = steps[i] as JobStep;
    if (op !== 'sink' && !used.has(i)) continue;
    used.add(i);
    for (const step of from) used.add(step);
  }
  const kept = [...used].sort((a, b) => a - b);
  return kept.map((i) => {
    const step = steps[i] as JobStep;
    return { ...step, from: step.from.map((from) => kept.indexOf(from)) };
  });
}

function plainStep({ op, from, params }: JobStep, shape: JobShape, flows: readonly PlainFlow[]): PlainFlow {
  const [first = NOTHING, second = NOTHING] = from.map((step) => flows[step]);
  if (op === 'sink') return first;
  return productionOf(op).plain(params, shape, first, second);
}

/** The job that these steps say, and what a plain program gives for the same rows: one folder for each sink. */
export function drawnJob(steps: readonly JobStep[], shape: JobShape): SimulatedJob {
  const flows: PlainFlow[] = [];
  for (const step of steps) flows.push(plainStep(step, shape, flows));
  const sinks = steps.flatMap(({ op }, i) => (op === 'sink' ? [i] : []));
  const folderOf = (step: number) => `${OUTPUT_FOLDER}/s${sinks.indexOf(step)}`;
  const definition = job('drawn', (j) => buildSteps(steps, shape, j, folderOf));
  const outputs = sinks.map((step) => {
    const { schema, rows } = flows[step] as PlainFlow;
    return { folder: folderOf(step), expected: rows.map(({ values }) => lineOf(schema, values)) };
  });
  return { definition, outputs };
}

function buildSteps(
  steps: readonly JobStep[],
  shape: JobShape,
  j: JobBuilder,
  folderOf: (step: number) => string,
): void {
  const streams: Stream<Schema>[] = [];
  steps.forEach(({ op, from, params }, i) => {
    const [first, second] = from.map((step) => streams[step]) as [Stream<Schema>, Stream<Schema>];
    if (op === 'sink') first.to(jsonLines(folderOf(i)));
    else streams[i] = productionOf(op).build(params, shape, j, first, second);
  });
}
