import { type Clock, type Disk, MillraceError, type Random } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import { isDamaged } from './checked-file.js';
import { KeyedLock } from './keyed-lock.js';
import { type TierAuthority, TierFolder, type TierPlace } from './tier-folder.js';

/** What is known of one object. Held by reference: whoever waited looks again. */
export interface TierObject {
  readonly name: string;
  /** Where its bytes are on disk; `away`: only the remote has them. */
  place: TierPlace | 'away';
  /** Known while it is on disk and whole. */
  bytes: number | undefined;
  /** The remote has it. */
  uploaded: boolean;
  /** A put may have reached the remote. */
  attempted: boolean;
  /** Puts that were never answered may land until then (monotonic). */
  lateUntilMs: number;
  deleted: boolean;
  /** A value that is on its way to the remote refers to it: it is uploaded even if it is deleted meanwhile. */
  held: boolean;
  /** Why it can never be uploaded. */
  stuck: MillraceError | undefined;
}

export interface DiskTierOptions {
  readonly disk: Disk;
  readonly root: string;
  readonly random: Random;
  readonly clock: Clock;
  readonly authority: TierAuthority;
  readonly diskBytesMax: number;
  readonly pendingBytesMax: number;
  /** How long after its end a call without an answer may still take effect at the remote. */
  readonly lateWriteMs: number;
}

/**
 * The objects of a tier: an index over its folder, the bound of the cache and the quota of what waits for upload.
 * What waits is never evicted. Changes of one object are made one after the other; each leaves files from which `open`
 * makes the same again, at whatever await the process dies. Errors of the disk pass through.
 */
export class DiskTier {
  readonly folder: TierFolder;
  readonly #options: DiskTierOptions;
  readonly #local: boolean;
  readonly #objects = new Map<string, TierObject>();
  /** Deleted objects that the remote may have. */
  readonly #tombstones = new Map<string, TierObject>();
  /** Objects in the cache, the longest unused first. */
  readonly #cached = new Map<string, TierObject>();
  readonly #locks = new KeyedLock();
  /** Values that were set here, at some time. */
  readonly values = new Set<string>();
  #trimming = Promise.resolve();
  #closed = false;
  #cachedBytes = 0;
  #pendingBytes = 0;
  #pendingObjects = 0;
  /** Objects deleted before they were uploaded, so far. */
  cancelled = 0;

  private constructor(options: DiskTierOptions, folder: TierFolder) {
    this.#options = options;
    this.#local = options.authority === 'local';
    this.folder = folder;
  }

  static async open(options: DiskTierOptions): Promise<DiskTier> {
    const { disk, root, random, authority } = options;
    const tier = new DiskTier(options, await TierFolder.open(disk, root, random, authority));
    await tier.#scan();
    return tier;
  }

  get cachedBytes(): number {
    return this.#cachedBytes;
  }

