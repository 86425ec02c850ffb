/**
 * What was spilled: regions on several disks, and in an object store. Reads, trims and drops by partition and writer.
 * Invariants: a region is known here only when its file is complete; a file goes only when its copy in the object store
 * is known to the folder; a disk that failed once is not used again; what cannot be read is an error that names it.
 */
import { assert, type Clock, type Disk, type Logger, MillraceError, type Random } from '../base/index.js';
import { encodeFinishRecord, type FinishedRange } from './finish-record.js';
import { finishedPath, newRegion, numbered, type Region, regionPath } from './region.js';
import type { RegionBuffer, RegionPart, RegionRun } from './region-file.js';
import { ObjectRegions, type RegionObjects, replaceFile } from './region-objects.js';
import { readRun } from './region-reader.js';
import { type FinishedWriter, type RecoveredRegions, recoverRegions, removeRegion } from './region-recovery.js';
import { layOutRegion, type RegionLayout, writeRegionFile } from './region-writer.js';
import { partitionLost } from './shuffle-errors.js';
import { SpillDisk } from './spill-disk.js';
import { spillClosed, spillFull, spillUnavailable } from './spill-errors.js';
import { type StoredRange, StoredRuns } from './stored-runs.js';

export type RegionEvent =
  | { readonly kind: 'diskSetAside'; readonly folder: string; readonly reason: string }
  /** Told once per partition, when somebody asks for what is gone; after a restart also for what was trimmed before it. */
  | { readonly kind: 'lost'; readonly partition: string; readonly reason: string }
  /** A file was torn or damaged and is removed. */
  | { readonly kind: 'cut'; readonly file: string; readonly reason: string };

export interface RegionStoreOptions {
  readonly disk: Disk;
  /** Absolute; one per disk. Each belongs to this store alone. */
  readonly folders: readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: Random;
  readonly bootId: string;
  /** Of every call to a disk or the object store. Default 30 s. */
  readonly deadlineMs?: number;
  readonly objects?: RegionObjects;
  /** On all disks together; beyond it the oldest regions move to `objects`. Default: unlimited. */
  readonly diskBytesMax?: number;
  readonly onEvent?: (event: RegionEvent) => void;
}

export interface RecoveredWriter {
  readonly writer: string;
  /** What `finish` was given; undefined when it never finished. */
  readonly spec: Uint8Array | undefined;
  readonly sameBoot: boolean;
}

export interface RegionStoreMetrics {
  readonly regions: number;
  readonly bytesOnDisk: number;
  readonly bytesInObjects: number;
  /** Bytes of files written to disks. */
  readonly bytesWritten: number;
  /** Bytes of buffers read back. */
  readonly bytesRead: number;
  readonly disksSetAside: number;
}

const DEADLINE_MS = 30_000;

