/**
 * Regions in an object store, each a copy of the file that was on disk. How one moves, so that a crash between any two
 * steps loses nothing and leaves nothing for ever:
 *
 *     put the object under a new name -> write `moved-N` (header with the name, index) -> remove `region-N`
 *
 * Found at the next open: an object without a record (deleted), a record beside its file (the file goes).
 */
import { type Clock, type Logger, MillraceError, type Random } from '../base/index.js';
import { movedPath, type Region, regionPath } from './region.js';
import { encodeRegionFooter, encodeRegionHeader } from './region-file.js';
import type { SpillDisk } from './spill-disk.js';
import { objectsUnavailable } from './spill-errors.js';

/** An object store, as the checkpoint store's BlobStore is one. Names are never reused. */
export interface RegionObjects {
  put(name: string, bytes: Uint8Array): Promise<void>;
  /** @throws `BLOB_NOT_FOUND` */
  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array>;
  delete(name: string): Promise<void>;
  list(prefix: string): Promise<string[]>;
}

export interface ObjectRegionsOptions {
  readonly objects: RegionObjects | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: Random;
  readonly deadlineMs: number;
}

/** Names the objects of one folder. */
const IDENTITY = 'objects-of';

export class ObjectRegions {
  readonly #objects: RegionObjects | undefined;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #random: Random;
  readonly #deadlineMs: number;
  readonly #prefixes = new Map<SpillDisk, string>();
  /** Objects to delete that the store would not delete yet. */
  readonly #doomed = new Map<string, SpillDisk>();

  constructor(options: ObjectRegionsOptions) {
    this.#objects = options.objects;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#random = options.random;
    this.#deadlineMs = options.deadlineMs;
  }

  get present(): boolean {
    return this.#objects !== undefined;
  }

  /** Learns how the folder's objects are called, and deletes those that no region is known for. */
  async open(disk: SpillDisk, known: ReadonlySet<string>): Promise<void> {
    const prefix = await disk
      .call('reading its name', (on) => on.read(disk.path(IDENTITY)))
      .then(
        (bytes) => new TextDecoder().decode(bytes),
        (e) => {
          if (MillraceError.from(e).code !== 'DISK_NOT_FOUND') throw e;
          return undefined;
        },
      );
    if (prefix === undefined || !/^regions\/[0-9a-f]{16}\/$/.test(prefix)) return;
    this.#prefixes.set(disk, prefix);
    if (this.#objects === undefined) return;
    try {
      const names = await this.#call(prefix, (objects) => objects.list(prefix));
      for (const name of names) if (!known.has(name)) await this.#delete(name, disk);
    } catch (e) {
      this.#logger.warn({ error: MillraceError.from(e).message }, 'objects of spilled regions could not be listed');
    }
  }

  /**
   * Moves a region that lies on disk; when it resolves the region says so itself. Whoever deletes it waits for this.
   * @throws `SPILL_OBJECTS_UNAVAILABLE`; as `SpillDisk.call`. The region is then where it was.
   */
  async move(region: Region): Promise<void> {
    const { disk, number } = region;
    const from = regionPath(disk, number);
    const prefix = await this.#prefixOf(disk);
    const bytes = await disk.call(`reading ${from}`, (on) => on.read(from));
    const name = `${prefix}${number}-${this.#random.nonce()}`;
    try {
      await this.#call(name, (objects) => objects.put(name, bytes));
      await this.#writeRecord(region, name);
    } catch (e) {
      await this.#delete(name, disk);
      throw e;
    }
    region.objectName = name;
    region.synced = true;
    await disk.call(`removing ${from}`, (on) => on.remove(from));
  }

  /** Part of a moved region. @throws `SPILL_OBJECTS_UNAVAILABLE`, `BLOB_NOT_FOUND` */
  read(name: string, offset: number, length: number): Promise<Uint8Array> {
    return this.#call(name, (objects) => objects.get(name, { offset, length }));
  }

  /** Deletes a moved region. What the object store would not delete is tried again later. */
  async remove(region: Region, name: string): Promise<void> {
    await this.retryDeletes();
    await this.#delete(name, region.disk);
    const path = movedPath(region.disk, region.number);
    await region.disk.orSetAside((disk) => disk.call(`removing ${path}`, (on) => on.remove(path)));
  }

  async retryDeletes(): Promise<void> {
    for (const [name, disk] of [...this.#doomed]) await this.#delete(name, disk);
  }

  /** Forgets how the folder's objects are called if there are none. */
  async close(disk: SpillDisk, inUse: boolean): Promise<void> {
    if (inUse || !this.#prefixes.has(disk) || [...this.#doomed.values()].includes(disk)) return;
    await disk.call('removing its name', (on) => on.remove(disk.path(IDENTITY)));
  }

  async #prefixOf(disk: SpillDisk): Promise<string> {
    const known = this.#prefixes.get(disk);
    if (known !== undefined) return known;
    const prefix = `regions/${this.#random.nonce()}/`;
    await replaceFile(disk, disk.path(IDENTITY), new TextEncoder().encode(prefix));
    this.#prefixes.set(disk, prefix);
    return prefix;
  }

  #writeRecord(region: Region, objectName: string): Promise<void> {
    const { bootId, writer, index } = region;
    const header = encodeRegionHeader({ bootId, writer, objectName });
    const footer = encodeRegionFooter(header.length, index.bytes);
    const record = new Uint8Array(header.length + index.bytes.length + footer.length);
    record.set(header);
    record.set(index.bytes, header.length);
    record.set(footer, header.length + index.bytes.length);
    return replaceFile(region.disk, movedPath(region.disk, region.number), record);
  }

  async #delete(name: string, disk: SpillDisk): Promise<void> {
    try {
      await this.#call(name, (objects) => objects.delete(name));
      this.#doomed.delete(name);
    } catch (e) {
      this.#doomed.set(name, disk);
      this.#logger.warn({ name, error: MillraceError.from(e).message }, 'spilled object is not deleted yet');
    }
  }

  #call<T>(name: string, call: (objects: RegionObjects) => Promise<T>): Promise<T> {
    const objects = this.#objects;
    if (objects === undefined) return Promise.reject(objectsUnavailable(name, 'no object store was given'));
    return new Promise<T>((resolve, reject) => {
      const late = () => reject(objectsUnavailable(name, `no answer within ${this.#deadlineMs} ms`));
      const timer = this.#clock.schedule(this.#deadlineMs, late);
      call(objects).then(
        (value) => {
          timer.cancel();
          resolve(value);
        },
        (thrown) => {
          timer.cancel();
          const error = MillraceError.from(thrown);
          reject(error.code === 'BLOB_NOT_FOUND' ? error : objectsUnavailable(name, error.message, thrown));
        },
      );
    });
  }
}

/** Writes a small file so that it is there whole and durably, or not at all. */
export async function replaceFile(disk: SpillDisk, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`;
  await disk.call(`writing ${temporary}`, (on) => on.write(temporary, bytes));
  await disk.call(`renaming ${temporary}`, (on) => on.rename(temporary, path));
}
