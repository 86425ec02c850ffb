import { Bench } from 'tinybench';
import type { Round, Row, RowSpec } from './row.js';
import { rowOf } from './row.js';

/** One file of `suites/`: measures its rows, one after the other. */
export interface Suite {
  readonly name: string;
  run(context: SuiteContext): Promise<void>;
}

export interface SuiteContext {
  /** Tiny sizes and one round: figures mean nothing, but everything runs. */
  readonly quick: boolean;
  /** A folder of this run, for files and sockets; removed after it. */
  readonly folder: string;
  /** Likewise in memory-backed storage, or undefined where there is none. */
  readonly memoryFolder: string | undefined;
  /** Tells a person what goes on. */
  progress(text: string): void;
  /** A finished row. */
  row(row: Row): void;
}

export type Measure = () => number | Promise<number>;

const ROUNDS = 5;
const FUNCTION_MS = 80;

/** `full`, or `tiny` with --quick. */
export function size(context: SuiteContext, full: number, tiny: number): number {
  return context.quick ? tiny : full;
}

/**
 * Runs value and limit alternately, every other round the other way round, so that what changes on the machine while
 * they run hits both. With --quick there is one round.
 */
export async function alternate(context: SuiteContext, value: Measure, limit?: Measure): Promise<Round[]> {
  const rounds: Round[] = [];
  for (let i = 0; i < (context.quick ? 1 : ROUNDS); i++) {
    if (limit === undefined) rounds.push({ value: await value() });
    else if (i % 2 === 0) rounds.push({ value: await value(), limit: await limit() });
    else {
      const first = await limit();
      rounds.push({ value: await value(), limit: first });
    }
  }
  return rounds;
}

/** Measures one row: the median of five rounds, each beside its limit. */
export async function measure(context: SuiteContext, spec: RowSpec, value: Measure, limit?: Measure): Promise<void> {
  context.progress(spec.name);
  context.row(rowOf(spec, await alternate(context, value, limit)));
}

/** As `measure`, for a function that handles `count` of something in one call: how many of them a second (millions: `1e6`). */
export async function measureCalls(
  context: SuiteContext,
  spec: RowSpec,
  count: number,
  value: () => unknown,
  limit?: () => unknown,
): Promise<void> {
  const rate = (run: () => unknown) => async () => (await callsPerSecond(context, run)) * count;
  await measure(context, spec, rate(value), limit === undefined ? undefined : rate(limit));
}

/** Calls a second of a synchronous function: by the median duration of a call, after warming up. */
async function callsPerSecond(context: SuiteContext, run: () => unknown): Promise<number> {
  const time = size(context, FUNCTION_MS, 1);
  const bench = new Bench({ time, iterations: 5, warmupTime: time / 2, warmupIterations: 2, throws: true });
  bench.add('call', run, { async: false });
  const [task] = await bench.run();
  const result = task?.result;
  if (result === undefined || !('latency' in result)) throw new Error('tinybench gave no result');
  return 1000 / result.latency.p50;
}

/** Seconds that `run` takes. */
export async function secondsOf(run: () => unknown): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}
