import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { baseStoreContract } from './base-store-contract.js';
import { lmdbBaseStores } from './lmdb-base-store.js';
import { MemoryBaseStores } from './memory-base-store.js';

for (const { name, run } of baseStoreContract) {
  test(`memory: ${name}`, () => run(new MemoryBaseStores(), '/base'));
  test(`lmdb: ${name}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-base-'));
    try {
      await run(lmdbBaseStores({ mapBytes: 2 ** 32 }), join(folder, 'base'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
