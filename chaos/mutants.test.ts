import { ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemRandom } from '../base/index.js';
import { runAnyScenario } from './run-any-scenario.js';
import { type AnyScenarioWishes, drawAnyScenario, type Mutant } from './scenario.js';

interface Hunt {
  readonly mutant: Mutant;
  readonly wishes: AnyScenarioWishes;
  /** Within so many seeds. */
  readonly seedsMax: number;
  /** What may be seen of it. */
  readonly codes: readonly string[];
}

// Measured shares of seeds that catch: about 3 of 20, 3 of 4, 9 of 10.
const HUNTS: readonly Hunt[] = [
  {
    mutant: 'noSeal',
    // Only where publishing is seen at once; the moment between seal and release is short, so it is aimed at.
    wishes: { scenario: 'flights', shuffle: 'mapped', faults: ['deafWorker'] },
    seedsMax: 120,
    codes: ['PUBLISHED_AFTER_SEAL'],
  },
  {
    mutant: 'visibleBeforeStored',
    wishes: {},
    seedsMax: 20,
    codes: ['BUFFER_CORRUPT', 'BUFFER_CHANGED'],
  },
  { mutant: 'trimBeforeComplete', wishes: {}, seedsMax: 20, codes: ['TRIMMED_BEFORE_COMPLETE'] },
  {
    mutant: 'spilledBeforeStored',
    wishes: { scenario: 'shuffle' },
    seedsMax: 60,
    codes: ['LOST_WITHOUT_REASON', 'BUFFER_CORRUPT', 'BUFFER_OUT_OF_ORDER'],
  },
];

describe('deliberately broken variants are caught', () => {
  for (const { mutant, wishes, seedsMax, codes } of HUNTS) {
    it(`${mutant}, within ${seedsMax} seeds`, { timeout: 120_000 }, async (t) => {
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
