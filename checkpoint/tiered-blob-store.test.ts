import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { nodeDisk, silentLogger, systemClock, systemRandom } from '../base/index.js';
import type { BlobStore } from './blob-store.js';
import { type BlobStorePair, blobStoreContract, runBlobStoreCase } from './blob-store-contract.js';
import { MemoryBlobStore } from './memory-blob-store.js';
import type { TierAuthority } from './tier-folder.js';
import type { TierSettings } from './tier-settings.js';
import { TieredBlobStore } from './tiered-blob-store.js';

function open(root: string, remote: BlobStore, authority: TierAuthority, settings: Partial<TierSettings> = {}) {
  return TieredBlobStore.open({
    disk: nodeDisk(),
    root,
    remote,
    clock: systemClock(),
    random: systemRandom(),
    logger: silentLogger(),
    settings: { authority, ...settings },
  });
}

async function pair(authority: TierAuthority, settings: Partial<TierSettings>): Promise<BlobStorePair> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  const store = await open(root, new MemoryBlobStore(), authority, settings);
  return {
    one: store,
    other: store,
    close: async () => {
      await store.close();
      rmSync(root, { recursive: true });
    },
  };
}

for (const authority of ['remote', 'local'] as const) {
  for (const [what, settings] of [
    ['memory and disk', {}],
    ['disk only', { memoryBytesMax: 0 }],
    ['neither: all is read from the remote', { memoryBytesMax: 0, diskBytesMax: 0 }],
  ] as const) {
    describe(`blob store: tiered, authority ${authority}, ${what}`, () => {
      for (const contractCase of blobStoreContract) {
        it(contractCase.name, () => runBlobStoreCase(contractCase, () => pair(authority, settings)));
      }
    });
  }
}
