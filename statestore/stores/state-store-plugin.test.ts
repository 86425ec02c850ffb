import { deepEqual } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { silentLogger, systemClock, systemRandom } from '../../base/index.js';
import example from './example-state-store.js';
import { stateStoreConformance } from './state-store-conformance.js';
import { builtInStateStore } from './state-store-plugin.js';

const folder = mkdtempSync(join(tmpdir(), 'millrace-state-stores-'));
const host = { clock: systemClock(), random: systemRandom(), logger: silentLogger(), folder };

after(() => {
  const left = readdirSync(folder);
  rmSync(folder, { recursive: true, force: true });
  deepEqual(left, [], 'every store took its file away');
});

for (const plugin of [builtInStateStore('memory'), builtInStateStore('lmdb'), example]) {
  describe(`state store: ${plugin.name}`, () => stateStoreConformance(plugin, () => host, it));
}
