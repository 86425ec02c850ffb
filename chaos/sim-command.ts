import { CLUSTER_FAULTS } from './cluster-faults.js';
import { HUNTS } from './hunts.js';
import { runAnyScenario } from './run-any-scenario.js';
import type { ScenarioReport } from './run-scenario.js';
import { RUN_STATES } from './run-state.js';
import { encodeSavedPlan, type SavedPlan } from './saved-plan.js';
import {
  drawAnyScenario,
  type FaultKind,
  type Mutant,
  type Scenario,
  type ScenarioKind,
  type SimulatedCheckpoints,
  type SimulatedShuffle,
  type SimulatedStateStore,
} from './scenario.js';
import { shrinkScenario } from './shrink-scenario.js';
import type { ShuffleScenario } from './shuffle-scenario.js';

/** Runs that may be spent on making a failure smaller. */
const SHRINK_ATTEMPTS_MAX = 80;

export interface SimCommandOptions {
  readonly seed: number;
  readonly seeds: number;
  readonly scenario?: ScenarioKind;
  readonly faults?: readonly FaultKind[];
  readonly shuffle?: SimulatedShuffle;
  readonly stateStore?: SimulatedStateStore;
  readonly checkpoints?: SimulatedCheckpoints;
  readonly mutant?: Mutant;
  readonly json?: boolean;
  /** Instead of seeds. */
  readonly plan?: SavedPlan;
  /** False: a failure is left as it is. */
  readonly shrink?: boolean;
}

/** What a command may touch of its process. */
export interface SimCommandHost {
  out(text: string): void;
  progress(text: string): void;
  readonly isTTY: boolean;
  /** Keeps a plan. Returns its path. */
  save(name: string, text: string): string;
  nowMs(): number;
  /** Told of promises that nobody handles, until the returned function is called. */
  onUnhandled(handler: (error: unknown) => void): () => void;
}

/** Runs seeds one after another, or a plan, up to the first violation. Returns the exit code. */
export async function simCommand(options: SimCommandOptions, host: SimCommandHost): Promise<number> {
  const { seed, seeds, plan } = options;
  const mutant = options.mutant ?? plan?.mutant;
  const startedMs = host.nowMs();
  const reports: ScenarioReport[] = [];
  const run = (scenario: Scenario | ShuffleScenario) =>
    runAnyScenario(scenario, { mutant, onUnhandled: host.onUnhandled });
  let failed: { readonly report: ScenarioReport; readonly scenario: Scenario | ShuffleScenario } | undefined;
  let saidMs = startedMs;
  const count = plan === undefined ? seeds : 1;
  const hunted = mutant === undefined ? undefined : HUNTS[mutant].wishes;
  const wishes = options.scenario === undefined && options.faults === undefined ? { ...hunted, ...options } : options;
  for (let i = 0; i < count && failed === undefined; i++) {
    const scenario = plan?.scenario ?? drawAnyScenario((seed + i) % 2 ** 32, wishes);
    const report = await run(scenario);
    reports.push(report);
    if (!report.ok) failed = { report, scenario };
    const nowMs = host.nowMs();
    if (host.isTTY || nowMs - saidMs > 5000 || i === count - 1 || !report.ok) {
      saidMs = nowMs;
      host.progress(`${i + 1} of ${count} seeds, ${((nowMs - startedMs) / 1000).toFixed(1)} s: ${describe(report)}`);
    }
  }
  const total = summary(reports, host.nowMs() - startedMs);
  let said = {};
  if (failed !== undefined) {
    const { violation } = failed.report;
    const again = plan === undefined ? replay(failed.report, options) : undefined;
    const saved =
      options.shrink === false ? undefined : await saveSmallest(failed.scenario, violation, mutant, run, host);
    const ways = [again, saved && `npm run chaos -- --sim --plan ${saved.path}   (${saved.size})`];
    const lines = ways.filter((way) => way !== undefined).map((way) => `  ${way}\n`);
    host.out(`${violation?.message}\n\n${lines.length === 0 ? '' : `to see it again:\n${lines.join('')}`}`);
    said = { failedSeed: failed.report.seed, code: violation?.code, replay: again, plan: saved?.path };
  }
  if (host.isTTY) host.progress('');
  host.out(`${failed === undefined ? 'all held' : 'VIOLATION'}: ${total.text}\n`);
  if (options.json === true) {
    host.out(
      `${JSON.stringify({ ok: failed === undefined, seed, seeds: reports.length, ...total.numbers, ...said })}\n`,
    );
  }
  return failed === undefined ? 0 : 1;
}