export class RegionStore {
  /** What was there at open: finished writers, and unfinished ones of this boot. */
  readonly recovered: readonly RecoveredWriter[];
  readonly #disks: readonly SpillDisk[];
  readonly #objects: ObjectRegions;
  readonly #logger: Logger;
  readonly #bootId: string;
  readonly #diskBytesMax: number;
  readonly #handlers: ((event: RegionEvent) => void)[];
  readonly #runs = new StoredRuns();
  /** By age. */
  readonly #regions = new Set<Region>();
  readonly #finished = new Map<string, FinishedWriter>();
  /** Partitions that were told as lost. */
  readonly #lost = new Set<string>();
  /** What is under way, with the writer it writes for. */
  readonly #pending = new Map<Promise<unknown>, string | undefined>();
  #lastNumber: number;
  #reservedBytes = 0;
  #bytesWritten = 0;
  #bytesRead = 0;
  /** Making room and syncing, one after the other. */
  #upkeep: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    options: RegionStoreOptions,
    disks: readonly SpillDisk[],
    objects: ObjectRegions,
    found: RecoveredRegions,
    handlers: ((event: RegionEvent) => void)[],
  ) {
    this.#disks = disks;
    this.#objects = objects;
    this.#logger = options.logger;
    this.#bootId = options.bootId;
    this.#diskBytesMax = options.diskBytesMax ?? Number.POSITIVE_INFINITY;
    this.#handlers = handlers;
    this.#lastNumber = found.highest;
    for (const region of found.regions) this.#add(region);
    for (const [writer, finished] of found.finished) {
      this.#finished.set(writer, finished);
      for (const end of finished.ends) {
        this.#runs.reach(writer, end.partition, end.subpartition, end.next, end.nextChain);
      }
    }
    const unfinished = new Set(found.regions.map(({ writer }) => writer).filter((w) => !this.#finished.has(w)));
    this.recovered = [
      ...[...this.#finished].map(([writer, { spec, sameBoot }]) => ({ writer, spec, sameBoot })),
      ...[...unfinished].map((writer) => ({ writer, spec: undefined, sameBoot: true })),
    ];
  }

  /** Reads what the folders hold. A folder that cannot be used is set aside; it never fails because of one. */
  static async open(options: RegionStoreOptions): Promise<RegionStore> {
    const { disk, clock, logger, random, bootId, deadlineMs = DEADLINE_MS } = options;
    const handlers = options.onEvent === undefined ? [] : [options.onEvent];
    const tell = (event: RegionEvent) => {
      for (const handler of handlers) handler(event);
    };
    const onSetAside = (folder: string, reason: string) => {
      logger.error({ folder, reason }, 'spill folder set aside: it is not used any more');
      tell({ kind: 'diskSetAside', folder, reason });
    };
    const onCut = (file: string, reason: string) => {
      logger.warn({ file, reason }, 'spilled file is torn or damaged and was removed');
      tell({ kind: 'cut', file, reason });
    };
    const disks = options.folders.map((folder) => new SpillDisk({ disk, folder, clock, deadlineMs, onSetAside }));
    const objects = new ObjectRegions({ objects: options.objects, clock, logger, random, deadlineMs });
    const found = await recoverRegions(disks, objects, bootId, logger, onCut);
    return new RegionStore(options, disks, objects, found, handlers);
  }

  /** Tells another one too, of what happens from now on. */
  onEvent(handler: (event: RegionEvent) => void): void {
    this.#handlers.push(handler);
  }

  /**
   * Writes one region: the parts, sorted by partition and subpartition, so that each is one sequential run. Resolves
   * when it is written, `durable`: when it survives a power cut. The bytes must not change until then, and may after.
   * A failing or hung disk is set aside and the next one tried.
   * @throws `SPILL_UNAVAILABLE` (unavailable) naming the disks when none is left; `SPILL_FULL` (unavailable)
   */
  write(writer: string, parts: readonly RegionPart[], options: { readonly durable: boolean }): Promise<void> {
    return this.#track(writer, async () => {
      const sorted = sortedParts(parts);
      if (sorted.length === 0) return;
      const layout = layOutRegion(this.#bootId, writer, sorted);
      await this.#oneAtATime(() => this.#makeRoom(layout.fileBytes));
      try {
        this.#add(await this.#writeSomewhere(layout, options.durable));
      } finally {
        this.#reservedBytes -= layout.fileBytes;
      }
    });
  }

  /**
   * Buffers from `seq` on, in order, of `bytesMax` in all, or one that is larger; bytes verified. Empty when `seq` is the
   * next one not yet stored.
   * @throws `PARTITION_LOST` (unavailable) when it was trimmed, was never stored, or its disk was set aside;
   * `BUFFER_CORRUPT` (corrupt); both name partition, subpartition and seq. `SPILL_OBJECTS_UNAVAILABLE`: try again.
   */
  read(partition: string, subpartition: number, seq: number, bytesMax: number): Promise<readonly RegionBuffer[]> {
    return this.#track(undefined, async () => {
      const buffers: RegionBuffer[] = [];
      let bytesLeft = bytesMax;
      try {
        for (;;) {
          const at = seq + buffers.length;
          const part = await this.#readFrom(partition, subpartition, at, bytesLeft, buffers.length === 0);
          if (part.length === 0) break;
          for (const buffer of part) {
            buffers.push(buffer);
            bytesLeft -= buffer.bytes.length;
          }
        }
      } catch (e) {
        // It will be told to who asks for what is missing.
        if (buffers.length === 0) throw this.#told(partition, subpartition, seq, MillraceError.from(e));
      }
      this.#bytesRead += bytesMax - bytesLeft;
      return buffers;
    });
  }

  /** What is stored of each subpartition that has any. */
  ranges(partition: string): ReadonlyMap<number, StoredRange> {
    return this.#runs.ranges(partition);
  }

  /** Everything below `seqs[subpartition]` may go; a region goes when all in it may. Not remembered over a restart. */
  trim(partition: string, seqs: readonly number[]): Promise<void> {
    return this.#track(undefined, async () => {
      for (const region of this.#runs.trim(partition, seqs)) await this.#delete(region);
    });
  }

  /** Deletes all of a writer, also what is being written for it. A disk that was set aside keeps its files. */
  drop(writer: string): Promise<void> {
    return this.#track(undefined, async () => {
      await this.#written(writer);
      const finished = this.#finished.get(writer);
      this.#finished.delete(writer);
      for (const [disk, number] of finished?.records ?? []) {
        const path = finishedPath(disk, number);
        await disk.orSetAside(() => disk.call(`removing ${path}`, (on) => removeDurably(on, path)));
      }
      for (const region of [...this.#regions]) if (region.writer === writer) await this.#delete(region);
      for (const { partition } of this.#runs.ends(writer)) this.#lost.delete(partition);
      this.#runs.forget(writer);
    });
  }

  /**
   * Says that a writer's partitions are complete, with its description: such writers survive a reboot. Durable, with all
   * that was written, when it resolves. Called again it replaces the description. `reached`: where its subpartitions end; what
   * is trimmed before it is stored is known to be gone then, not taken for still to come.
   * @throws `PARTITION_LOST` when part of it is on a disk that was set aside; `SPILL_UNAVAILABLE`, `SPILL_FULL`
   */
  finish(writer: string, spec: Uint8Array, reached: readonly FinishedRange[] = []): Promise<void> {
    return this.#track(undefined, async () => {
      await this.#written(writer);
      for (const { partition, subpartition, next, nextChain } of reached) {
        this.#runs.reach(writer, partition, subpartition, next, nextChain);
      }
      await this.#oneAtATime(() => this.#finish(writer, spec));
    });
  }

  get metrics(): RegionStoreMetrics {
    const inObjects = [...this.#regions].filter(({ objectName }) => objectName !== undefined);
    return {
      regions: this.#regions.size,
      bytesOnDisk: this.#bytesOnDisk(),
      bytesInObjects: inObjects.reduce((sum, { fileBytes }) => sum + fileBytes, 0),
      bytesWritten: this.#bytesWritten,
      bytesRead: this.#bytesRead,
      disksSetAside: this.#disks.filter(({ setAside }) => setAside !== undefined).length,
    };
  }

  /** Waits for what is under way. What is stored stays. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.allSettled(this.#pending.keys());
    await this.#objects.retryDeletes();
    for (const disk of this.#disks) {
      const inUse = [...this.#regions].some((region) => region.disk === disk && region.objectName !== undefined);
      await disk.orSetAside(() => this.#objects.close(disk, inUse));
    }
  }

  #track<T>(writer: string | undefined, call: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(spillClosed());
    const pending = call().finally(() => this.#pending.delete(pending));
    this.#pending.set(pending, writer);
    return pending;
  }

  /** Waits for the writes of a writer that are under way. */
  async #written(writer: string): Promise<void> {
    await Promise.allSettled([...this.#pending].flatMap(([pending, of]) => (of === writer ? [pending] : [])));
  }

  #oneAtATime<T>(call: () => Promise<T>): Promise<T> {
    const done = this.#upkeep.then(call);
    this.#upkeep = done.catch(() => {});
    return done;
  }

  #add(region: Region): void {
    this.#regions.add(region);
    if (region.objectName === undefined) region.disk.bytes += region.fileBytes;
    this.#runs.add(region);
  }

  #bytesOnDisk(): number {
    return this.#healthy().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #healthy(): SpillDisk[] {
    return this.#disks.filter(({ setAside }) => setAside === undefined);
  }

  async #writeSomewhere(layout: RegionLayout, durable: boolean): Promise<Region> {
    const full = new Set<SpillDisk>();
    for (;;) {
      const usable = this.#healthy().filter((disk) => !full.has(disk));
      const load = (disk: SpillDisk) => disk.bytes + disk.bytesComing;
      const disk = usable.reduce<SpillDisk | undefined>((a, b) => (a && load(a) <= load(b) ? a : b), undefined);
      if (disk !== undefined) {
        const region = await this.#writeTo(disk, layout, durable);
        if (region !== undefined) return region;
        if (disk.setAside === undefined) full.add(disk);
        continue;
      }
      const reasons = this.#disks.map((of) => `${of.folder}: ${of.setAside ?? 'full'}`);
      if (this.#healthy().length === 0) throw spillUnavailable(reasons);
      await this.#oneAtATime(() => this.#moveOldest(layout.fileBytes, reasons.join('; ')));
      full.clear();
    }
  }

  /** Undefined when the disk is full, or was set aside. */
  async #writeTo(disk: SpillDisk, layout: RegionLayout, durable: boolean): Promise<Region | undefined> {
    const { fileBytes, index, header } = layout;
    const number = ++this.#lastNumber;
    disk.bytesComing += fileBytes;
    try {
      await writeRegionFile(disk, numbered('region', number), layout, durable);
    } catch (e) {
      const error = MillraceError.from(e);
      if (error.code !== 'DISK_FULL') disk.fail(error.message);
      return undefined;
    } finally {
      disk.bytesComing -= fileBytes;
    }
    this.#bytesWritten += fileBytes;
    const { writer, bootId } = header;
    return newRegion({ disk, number, writer, bootId, index, fileBytes, synced: durable, objectName: undefined });
  }

  /** Reserves room for a region within `diskBytesMax`. */
  async #makeRoom(bytes: number): Promise<void> {
    while (this.#bytesOnDisk() + this.#reservedBytes + bytes > this.#diskBytesMax) {
      await this.#moveOldest(bytes, `${this.#bytesOnDisk()} of ${this.#diskBytesMax} bytes are in use`);
    }
    this.#reservedBytes += bytes;
  }

  /** @throws `SPILL_FULL` when there is none to move, or no place to move it to. */
  async #moveOldest(wanted: number, why: string): Promise<void> {
    if (!this.#objects.present) throw spillFull(wanted, why);
    for (const region of this.#regions) {
      const { disk } = region;
      if (region.objectName !== undefined || disk.setAside !== undefined) continue;
      const moving = this.#objects.move(region);
      region.busy = moving.catch(() => {});
      try {
        await moving;
      } catch (e) {
        const error = MillraceError.from(e);
        if (region.deleted || disk.setAside !== undefined) return;
        if (error.code === 'DISK_NOT_FOUND') return this.#forgetFile(region);
        throw spillFull(wanted, `${why}; ${error.message}`, e);
      } finally {
        region.busy = undefined;
        if (hasMoved(region)) disk.bytes -= region.fileBytes;
      }
      return;
    }
    throw spillFull(wanted, why);
  }

  /** Somebody else removed the file: it takes no room, and who reads it is told. */
  #forgetFile(region: Region): void {
    this.#regions.delete(region);
    region.disk.bytes -= region.fileBytes;
  }

  async #readFrom(
    partition: string,
    subpartition: number,
    seq: number,
    bytesMax: number,
    atLeastOne: boolean,
  ): Promise<RegionBuffer[]> {
    const { trimmed, next } = this.#runs.state(partition, subpartition);
    if (seq < trimmed) throw partitionLost(partition, subpartition, seq, `everything below ${trimmed} was trimmed`);
    if (seq === next) return [];
    if (seq > next) throw partitionLost(partition, subpartition, seq, `it is stored up to ${next} only`);
    let failure: unknown;
    for (const stored of this.#runs.holding(partition, subpartition, seq)) {
      try {
        return await readRun(stored, seq, bytesMax, atLeastOne, this.#objects);
      } catch (e) {
        failure ??= e;
      }
    }
    throw failure ?? partitionLost(partition, subpartition, seq, 'it is not stored any more');
  }

  /** Tells of a lost partition, once; not of what was trimmed, or can be tried again. */
  #told(partition: string, subpartition: number, seq: number, error: MillraceError): MillraceError {
    const { trimmed, next } = this.#runs.state(partition, subpartition);
    const lost = seq >= trimmed && seq < next && error.code !== 'SPILL_OBJECTS_UNAVAILABLE';
    if (lost && !this.#lost.has(partition)) {
      this.#lost.add(partition);
      this.#logger.error({ partition, subpartition, seq, reason: error.message }, 'spilled partition is lost');
      for (const handler of this.#handlers) handler({ kind: 'lost', partition, reason: error.message });
    }
    return error;
  }

  async #delete(region: Region): Promise<void> {
    if (region.deleted) return;
    region.deleted = true;
    this.#runs.remove(region);
    this.#regions.delete(region);
    await region.busy;
    if (region.objectName === undefined) region.disk.bytes -= region.fileBytes;
    await removeRegion(region, this.#objects);
  }

  async #finish(writer: string, spec: Uint8Array): Promise<void> {
    const regions = [...this.#regions].filter((region) => region.writer === writer);
    for (const region of regions) {
      region.busy = this.#sync(region);
      await region.busy;
      region.busy = undefined;
    }
    assertAllThere(regions);
    const ends = this.#runs.ends(writer);
    const bytes = encodeFinishRecord({ writer, bootId: this.#bootId, spec, ranges: ends });
    const records = new Map(this.#finished.get(writer)?.records);
    // Known from the first one on: when a later one finds no room, `drop` has to find it.
    this.#finished.set(writer, { spec, sameBoot: true, records, ends });
    const holding = new Set(regions.map(({ disk }) => disk));
    // To every folder with regions of it; if there is none, to any.
    let written = 0;
    for (const disk of [...holding, ...this.#healthy().filter((of) => !holding.has(of))]) {
      if (disk.setAside !== undefined) continue;
      if (written > 0 && !holding.has(disk)) break;
      const number = records.get(disk) ?? ++this.#lastNumber;
      try {
        await replaceFile(disk, finishedPath(disk, number), bytes);
        records.set(disk, number);
        written++;
      } catch (e) {
        const error = MillraceError.from(e);
        if (error.code === 'DISK_FULL') throw spillFull(bytes.length, error.message, e);
        disk.fail(error.message);
      }
    }
    assertAllThere(regions);
    if (written === 0) throw spillUnavailable(this.#disks.map((of) => `${of.folder}: ${of.setAside}`));
  }

  /** Never fails: the disk is set aside instead. */
  async #sync(region: Region): Promise<void> {
    const { disk, number } = region;
    if (region.synced || region.deleted) return;
    const path = regionPath(disk, number);
    await disk.orSetAside(async () => {
      const file = await disk.call(`opening ${path}`, (on) => on.append(path));
      await disk.call(`syncing ${path}`, () => file.sync());
      await disk.call(`closing ${path}`, () => file.close());
      region.synced = true;
    });
  }
}

/** @throws `PARTITION_LOST` when one is only on a disk that was set aside. */
function assertAllThere(regions: readonly Region[]): void {
  for (const { disk, deleted, objectName, index } of regions) {
    if (disk.setAside === undefined || deleted || objectName !== undefined) continue;
    const { partition, subpartition, first } = index.runs[0] as RegionRun;
    throw partitionLost(partition, subpartition, first, disk.setAside);
  }
}

/** In order; without empty ones. */
function sortedParts(parts: readonly RegionPart[]): RegionPart[] {
  const sorted = parts.filter(({ buffers }) => buffers.length > 0);
  sorted.sort((a, b) =>
    a.partition === b.partition ? a.subpartition - b.subpartition : a.partition < b.partition ? -1 : 1,
  );
  sorted.forEach(({ partition, subpartition, buffers }, i) => {
    const before = sorted[i - 1];
    const again = before?.partition === partition && before.subpartition === subpartition;
    assert(!again, `two parts of "${partition}" subpartition ${subpartition} in one region`);
    const first = buffers[0] as RegionBuffer;
    const gapless = buffers.every(({ seq }, k) => seq === first.seq + k);
    assert(gapless, `seqs of "${partition}" subpartition ${subpartition} have a gap`);
  });
  return sorted;
}

/**
 * A removal may be undone by a power cut, a rename is not: a writer that was dropped must not come back.
 * (What is left under the temporary name goes at the next open.)
 */
async function removeDurably(disk: Disk, path: string): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await disk.rename(path, temporary);
  } catch (thrown) {
    if (MillraceError.from(thrown).code !== 'DISK_NOT_FOUND') throw thrown;
  }
  await disk.remove(temporary);
}

function hasMoved(region: Region): boolean {
  return region.objectName !== undefined;
}
