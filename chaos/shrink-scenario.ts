import type { ScenarioReport } from './run-scenario.js';
import type { Scenario } from './scenario.js';
import { shrink } from './shrink.js';
import { SMALLER_JOBS } from './shrink-job.js';
import type { ShuffleScenario } from './shuffle-scenario.js';

type AnyScenario = Scenario | ShuffleScenario;

export interface ShrinkScenarioOptions {
  readonly run: (scenario: AnyScenario) => Promise<ScenarioReport>;
  /** Runs. */
  readonly attemptsMax: number;
  progress?(attempts: number, scenario: AnyScenario): void;
}

/**
 * Makes a scenario that fails smaller, while it fails with the same code: first its faults (ddmin), then its rows, then what
 * it runs on. The result fails too; it may be the scenario itself.
 */
export async function shrinkScenario(
  scenario: AnyScenario,
  code: string,
  options: ShrinkScenarioOptions,
): Promise<{ readonly scenario: AnyScenario; readonly attempts: number }> {
  let attempts = 0;
  let smallest = scenario;
  const fails = async (candidate: AnyScenario): Promise<boolean> => {
    if (attempts >= options.attemptsMax) return false;
    attempts++;
    const failed = (await options.run(candidate)).violation?.code === code;
    if (failed) smallest = candidate;
    options.progress?.(attempts, smallest);
    return failed;
  };
  const withFaults = (faults: AnyScenario['faults']) => ({ ...smallest, faults }) as AnyScenario;
  await shrink<AnyScenario['faults'][number]>(scenario.faults, (faults) =>
    fails(withFaults(faults as AnyScenario['faults'])),
  );
  for (const smaller of smallest.job === 'shuffle' ? SHUFFLE_STEPS : CLUSTER_STEPS) {
    for (;;) {
      const candidate = (smaller as (scenario: AnyScenario) => AnyScenario | undefined)(smallest);
      if (candidate === undefined || !(await fails(candidate))) break;
    }
  }
  return { scenario: smallest, attempts };
}

/** Each gives something smaller, or undefined when there is nothing smaller of this kind. */
const CLUSTER_STEPS: readonly ((scenario: Scenario) => Scenario | undefined)[] = [
  shaped('rows', (rows) => rows >> 1),
  shaped('rows', (rows) => Math.floor(rows * 0.8)),
  shaped('windows', (windows) => windows >> 1),
  shaped('keys', (keys) => keys >> 1),
  ...SMALLER_JOBS.map((smaller) => (scenario: Scenario) => {
    const steps = smaller(scenario.shape.steps ?? []);
    return steps === undefined ? undefined : { ...scenario, shape: { ...scenario.shape, steps } };
  }),
  (scenario) => (scenario.workers > 1 ? { ...scenario, workers: scenario.workers - 1 } : undefined),
  (scenario) => (scenario.slots > 1 ? { ...scenario, slots: scenario.slots - 1 } : undefined),
  (scenario) => (scenario.storeDelayMs[1] > 1 ? { ...scenario, storeDelayMs: [0, 1] } : undefined),
];

const SHUFFLE_STEPS: readonly ((scenario: ShuffleScenario) => ShuffleScenario | undefined)[] = [
  (scenario) => (scenario.writers.length > 1 ? { ...scenario, writers: scenario.writers.slice(1) } : undefined),
  (scenario) => (scenario.writers.length > 1 ? { ...scenario, writers: scenario.writers.slice(0, -1) } : undefined),
  (scenario) => partitioned(scenario, 'rounds', (rounds) => rounds >> 1),
  (scenario) => partitioned(scenario, 'subpartitions', (count) => count >> 1),
  (scenario) => (scenario.folders.length > 1 ? { ...scenario, folders: scenario.folders.slice(1) } : undefined),
];

function shaped(
  what: 'rows' | 'windows' | 'keys',
  of: (value: number) => number,
): (scenario: Scenario) => Scenario | undefined {
  return (scenario) => {
    const value = of(scenario.shape[what]);
    if (value < 1 || value === scenario.shape[what]) return undefined;
    return { ...scenario, shape: { ...scenario.shape, [what]: value } };
  };
}

function partitioned(
  scenario: ShuffleScenario,
  what: 'rounds' | 'subpartitions',
  of: (value: number) => number,
): ShuffleScenario | undefined {
  let changed = false;
  const writers = scenario.writers.map((writer) => ({
    ...writer,
    partitions: writer.partitions.map((partition) => {
      const value = Math.max(1, of(partition[what]));
      changed ||= value < partition[what];
      return { ...partition, [what]: value };
    }),
  }));
  return changed ? { ...scenario, writers } : undefined;
}
