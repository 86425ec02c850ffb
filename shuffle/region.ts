import type { RegionIndex } from './region-file.js';
import type { SpillDisk } from './spill-disk.js';

/** A region that is there, by its index; immutable but for where its data is. */
export interface Region {
  readonly disk: SpillDisk;
  /** Names its files in the folder. */
  readonly number: number;
  readonly writer: string;
  readonly bootId: string;
  readonly index: RegionIndex;
  /** Of the file, or of its copy in the object store. */
  readonly fileBytes: number;
  /** Where it lies when it was moved to the object store. */
  objectName: string | undefined;
  /** Known to survive a power cut. */
  synced: boolean;
  /** Runs in it that are not trimmed yet. */
  runsLeft: number;
  /** Set when it is to go: nothing new may begin with it. */
  deleted: boolean;
  /** A move to the object store, or a sync, that is under way; never fails. */
  busy: Promise<void> | undefined;
}

/** One that is there and whole. */
export function newRegion(
  of: Pick<Region, 'disk' | 'number' | 'writer' | 'bootId' | 'index' | 'fileBytes' | 'synced' | 'objectName'>,
): Region {
  return { ...of, runsLeft: of.index.runs.length, deleted: false, busy: undefined };
}

export function regionPath(disk: SpillDisk, number: number): string {
  return disk.path(numbered('region', number));
}

/** The small file that stands for a region in an object store. */
export function movedPath(disk: SpillDisk, number: number): string {
  return disk.path(numbered('moved', number));
}

export function finishedPath(disk: SpillDisk, number: number): string {
  return disk.path(numbered('finished', number));
}

/** `kind-000000000012`: names sort as the numbers do. */
export function numbered(kind: 'region' | 'moved' | 'finished', number: number): string {
  return `${kind}-${String(number).padStart(12, '0')}`;
}

export function parseNumbered(
  name: string,
): { readonly kind: 'region' | 'moved' | 'finished'; readonly number: number } | undefined {
  const match = /^(region|moved|finished)-(\d{12})$/.exec(name);
  if (match === null) return undefined;
  return { kind: match[1] as 'region' | 'moved' | 'finished', number: Number(match[2]) };
}
