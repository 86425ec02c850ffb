import { runAnyScenario } from './run-any-scenario.js';
import type { ScenarioReport } from './run-scenario.js';
import { drawAnyScenario, type FaultKind, type Mutant, type ScenarioKind, type SimulatedShuffle } from './scenario.js';

export interface SimCommandOptions {
  readonly seed: number;
  readonly seeds: number;
  readonly scenario?: ScenarioKind;
  readonly faults?: readonly FaultKind[];
  readonly shuffle?: SimulatedShuffle;
  readonly mutant?: Mutant;
  readonly json?: boolean;
}

/** What a command may touch of its process. */
export interface SimCommandHost {
  out(text: string): void;
  progress(text: string): void;
  readonly isTTY: boolean;
  nowMs(): number;
  /** Told of promises that nobody handles, until the returned function is called. */
  onUnhandled(handler: (error: unknown) => void): () => void;
}

/** Runs seeds one after another, up to the first violation. Returns the exit code. */
export async function simCommand(options: SimCommandOptions, host: SimCommandHost): Promise<number> {
  const { seed, seeds, scenario, faults, shuffle, mutant } = options;
  const startedMs = host.nowMs();
  const reports: ScenarioReport[] = [];
  let failed: ScenarioReport | undefined;
  let saidMs = startedMs;
  for (let i = 0; i < seeds && failed === undefined; i++) {
    const report = await runAnyScenario(drawAnyScenario((seed + i) % 2 ** 32, { scenario, faults, shuffle }), {
      mutant,
      onUnhandled: host.onUnhandled,
    });
    reports.push(report);
    if (!report.ok) failed = report;
    const nowMs = host.nowMs();
    if (host.isTTY || nowMs - saidMs > 5000 || i === seeds - 1 || !report.ok) {
      saidMs = nowMs;
      host.progress(`${i + 1} of ${seeds} seeds, ${((nowMs - startedMs) / 1000).toFixed(1)} s: ${describe(report)}`);
    }
  }
  if (host.isTTY) host.progress('');
  const total = summary(reports, host.nowMs() - startedMs);
  if (failed !== undefined) host.out(`${failed.violation?.message}\n\nto see it again: ${replay(failed, options)}\n`);
  host.out(`${failed === undefined ? 'all held' : 'VIOLATION'}: ${total.text}\n`);
  if (options.json === true) {
    const { code } = failed?.violation ?? {};
    const first = failed === undefined ? {} : { failedSeed: failed.seed, code, replay: replay(failed, options) };
    host.out(
      `${JSON.stringify({ ok: failed === undefined, seed, seeds: reports.length, ...total.numbers, ...first })}\n`,
    );
  }
  return failed === undefined ? 0 : 1;
}

function describe({ seed, job, violation, restarts, checkpoints, lines }: ScenarioReport): string {
  const how = violation === undefined ? 'ok' : violation.code;
  return `seed ${seed} ${job} ${how}, ${restarts} restarts, ${checkpoints} checkpoints, ${lines} rows`;
}

function replay({ seed }: ScenarioReport, { scenario, faults, shuffle, mutant }: SimCommandOptions): string {
  const parts = [
    scenario === undefined ? '' : ` --scenario ${scenario}`,
    faults === undefined ? '' : ` --faults ${faults.join(',')}`,
    shuffle === undefined ? '' : ` --shuffle ${shuffle}`,
    mutant === undefined ? '' : ` --mutant ${mutant}`,
  ];
  return `npm run chaos -- --sim --seed ${seed}${parts.join('')}`;
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
  };
  const { faults, runs, restarts, checkpoints, events, virtualMs } = numbers;
  const text = `${reports.length} seeds, ${faults} faults, ${runs} runs, ${restarts} restarts, ${checkpoints} checkpoints, ${events} events; ${(virtualMs / 1000).toFixed(0)} virtual seconds in ${(realMs / 1000).toFixed(1)}`;
  return { numbers, text };
}
