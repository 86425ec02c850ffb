import type { Logger } from '../base/index.js';
import type { FinishedRange } from './finish-record.js';
import { type Region, regionPath } from './region.js';
import type { ObjectRegions } from './region-objects.js';
import type { SpillDisk } from './spill-disk.js';
import { type SpillFolder, scanSpillFolder } from './spill-folder.js';

/** A writer that finished, by the records of all folders. */
export interface FinishedWriter {
  readonly spec: Uint8Array;
  readonly sameBoot: boolean;
  /** Number of the record in each folder that has one. */
  readonly records: Map<SpillDisk, number>;
  readonly ends: readonly FinishedRange[];
}

/** What all folders together hold and is still worth something. */
export interface RecoveredRegions {
  /** By age. */
  readonly regions: readonly Region[];
  readonly finished: ReadonlyMap<string, FinishedWriter>;
  /** Highest number in use, 0 when there is none. */
  readonly highest: number;
}

/**
 * Finds finished writers of any boot and unfinished ones of this boot, and deletes the rest: the memory that the others
 * continued in is gone. A folder that cannot be read is set aside.
 */
export async function recoverRegions(
  disks: readonly SpillDisk[],
  objects: ObjectRegions,
  bootId: string,
  logger: Logger,
  onCut: (path: string, reason: string) => void,
): Promise<RecoveredRegions> {
  const found = new Map<SpillDisk, SpillFolder>();
  await Promise.all(
    disks.map((disk) =>
      disk.orSetAside(async () => {
        const folder = await scanSpillFolder(disk, onCut);
        const known = folder.regions.map(({ objectName }) => objectName).filter((name) => name !== undefined);
        await objects.open(disk, new Set(known));
        found.set(disk, folder);
      }),
    ),
  );
  const finished = new Map<string, FinishedWriter>();
  for (const [disk, folder] of found) {
    for (const { number, record } of folder.finished) {
      const known = finished.get(record.writer);
      if (known !== undefined) known.records.set(disk, number);
      else {
        const sameBoot = record.bootId === bootId;
        const records = new Map([[disk, number]]);
        finished.set(record.writer, { spec: record.spec, sameBoot, records, ends: record.ranges });
      }
    }
  }
  const all = [...found.values()].flatMap(({ regions }) => regions).sort((a, b) => a.number - b.number);
  const kept = all.filter((region) => region.bootId === bootId || finished.has(region.writer));
  for (const region of all) {
    if (kept.includes(region)) continue;
    logger.info(
      { writer: region.writer, file: regionPath(region.disk, region.number) },
      'region of an earlier boot removed',
    );
    await removeRegion(region, objects);
  }
  const highest = Math.max(0, ...[...found.values()].map((folder) => folder.highest));
  return { regions: kept, finished, highest };
}

/** Removes the file, or the object and its record, as far as disk and object store allow. */
export async function removeRegion(region: Region, objects: ObjectRegions): Promise<void> {
  if (region.objectName !== undefined) return await objects.remove(region, region.objectName);
  const path = regionPath(region.disk, region.number);
  await region.disk.orSetAside((disk) => disk.call(`removing ${path}`, (on) => on.remove(path)));
}
