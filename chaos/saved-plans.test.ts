import { deepEqual, ok, throws } from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runAnyScenario } from './run-any-scenario.js';
import { decodeSavedPlan, encodeSavedPlan, type SavedPlan } from './saved-plan.js';
import { drawAnyScenario, type Scenario } from './scenario.js';
import { shrinkScenario } from './shrink-scenario.js';

/** In the sources: this file is built into `dist/chaos`. */
const FOLDER = fileURLToPath(new URL('../../chaos/plans', import.meta.url));
const names = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));

function listen(handler: (error: unknown) => void): () => void {
  process.on('unhandledRejection', handler);
  return () => void process.off('unhandledRejection', handler);
}

describe('what the simulator found stays mended', () => {
  for (const name of names) {
    const { found, mutant, scenario } = decodeSavedPlan(readFileSync(join(FOLDER, name), 'utf8'), name);
    it(`${name}: ${found}`, { timeout: 60_000 }, async () => {
      const { violation } = await runAnyScenario(scenario, { mutant, onUnhandled: listen });
      ok(
        violation === undefined,
        `${violation?.message}\nto see it again: npm run chaos -- --sim --plan chaos/plans/${name}`,
      );
    });
  }
});

describe('a failing run', () => {
  it('is made smaller, and the plan of it fails in the same way', { timeout: 240_000 }, async () => {
    const mutant = 'trimBeforeComplete';
    let seed = 1;
    const fails = async (at: number) => (await runAnyScenario(drawAnyScenario(at), { mutant })).violation;
    let violation = await fails(seed);
    while (violation === undefined) violation = await fails(++seed);
    const scenario = drawAnyScenario(seed) as Scenario;
    const { code } = violation;
    const shrunk = await shrinkScenario(scenario, code, {
      run: (candidate) => runAnyScenario(candidate, { mutant }),
      attemptsMax: 60,
    });
    const small = shrunk.scenario as Scenario;
    ok(small.faults.length === 0, 'this mutant needs no fault');
    ok(small.shape.rows < scenario.shape.rows, `${small.shape.rows} of ${scenario.shape.rows} rows`);
    const plan: SavedPlan = { found: 'a mutant', code, mutant, scenario: small };
    const again = decodeSavedPlan(encodeSavedPlan(plan), 'x.json');
    deepEqual(again, plan);
    deepEqual((await runAnyScenario(again.scenario, { mutant })).violation?.code, code);
    deepEqual((await runAnyScenario(again.scenario)).violation, undefined);
  });

  it('whose plan is no plan is told so', () => {
    const good = encodeSavedPlan({ found: '', code: 'X', scenario: drawAnyScenario(3, { faults: ['killDaemon'] }) });
    for (const [text, why] of [
      ['{', /plan p\.json: not JSON/],
      ['{}', /needs a "scenario"/],
      [good.replace('"job": "shuffle"', '"job": "none"'), /"job" must be one of/],
      [good.replace(/"calmMs": \d+/, '"calmMs": "soon"'), /"calmMs" must be a number/],
      [good.replace(/"fault":"\w+"/, '"fault":"flood"'), /needs "atMs" and a known "fault"/],
    ] as const) {
      throws(() => decodeSavedPlan(text, 'p.json'), { code: 'PLAN_INVALID', message: why });
    }
  });
});