/** Shrinks a failing run and keeps the plan of what is left of it. */
async function saveSmallest(
  scenario: Scenario | ShuffleScenario,
  violation: ScenarioReport['violation'],
  mutant: Mutant | undefined,
  run: (scenario: Scenario | ShuffleScenario) => Promise<ScenarioReport>,
  host: SimCommandHost,
): Promise<{ readonly path: string; readonly size: string }> {
  const code = violation?.code ?? '';
  let saidMs = host.nowMs();
  const shrunk = await shrinkScenario(scenario, code, {
    run,
    attemptsMax: SHRINK_ATTEMPTS_MAX,
    progress(attempts, smallest) {
      const nowMs = host.nowMs();
      if (!host.isTTY && nowMs - saidMs < 5000) return;
      saidMs = nowMs;
      host.progress(`${code}: shrinking, ${attempts} runs: ${sizeOf(smallest)}`);
    },
  });
  const found = violation?.message.split('\n')[0] ?? '';
  const text = encodeSavedPlan({ found, code, mutant, scenario: shrunk.scenario });
  const path = host.save(`millrace-plan-${scenario.job}-${scenario.seed}.json`, text);
  return { path, size: `${sizeOf(shrunk.scenario)}; at first ${sizeOf(scenario)}` };
}

function sizeOf(scenario: Scenario | ShuffleScenario): string {
  const faults = `${scenario.faults.length} faults`;
  if (scenario.job === 'shuffle') return `${faults}, ${scenario.writers.length} writers`;
  return `${faults}, ${scenario.shape.rows} rows, ${scenario.workers} x ${scenario.slots} slots`;
}

function describe({ seed, job, violation, restarts, checkpoints, lines }: ScenarioReport): string {
  const how = violation === undefined ? 'ok' : violation.code;
  return `seed ${seed} ${job} ${how}, ${restarts} restarts, ${checkpoints} checkpoints, ${lines} rows`;
}

function replay({ seed }: ScenarioReport, options: SimCommandOptions): string {
  const { scenario, faults, shuffle, stateStore, checkpoints, mutant } = options;
  const parts = [
    scenario === undefined ? '' : ` --scenario ${scenario}`,
    faults === undefined ? '' : ` --faults ${faults.join(',')}`,
    shuffle === undefined ? '' : ` --shuffle ${shuffle}`,
    stateStore === undefined ? '' : ` --state-store ${stateStore}`,
    checkpoints === undefined ? '' : ` --checkpoints ${checkpoints}`,
    mutant === undefined ? '' : ` --mutant ${mutant}`,
  ];
  return `npm run chaos -- --sim --seed ${seed}${parts.join('')}`;
}

/** Of all pairs of a fault and what the run was at: how many there were. */
function coverage(reports: readonly ScenarioReport[]) {
  const met = new Set(reports.flatMap(({ visited }) => visited));
  return { met: [...met].sort(), faultStates: CLUSTER_FAULTS.length * RUN_STATES.length };
}

function summary(reports: readonly ScenarioReport[], realMs: number) {
  const sum = (of: (report: ScenarioReport) => number) => reports.reduce((total, report) => total + of(report), 0);
  const numbers = {
    events: sum((r) => r.events),
    virtualMs: sum((r) => r.virtualMs),
    realMs: Math.round(realMs),
    faults: sum((r) => r.faults),
    runs: sum((r) => r.runs),
    restarts: sum((r) => r.restarts),
    checkpoints: sum((r) => r.checkpoints),
    checkpointsAborted: sum((r) => r.checkpointsAborted),
    buffers: sum((r) => r.buffers),
    lines: sum((r) => r.lines),
    ...coverage(reports),
  };
  const { faults, runs, restarts, checkpoints, events, virtualMs } = numbers;
  const text = `${reports.length} seeds, ${faults} faults, ${runs} runs, ${restarts} restarts, ${checkpoints} checkpoints, ${events} events; ${(virtualMs / 1000).toFixed(0)} virtual seconds in ${(realMs / 1000).toFixed(1)}`;
  return { numbers, text };
}
