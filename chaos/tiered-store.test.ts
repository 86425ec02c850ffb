import { ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlobStore, TieredBlobStore } from '../checkpoint/index.js';
import { runTierScenario } from './tier-world.test.support.js';

const SEEDS = 12;

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

function mutant(store: TieredBlobStore, changes: Partial<BlobStore>): BlobStore {
  return {
    location: store.location,
    put: (name, bytes) => store.put(name, bytes),
    get: (name, range) => store.get(name, range),
    stat: (name) => store.stat(name),
    delete: (name) => store.delete(name),
    list: (prefix) => store.list(prefix),
    read: (name) => store.read(name),
    compareAndSet: (name, expected, bytes) => store.compareAndSet(name, expected, bytes),
    ...changes,
  };
}

describe('the simulation of the tiered blob store finds', () => {
  type Mutant = (store: TieredBlobStore, remote: BlobStore) => BlobStore;
  const mutants: Record<string, readonly [found: RegExp, make: Mutant]> = {
    'values that are mirrored before what they refer to': [
      /HEAD-h1 \d+ refers to .* not at the remote/,
      (store, remote) =>
        mutant(store, {
          async compareAndSet(name, expected, bytes) {
            const version = await store.compareAndSet(name, expected, bytes);
            const read = await remote.read(name).catch(() => undefined);
            await remote.compareAndSet(name, read?.version, bytes).catch(() => {});
            return version;
          },
        }),
    ],
    'deletions that reach the remote before the value': [
      /is deleted, HEAD-h1 \d+ refers to it/,
      (store, remote) =>
        mutant(store, {
          async delete(name) {
            await store.delete(name);
            await remote.delete(name).catch(() => {});
          },
        }),
    ],
    'puts that are acknowledged before they are written': [
      /refers to .* not at the remote/,
      (store) =>
        mutant(store, {
          async put(name, bytes) {
            store.put(name, bytes).catch(() => {});
          },
        }),
    ],
    'deletions that are forgotten': [/uploaded: too many/, (store) => mutant(store, { delete: async () => {} })],
  };
  for (const [what, [found, make]] of Object.entries(mutants)) {
    it(what, { timeout: 60_000 }, async () => {
      await rejects(async () => {
        for (let seed = 1; seed <= 10; seed++) await runTierScenario({ seed, authority: 'local', mutant: make });
      }, found);
    });
  }
});
