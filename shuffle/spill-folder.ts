/** What is in a spill folder when it is opened. What is torn or damaged is removed, and said. */
import { MillraceError } from '../base/index.js';
import { decodeFinishRecord, type FinishRecord } from './finish-record.js';
import { newRegion, numbered, parseNumbered, type Region } from './region.js';
import {
  decodeRegionFooter,
  decodeRegionHeader,
  headerBytes,
  REGION_FOOTER_BYTES,
  REGION_HEADER_START_BYTES,
  RegionIndex,
} from './region-file.js';
import type { SpillDisk } from './spill-disk.js';

export interface SpillFolder {
  readonly regions: readonly Region[];
  readonly finished: readonly { readonly number: number; readonly record: FinishRecord }[];
  /** Highest number in use, 0 when there is none. */
  readonly highest: number;
}

/** @param onCut a file was removed: it is torn or damaged. @throws as `SpillDisk.call` */
export async function scanSpillFolder(
  disk: SpillDisk,
  onCut: (path: string, reason: string) => void,
): Promise<SpillFolder> {
  await disk.call('making the folder', (on) => on.makeFolder(disk.folder));
  const names = await disk.call('listing the folder', (on) => on.list(disk.folder));
  const regions = new Map<number, Region>();
  const finished: { number: number; record: FinishRecord }[] = [];
  let highest = 0;
  // 'moved' sorts before 'region': what has a record in the object store needs its file no more.
  for (const name of names) {
    if (name.endsWith('.tmp')) await remove(disk, name);
    const of = parseNumbered(name);
    if (of === undefined) continue;
    highest = Math.max(highest, of.number);
    if (regions.has(of.number) && of.kind === 'region') {
      await remove(disk, name);
      continue;
    }
    try {
      if (of.kind === 'finished') finished.push({ number: of.number, record: await readFinished(disk, name) });
      else regions.set(of.number, await readRegion(disk, of.kind, of.number));
    } catch (e) {
      const error = MillraceError.from(e);
      if (error.kind !== 'corrupt') throw error;
      onCut(disk.path(name), error.message);
      await remove(disk, name);
    }
  }
  return { regions: [...regions.values()], finished, highest };
}

async function readFinished(disk: SpillDisk, name: string): Promise<FinishRecord> {
  return decodeFinishRecord(await disk.call(`reading ${name}`, (on) => on.read(disk.path(name))));
}

async function readRegion(disk: SpillDisk, kind: 'region' | 'moved', number: number): Promise<Region> {
  const path = disk.path(numbered(kind, number));
  const size = (await disk.call(`looking at ${path}`, (on) => on.stat(path)))?.bytes ?? 0;
  const read = (offset: number, length: number) =>
    disk.call(`reading ${path}`, (on) => on.read(path, { offset, length }));
  const footerAt = Math.max(0, size - REGION_FOOTER_BYTES);
  const footer = decodeRegionFooter(await read(footerAt, REGION_FOOTER_BYTES), size);
  const start = await read(0, REGION_HEADER_START_BYTES);
  const header = decodeRegionHeader(await read(0, headerBytes(start)));
  const index = RegionIndex.decode(await read(footer.indexOffset, footer.indexLength), footer);
  const { writer, bootId } = header;
  const moved = header.objectName !== '';
  const objectName = moved ? header.objectName : undefined;
  return newRegion({ disk, number, writer, bootId, index, fileBytes: index.fileBytes, objectName, synced: moved });
}

async function remove(disk: SpillDisk, name: string): Promise<void> {
  await disk.call(`removing ${name}`, (on) => on.remove(disk.path(name)));
}
