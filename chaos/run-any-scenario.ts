import { type RunScenarioOptions, runScenario, type ScenarioReport } from './run-scenario.js';
import { runShuffleScenario } from './run-shuffle-scenario.js';
import type { Scenario } from './scenario.js';
import type { ShuffleScenario } from './shuffle-scenario.js';

/** Runs one scenario of any kind. Never rejects for what the code under test does. */
export function runAnyScenario(
  scenario: Scenario | ShuffleScenario,
  options: RunScenarioOptions = {},
): Promise<ScenarioReport> {
  return scenario.job === 'shuffle' ? runShuffleScenario(scenario, options) : runScenario(scenario, options);
}
