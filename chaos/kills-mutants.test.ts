import { ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { killsHunts } from './kills-hunts.js';
import { killsMutants } from './kills-mutants.js';
import { runKills } from './run-kills.js';

/** The same seeds in every run. How large a share of other ones catches: KILLS.md. */
const FIRST = 1;

describe('a broken checkpoint store is caught under kills', () => {
  for (const mutant of killsMutants) {
    const { wishes, seedsMax, codes } = killsHunts[mutant];
    it(`${mutant}, within ${seedsMax} seeds`, { timeout: 120_000 }, async (t) => {
      for (let seed = FIRST; seed < FIRST + seedsMax; seed++) {
        const { violation } = await runKills(seed, { mutant, wishes });
        if (violation === undefined) continue;
        t.diagnostic(`seed ${seed}: ${violation.message.split('\n')[0]}`);
        ok(codes.includes(violation.code), `caught for another reason: ${violation.message}`);
        return;
      }
      ok(false, `${mutant} was not caught by the seeds ${FIRST} to ${FIRST + seedsMax - 1}`);
    });
  }
});
