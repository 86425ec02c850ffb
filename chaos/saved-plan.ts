import { MillraceError } from '../base/index.js';
import { FAULTS, MUTANTS, type Mutant, SCENARIOS, type Scenario } from './scenario.js';
import type { ShuffleScenario } from './shuffle-scenario.js';

/** One run, whole, as data: it means the same when what seeds draw has long changed. */
export interface SavedPlan {
  /** For people: what this run found. */
  readonly found: string;
  /** The code of the violation it was saved for. */
  readonly code: string;
  readonly mutant?: Mutant | undefined;
  readonly scenario: Scenario | ShuffleScenario;
}

/** One fault a line, so that a plan can be read and edited. */
export function encodeSavedPlan(plan: SavedPlan): string {
  const { faults, ...scenario } = plan.scenario;
  const text = JSON.stringify({ ...plan, scenario: { ...scenario, faults: [] } }, undefined, 2);
  const lines = faults.map((fault) => `\n      ${JSON.stringify(fault)}`).join(',');
  return `${text.replace(/"faults": \[\](?=\n {2}\}\n\}$)/, () => `"faults": [${lines}${lines === '' ? '' : '\n    '}]`)}\n`;
}

/** @throws MillraceError `PLAN_INVALID` (invalid) naming the file and what is wrong in it. */
export function decodeSavedPlan(text: string, file: string): SavedPlan {
  const bad = (why: string) => new MillraceError('invalid', 'PLAN_INVALID', `plan ${file}: ${why}`);
  let plan: Partial<SavedPlan>;
  try {
    plan = JSON.parse(text) as Partial<SavedPlan>;
  } catch (thrown) {
    throw bad(`not JSON: ${(thrown as Error).message}`);
  }
  const { scenario, mutant, found = '', code = '' } = plan ?? {};
  if (typeof scenario !== 'object' || scenario === null) throw bad('needs a "scenario"');
  if (!SCENARIOS.includes(scenario.job)) throw bad(`"job" must be one of ${SCENARIOS.join(', ')}, not ${scenario.job}`);
  for (const key of ['seed', 'calmMs', 'deadlineMs'] as const) {
    if (typeof scenario[key] !== 'number') throw bad(`"${key}" must be a number`);
  }
  if (!Array.isArray(scenario.faults)) throw bad('"faults" must be a list');
  for (const fault of scenario.faults) {
    if (FAULTS.includes(fault?.fault) && typeof fault.atMs === 'number') continue;
    throw bad(`needs "atMs" and a known "fault": ${JSON.stringify(fault)}`);
  }
  if (mutant !== undefined && !MUTANTS.includes(mutant)) throw bad(`"mutant" must be one of ${MUTANTS.join(', ')}`);
  return { found, code, mutant, scenario };
}
