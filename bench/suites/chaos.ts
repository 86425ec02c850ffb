import { fileURLToPath } from 'node:url';
import { systemRandom } from '../../base/index.js';
import { type Suite, type SuiteContext, size } from '../harness.js';
import { median, rowOf } from '../row.js';
import { wholeProcess } from '../whole-process.js';

const MAIN = fileURLToPath(new URL('../../chaos/main.js', import.meta.url));
/** Two cores. */
const PROCESSES = 2;
const SEEDS_MAX = 1000;

const MUTANTS = [
  'noSeal',
  'visibleBeforeStored',
  'trimBeforeComplete',
  'spilledBeforeStored',
  'ackOfDeadAttempt',
  'endNotAligned',
  'watermarkForgotten',
  'retainedPushesBack',
  'noBootId',
];

/** Enough to show that the hunt runs; the others may take hundreds of seeds. */
const SOON_CAUGHT = 'visibleBeforeStored';

/** The last line of `npm run chaos -- --sim --json`. */
interface SimResult {
  readonly ok: boolean;
  readonly seeds: number;
  readonly virtualMs: number;
  readonly met: readonly string[];
  readonly faultStates: number;
}

/** The simulator itself, on fresh seeds: `npm run chaos`, as whole processes. */
export const chaos: Suite = {
  name: 'chaos',
  async run(context) {
    await seeds(context);
    for (const mutant of context.quick ? [SOON_CAUGHT] : MUTANTS) await hunt(context, mutant);
  },
};

/** How fast it goes, and how much of what can meet did. */
async function seeds(context: SuiteContext): Promise<void> {
  context.progress('chaos.speed, chaos.coverage');
  const each = size(context, 1000, 8) / PROCESSES;
  const startedMs = performance.now();
  const results = await Promise.all(Array.from({ length: PROCESSES }, () => simulate('--seeds', `${each}`)));
  const realMs = performance.now() - startedMs;
  const virtualMs = results.reduce((sum, result) => sum + result.virtualMs, 0);
  context.row(
    rowOf({ name: 'chaos.speed', unit: 'simulated minutes a minute', goal: { of: 'value', reach: 600, aim: 6000 } }, [
      { value: virtualMs / realMs },
    ]),
  );
  const met = new Set(results.flatMap((result) => result.met));
  context.row(
    rowOf({ name: 'chaos.coverage', unit: '% of faults x states', goal: { of: 'value', reach: 90, aim: 100 } }, [
      { value: (100 * met.size) / (results[0]?.faultStates ?? 1) },
    ]),
  );
}

/** Seeds until it is caught. */
async function hunt(context: SuiteContext, mutant: string): Promise<void> {
  context.progress(`chaos.mutants.${mutant}`);
  const needed: number[] = [];
  for (let start = 0; start < size(context, 10, 1); start += PROCESSES) {
    const hunts = Array.from({ length: PROCESSES }, () =>
      simulate('--seeds', `${SEEDS_MAX}`, '--mutant', mutant, '--no-shrink'),
    );
    for (const result of await Promise.all(hunts)) needed.push(result.ok ? Number.POSITIVE_INFINITY : result.seeds);
  }
  const goal = { of: 'value', reach: 200, aim: 20, atMost: true } as const;
  context.row(rowOf({ name: `chaos.mutants.${mutant}`, unit: 'seeds', goal }, [{ value: median(needed) }]));
}

async function simulate(...args: readonly string[]): Promise<SimResult> {
  const seed = systemRandom().u32() >>> 1;
  const text = await wholeProcess(MAIN, ['--sim', '--json', '--seed', `${seed}`, ...args], {
    codes: [0, 1],
    quiet: true,
  });
  return JSON.parse(text.trimEnd().split('\n').at(-1) as string) as SimResult;
}
