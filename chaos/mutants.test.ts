import { ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemRandom } from '../base/index.js';
import { HUNTS } from './hunts.js';
import { runAnyScenario } from './run-any-scenario.js';
import { drawAnyScenario, MUTANTS } from './scenario.js';

describe('deliberately broken variants are caught', () => {
  for (const mutant of MUTANTS) {
    const { wishes, seedsMax, codes, isRare = false } = HUNTS[mutant];
    if (isRare) continue;
    it(`${mutant}, within ${seedsMax} seeds`, { timeout: 180_000 }, async (t) => {
      const first = systemRandom().u32() >>> 1;
      for (let seed = first; seed < first + seedsMax; seed++) {
        const { violation } = await runAnyScenario(drawAnyScenario(seed, wishes), { mutant });
        if (violation === undefined) continue;
        t.diagnostic(`seed ${seed}, number ${seed - first + 1}: ${violation.message.split('\n')[0]}`);
        ok(codes.includes(violation.code), `caught for another reason: ${violation.message}`);
        return;
      }
      ok(false, `${mutant} was not caught by the seeds ${first} to ${first + seedsMax - 1}`);
    });
  }
});