  /** Objects, and their bytes, whose only copy known to be whole is here. */
  get pending(): { readonly objects: number; readonly bytes: number } {
    return { objects: this.#pendingObjects, bytes: this.#pendingBytes };
  }

  /** Undefined for what is unknown or deleted. */
  find(name: string): TierObject | undefined {
    return this.#objects.get(name);
  }

  names(prefix: string): string[] {
    return [...this.#objects.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  /** What is neither uploaded nor deleted, oldest first. */
  toUpload(): TierObject[] {
    return [...this.#objects.values()].filter((object) => object.place === 'pending' && !object.uploaded);
  }

  isTombstone(name: string): boolean {
    return this.#tombstones.has(name);
  }

  tombstones(): TierObject[] {
    return [...this.#tombstones.values()];
  }

  /** @throws MillraceError `BLOB_EXISTS`, `UPLOADS_FULL` (unavailable). */
  add(name: string, bytes: Uint8Array): Promise<TierObject> {
    return this.#locked(name, async () => {
      if (this.#objects.has(name) || this.#tombstones.has(name)) {
        throw new MillraceError('invalid', 'BLOB_EXISTS', `${this.folder.root}: ${name} exists`);
      }
      const { pendingBytesMax } = this.#options;
      if (this.#pendingBytes + bytes.byteLength > pendingBytesMax) throw this.#full(name, bytes.byteLength);
      this.#countPending(1, bytes.byteLength);
      try {
        await this.#withRoom(() => this.#addPending(name, bytes));
      } catch (thrown) {
        this.#countPending(-1, -bytes.byteLength);
        throw thrown;
      }
      const object = { ...newObject(name), place: 'pending' as const, bytes: bytes.byteLength };
      this.#objects.set(name, object);
      return object;
    });
  }

  /**
   * The bytes of an object, or undefined when they are not on disk. A damaged copy in the cache is dropped.
   * @throws MillraceError `BLOB_DAMAGED` (corrupt) when the damaged one is the only copy.
   */
  async read(
    object: TierObject,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array | undefined> {
    try {
      return await this.#read(object, range);
    } catch (thrown) {
      if (!missing(thrown)) throw thrown;
    }
    // It was on its way from one place to the other: in the lock of its name it stands still.
    return this.#locked(object.name, async () => {
      try {
        return await this.#read(object, range);
      } catch (thrown) {
        if (!missing(thrown)) throw thrown;
        // A rename may say that it failed, and yet have happened.
        if (object.uploaded) return undefined;
        throw this.#damaged(object, 'is gone from the disk', thrown);
      }
    });
  }

  /** After its upload: what was pending becomes a copy in the cache, or goes. */
  async settle(object: TierObject): Promise<void> {
    await this.#locked(object.name, async () => {
      const { name, place, bytes = 0 } = object;
      if (place !== 'pending') return;
      if (this.#local && !object.deleted) await this.#withRoom(() => this.folder.mark('uploaded', name));
      if (object.deleted || object.bytes === undefined || bytes > this.#options.diskBytesMax) {
        await this.#removePending(object);
        return;
      }
      try {
        await this.folder.toCache(name);
        this.#enterCache(object, bytes);
      } catch (thrown) {
        if (!missing(thrown)) throw thrown;
        // An earlier attempt said that it failed, and yet moved it.
        this.#leave(object);
        await this.folder.remove('cache', name).catch(() => {});
      }
      this.#countPending(-1, -bytes);
      void this.#trim();
    });
    await this.#trimming;
  }

  /** Keeps a copy of what the remote has, if there is room; without it nothing happens. `valid`: asked just before. */
  async keep(name: string, bytes: Uint8Array, valid: () => boolean): Promise<void> {
    if (bytes.byteLength > this.#options.diskBytesMax) return;
    await this.#locked(name, async () => {
      const known = this.#objects.get(name);
      if (!valid() || this.#tombstones.has(name) || (known?.place ?? 'away') !== 'away') return;
      if (this.#local && known === undefined) return;
      try {
        await this.folder.add('cache', name, bytes);
      } catch {
        // A cache is only a cache.
        return;
      }
      const object = known ?? { ...newObject(name), uploaded: true, attempted: true };
      object.bytes = bytes.byteLength;
      this.#objects.set(name, object);
      this.#enterCache(object, bytes.byteLength);
      void this.#trim();
    });
    await this.#trimming;
  }

  /**
   * Deletes an object here. With authority `local` it becomes a tombstone unless the remote cannot have it.
   * Its file stays while it is held.
   */
  remove(name: string): Promise<void> {
    return this.#locked(name, async () => {
      const object = this.#objects.get(name);
      if (object === undefined) return;
      if (this.#local && (object.uploaded || object.attempted || object.held)) {
        await this.#withRoom(() => this.folder.mark('deleted', name));
        this.#tombstones.set(name, object);
      }
      // Together with the look above: an upload that begins now sees it.
      object.deleted = true;
      this.#objects.delete(name);
      if (!object.uploaded) this.cancelled++;
      if (object.place === 'pending' && !object.held) await this.#removePending(object);
      if (object.place === 'cache') await this.#removeCopy(object);
      if (this.#local) await this.folder.remove('uploaded', name);
    });
  }

  /** It is not needed for a value any more. */
  release(object: TierObject): Promise<void> {
    object.held = false;
    return this.#locked(object.name, async () => {
      if (object.deleted && object.place === 'pending' && !object.held) await this.#removePending(object);
    });
  }

