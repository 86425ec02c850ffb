import { ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runTierScenario } from './tier-world.test.support.js';

const SEEDS = 20;

for (const authority of ['local', 'remote'] as const) {
  describe(`tiered blob store in the simulator, authority ${authority}`, () => {
    it(`keeps its promises on ${SEEDS} seeds`, { timeout: 200_000 }, async (t) => {
      const sum = new Map<string, number>();
      const add = (key: string, value: number) => sum.set(key, (sum.get(key) ?? 0) + value);
      for (let seed = 1; seed <= SEEDS; seed++) {
        const report = await runTierScenario({ seed, authority });
        const { refusals, ...counts } = report;
        for (const [key, value] of [...Object.entries(counts), ...Object.entries(refusals)]) add(key, value);
      }
      t.diagnostic(JSON.stringify(Object.fromEntries(sum)));
      ok((sum.get('kills') ?? 0) > SEEDS);
    });
  });
}
