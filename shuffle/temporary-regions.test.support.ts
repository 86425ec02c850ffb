import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeDisk, silentLogger, systemClock, systemRandom } from '../base/index.js';
import { RegionStore } from './region-store.js';

/** A store in a folder of its own, and how to remove it. */
export async function temporaryRegions(
  bootId = 'boot',
  folder = mkdtempSync(join(tmpdir(), 'millrace-spill-test-')),
): Promise<{ readonly regions: RegionStore; readonly folder: string; remove(): void }> {
  const regions = await RegionStore.open({
    disk: nodeDisk(),
    folders: [folder],
    clock: systemClock(),
    logger: silentLogger(),
    random: systemRandom(),
    bootId,
  });
  return { regions, folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