  /** The remote does not have this deleted object any more, and never will. */
  bury(object: TierObject): Promise<void> {
    return this.#locked(object.name, async () => {
      // Some may be there: a removal failed, or came back after a power cut. Without the tombstone they would live again.
      for (const what of ['pending', 'cache', 'uploaded', 'deleted'] as const) {
        await this.folder.remove(what, object.name);
      }
      this.#tombstones.delete(object.name);
    });
  }

  /** Drops the copy in the cache, if there is one. */
  async dropCopy(name: string): Promise<void> {
    const object = this.#cached.get(name);
    if (object !== undefined && !this.#closed) await this.#removeCopy(object);
  }

  /** Remembers that a value has this name, durably. */
  async addValue(name: string): Promise<void> {
    if (this.values.has(name)) return;
    await this.#locked(name, () => this.#withRoom(() => this.folder.mark('values', name)));
    this.values.add(name);
  }

  /** Remembers that the remote's value of this name is ours, durably. */
  addMirrored(name: string): Promise<void> {
    return this.#locked(name, () => this.#withRoom(() => this.folder.mark('mirrored', name)));
  }

  /** Refuses changes from now on (`STORE_CLOSED`), and resolves when nothing changes files any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#locks.idle();
    await this.#trimming;
  }

  /** Changes of what one name stands for: one at a time, none once it is closed. */
  #locked<T>(name: string, change: () => Promise<T>): Promise<T> {
    return this.#locks.run(name, () => {
      if (!this.#closed) return change();
      throw new MillraceError('closed', 'STORE_CLOSED', `${this.folder.root}: the blob store was closed`);
    });
  }

  async #scan(): Promise<void> {
    const { pending, cache, uploaded, deleted, values } = await this.folder.scan();
    const lateUntilMs = this.#options.clock.monotonicMs() + this.#options.lateWriteMs;
    const known = (name: string): TierObject => ({ ...newObject(name), attempted: true, lateUntilMs });
    for (const name of values) this.values.add(name);
    for (const name of deleted) this.#tombstones.set(name, { ...known(name), deleted: true });
    for (const name of uploaded) {
      if (this.#tombstones.has(name)) await this.folder.remove('uploaded', name);
      else this.#objects.set(name, { ...known(name), uploaded: true });
    }
    for (const { name, bytes } of pending) {
      if (this.#tombstones.has(name)) {
        await this.folder.remove('pending', name);
        continue;
      }
      this.#objects.set(name, { ...known(name), place: 'pending', bytes });
      this.#countPending(1, bytes ?? 0);
    }
    for (const { name, bytes } of cache) {
      const object = this.#objects.get(name) ?? { ...known(name), uploaded: true };
      const orphan = this.#local && !this.#objects.has(name);
      if (orphan || object.place === 'pending') {
        await this.folder.remove('cache', name);
        continue;
      }
      object.bytes = bytes;
      this.#objects.set(name, object);
      this.#enterCache(object, bytes);
    }
    await this.#trim();
  }

  async #read(
    object: TierObject,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array | undefined> {
    const { name, place, bytes } = object;
    if (place === 'away') return undefined;
    try {
      if (bytes === undefined) throw this.#damaged(object, 'has a size that it cannot have');
      const read = await this.folder.read(place, name, bytes, range);
      if (this.#cached.delete(name)) this.#cached.set(name, object);
      return read;
    } catch (thrown) {
      if (place === 'pending') throw thrown;
      // A copy that is damaged, gone or cannot be read does not stand before the remote's.
      if (isDamaged(thrown) || missing(thrown)) await this.dropCopy(name);
      return undefined;
    }
  }

  #enterCache(object: TierObject, bytes: number): void {
    object.place = 'cache';
    this.#cached.set(object.name, object);
    this.#cachedBytes += bytes;
  }

  async #addPending(name: string, bytes: Uint8Array): Promise<void> {
    try {
      await this.folder.add('pending', name, bytes);
    } catch (thrown) {
      if (!hasCode(thrown, 'DISK_EXISTS')) throw thrown;
      // The index does not know it: a put or a removal left it that said that it failed.
      await this.folder.remove('pending', name);
      await this.folder.add('pending', name, bytes);
    }
  }

  async #removePending(object: TierObject): Promise<void> {
    this.#countPending(-1, -(object.bytes ?? 0));
    this.#leave(object);
    await this.folder.remove('pending', object.name);
  }

  /**
   * Needs no lock, so that whoever holds one may make room: the index changes first, and a file that is there without the
   * index, or the other way round, harms nobody.
   */
  async #removeCopy(object: TierObject): Promise<void> {
    this.#cached.delete(object.name);
    this.#cachedBytes -= object.bytes ?? 0;
    this.#leave(object);
    await this.folder.remove('cache', object.name);
  }

  /** Its bytes are not on disk any more. With authority `remote` nothing else is known of it. */
  #leave(object: TierObject): void {
    object.place = 'away';
    object.bytes = undefined;
    if (!this.#local && this.#objects.get(object.name) === object) this.#objects.delete(object.name);
  }

  #trim(): Promise<void> {
    this.#trimming = this.#trimming.then(async () => {
      while (this.#cachedBytes > this.#options.diskBytesMax) if (!(await this.#evictOldest())) return;
    });
    return this.#trimming;
  }

  async #evictOldest(): Promise<boolean> {
    const [oldest] = this.#cached.values();
    if (oldest === undefined) return false;
    // A file that cannot be removed is forgotten until the next open.
    await this.#removeCopy(oldest).catch(() => {});
    return true;
  }

  /** A full disk gives up its cache first. */
  async #withRoom(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await write();
      } catch (thrown) {
        if (!hasCode(thrown, 'DISK_FULL') || !(await this.#evictOldest())) throw thrown;
      }
    }
  }

  #countPending(objects: number, bytes: number): void {
    this.#pendingObjects += objects;
    this.#pendingBytes += bytes;
  }

  #damaged(object: TierObject, why: string, cause?: unknown): MillraceError {
    const message = `${this.folder.root}: ${object.name}, which was not uploaded yet, ${why}`;
    return new MillraceError('corrupt', 'BLOB_DAMAGED', message, { cause, context: { name: object.name } });
  }

  #full(name: string, bytes: number): MillraceError {
    const { pendingBytesMax } = this.#options;
    const { objects, bytes: pendingBytes } = this.pending;
    return new MillraceError(
      'unavailable',
      'UPLOADS_FULL',
      `no room for ${name} (${bytes} bytes): ${objects} objects of ${pendingBytes} bytes in ${this.folder.root} wait for their upload, ` +
        `and pendingBytesMax is ${pendingBytesMax}. Look whether the remote store can be reached; try again later or raise the limit`,
      { context: { name, bytes, pendingBytes, pendingBytesMax } },
    );
  }
}

function newObject(name: string): TierObject {
  return {
    name,
    place: 'away',
    bytes: undefined,
    uploaded: false,
    attempted: false,
    lateUntilMs: Number.NEGATIVE_INFINITY,
    deleted: false,
    held: false,
    stuck: undefined,
  };
}

function missing(thrown: unknown): boolean {
  return hasCode(thrown, 'DISK_NOT_FOUND');
}
