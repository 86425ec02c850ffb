import { MillraceError, xxh64 } from '../base/index.js';
import { type Region, regionPath } from './region.js';
import type { RegionBuffer, RegionRecord } from './region-file.js';
import type { ObjectRegions } from './region-objects.js';
import { bufferCorrupt, partitionLost } from './shuffle-errors.js';
import type { StoredRun } from './stored-runs.js';

/**
 * Reads from `seq` to the end of the run, or to `bytesMax`, with one pread (or one ranged get);
 * `atLeastOne`: one buffer may be larger. What is damaged ends it; when that is the first buffer, it throws.
 * @throws `BUFFER_CORRUPT`, `PARTITION_LOST`, `SPILL_OBJECTS_UNAVAILABLE`, naming partition, subpartition and seq
 */
export async function readRun(
  { region, run }: StoredRun,
  seq: number,
  bytesMax: number,
  atLeastOne: boolean,
  objects: ObjectRegions,
): Promise<RegionBuffer[]> {
  const { index } = region;
  const from = run.firstRecord + seq - run.first;
  let to = from;
  let bytes = 0;
  while (to < run.firstRecord + run.count) {
    const length = index.length(to);
    if (bytes + length > bytesMax && (to > from || !atLeastOne)) break;
    bytes += length;
    to++;
  }
  if (to === from) return [];
  const offset = index.offset(from);
  let stored: Uint8Array;
  try {
    stored = await readStored(region, offset, bytes, objects);
  } catch (e) {
    const error = MillraceError.from(e);
    if (error.code === 'SPILL_OBJECTS_UNAVAILABLE') throw error;
    const why = region.deleted ? 'it was trimmed or released' : error.message;
    throw partitionLost(run.partition, run.subpartition, seq, why);
  }
  const buffers: RegionBuffer[] = [];
  for (let i = from; i < to; i++) {
    const record = index.record(i);
    const part = stored.subarray(record.offset - offset, record.offset - offset + record.length);
    const damage = damageOf(record, part);
    if (damage !== undefined) {
      if (i > from) break;
      throw bufferCorrupt(run.partition, run.subpartition, seq, `${damage} (${whereIs(region)})`);
    }
    const { kind, rows, rawLength, checksum, chain } = record;
    buffers.push({ seq: seq + i - from, kind, rows, rawLength, checksum, chain, bytes: part });
  }
  return buffers;
}

async function readStored(region: Region, offset: number, length: number, objects: ObjectRegions): Promise<Uint8Array> {
  if (region.objectName === undefined) {
    const path = regionPath(region.disk, region.number);
    try {
      return await region.disk.call(`reading ${path}`, (on) => on.read(path, { offset, length }));
    } catch (e) {
      if (whereNow(region) === undefined) throw e;
    }
  }
  return objects.read(whereNow(region) ?? '', offset, length);
}

/** A region can be moved while its file is being opened. */
function whereNow(region: Region): string | undefined {
  return region.objectName;
}

function whereIs(region: Region): string {
  return region.objectName ?? regionPath(region.disk, region.number);
}

function damageOf(record: RegionRecord, stored: Uint8Array): string | undefined {
  if (stored.length !== record.length) return `${stored.length} of its ${record.length} bytes are there`;
  if (xxh64(stored) !== record.storedChecksum) return 'its bytes are not those that were written';
  if (record.rawLength === record.length && record.storedChecksum !== record.checksum) {
    return 'it was damaged before it was written';
  }
  return undefined;
}
