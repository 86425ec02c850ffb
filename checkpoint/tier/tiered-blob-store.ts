import { type Clock, type Disk, type Logger, MillraceError, type Random } from '../../base/index.js';
import { Backoff } from '../blob/backoff.js';
import { hasCode, reasonOf } from '../blob/blob-errors.js';
import { validateBlobName } from '../blob/blob-name.js';
import type { BlobStore } from '../blob/blob-store.js';
import { ByteLru } from '../blob/byte-lru.js';
import { DirectoryBlobStore } from '../blob/directory-blob-store.js';
import { OutageWatch } from '../blob/outage-watch.js';
import { ByteThrottle } from './byte-throttle.js';
import { ChangeSignal } from './change-signal.js';
import { DiskTier, type TierObject } from './disk-tier.js';
import { type TierSettings, tierSettings } from './tier-settings.js';
import { UploadQueue } from './upload-queue.js';
import { ValueMirror } from './value-mirror.js';

/** Copies being written to the disk at a time; what is fetched while as many are is not kept. */
const keepingMax = 4;

type Range = { readonly offset: number; readonly length: number };

export interface TierStatus {
  /** Objects whose only copy known to be whole is on this disk, and their bytes. */
  readonly pendingObjects: number;
  readonly pendingBytes: number;
  /** Since the open. */
  readonly uploadedObjects: number;
  readonly uploadedBytes: number;
  readonly uploadFailures: number;
  /** How long the remote has not answered; undefined while it does. */
  readonly awayMs: number | undefined;
  readonly diskBytes: number;
  readonly memoryBytes: number;
  /** Why something will never reach the remote. */
  readonly problem: MillraceError | undefined;
}

export interface TieredBlobStoreOptions {
  readonly disk: Disk;
  /** A folder that one process at a time has open. */
  readonly root: string;
  readonly remote: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly settings: Pick<TierSettings, 'authority'> & Partial<TierSettings>;
}

/**
 * Memory, then a folder, then a remote store. An object is first written to the folder, synced, and uploaded in the
 * background, for as long as that takes; what is not uploaded yet is never evicted and survives the process. Uploaded
 * objects stay in the folder, and small ones in memory, while there is room.
 *
 * authority `remote`: `put` resolves when the remote has the object; values, `list` and `delete` are the remote's. Any
 *   number of hosts, each with a folder of its own, share the remote. What a put did not resolve for is not there, but may
 *   appear later: it is uploaded even after a restart. A copy may outlive its object, when another host deletes that: names
 *   are never used again, so nobody asks for it.
 * authority `local`: everything resolves when the disk has it, and works while the remote is away. The remote follows
 *   (`value-mirror.ts`): at every moment it holds a state that was the local one before, with every object that its
 *   values refer to; it can be opened and restored from alone. It must be empty at first, and is this folder's from then
 *   on. `list` names what the folder knows, uploaded or not.
 *
 * A name is never used again: `put` of a name whose deletion is on its way is `BLOB_EXISTS`. An upload that lands after its
 * deletion is deleted again (`local`), or left to whoever lists the remote (`remote`).
 *
 * Copies on disk carry checksums: a damaged one is dropped and read from the remote; damage to the only copy is
 * `BLOB_DAMAGED` (corrupt). What the remote delivered wrong in the first place is not noticed here beyond its length: a
 * caller whose own checksum fails calls `forget` and reads again.
 */
export class TieredBlobStore implements BlobStore {
  readonly location: string;
  readonly #settings: TierSettings;
  readonly #remote: BlobStore;
  readonly #tier: DiskTier;
  readonly #queue: UploadQueue;
  readonly #memory: ByteLru;
  readonly #backoff: Backoff;
  readonly #outage: OutageWatch;
  readonly #changed: ChangeSignal;
  /** With authority `local`. */
  readonly #values: DirectoryBlobStore | undefined;
  readonly #mirror: ValueMirror | undefined;
  readonly #fetches = new Map<string, Promise<Uint8Array>>();
  /** Changes with every delete: what was read before must not be kept after it. */
  #deletes = 0;
  #keeping = 0;

  private constructor(
    options: TieredBlobStoreOptions,
    settings: TierSettings,
    tier: DiskTier,
    values?: DirectoryBlobStore,
  ) {
    const { remote, clock, random, logger, root } = options;
    this.location = values === undefined ? remote.location : `directory ${root}, mirrored to ${remote.location}`;
    this.#settings = settings;
    this.#remote = remote;
    this.#tier = tier;
    this.#values = values;
    this.#memory = new ByteLru(settings.memoryBytesMax);
    this.#changed = new ChangeSignal();
    this.#backoff = new Backoff({ clock, random, firstMs: 100, maxMs: 5_000 });
    this.#outage = new OutageWatch({ location: remote.location, clock, logger });
    const shared = { remote, clock, logger, backoff: this.#backoff, outage: this.#outage, changed: this.#changed };
    this.#queue = new UploadQueue({
      ...shared,
      throttle: new ByteThrottle(clock, settings.uploadBytesPerSecondMax),
      uploadsMax: settings.uploadsMax,
      lateWriteMs: settings.lateWriteMs,
      load: (object) => this.#load(object),
      settle: (object) => tier.settle(object),
      impossible: (object, error) => this.#impossible(object, error, logger),
    });
    if (values === undefined) return;
    const { uploadsMax: deletesMax } = settings;
    this.#mirror = new ValueMirror({
      ...shared,
      local: values,
      tier,
      queue: this.#queue,
      nonce: random.nonce(),
      deletesMax,
    });
  }

  /**
   * Opens the folder, or makes it, and goes on with what is pending there. Goes on after two seconds when the remote is away.
   * @throws MillraceError `TIER_SETTINGS`, `TIER_AUTHORITY`, `MIRROR_TAKEN`, `MIRROR_NOT_EMPTY` (invalid); `STORE_UNAVAILABLE`
   *   when the folder cannot be read or made.
   */
  static async open(options: TieredBlobStoreOptions): Promise<TieredBlobStore> {
    const settings = tierSettings(options.settings);
    const { disk, root, random, clock } = options;
    const { authority, diskBytesMax, pendingBytesMax, lateWriteMs } = settings;
    const [tier, values] = await onDisk(`directory ${root}`, 'open', async () => [
      await DiskTier.open({ disk, root, random, clock, authority, diskBytesMax, pendingBytesMax, lateWriteMs }),
      authority === 'local' ? await DirectoryBlobStore.open({ disk, root: `${root}/local`, random }) : undefined,
    ]);
    const store = new TieredBlobStore(options, settings, tier, values);
    for (const object of tier.toUpload()) store.#queue.add(object);
    try {
      if (store.#mirror === undefined) store.#queue.start();
      else await store.#mirror.start();
    } catch (thrown) {
      await store.close();
      throw thrown;
    }
    return store;
  }

  get status(): TierStatus {
    const { objects: pendingObjects, bytes: pendingBytes } = this.#tier.pending;
    const { uploadedObjects, uploadedBytes, failures: uploadFailures } = this.#queue;
    return {
      pendingObjects,
      pendingBytes,
      uploadedObjects,
      uploadedBytes,
      uploadFailures,
      awayMs: this.#outage.awayMs,
      diskBytes: this.#tier.cachedBytes,
      memoryBytes: this.#memory.bytes,
      problem: this.#mirror?.blocked ?? this.#tier.toUpload().find((object) => object.stuck !== undefined)?.stuck,
    };
  }

  /**
   * @throws MillraceError `UPLOADS_FULL` (unavailable) when `pendingBytesMax` would be exceeded; with authority `remote`
   *   `STORE_CLOSED` and `UPLOAD_CANCELLED` (closed) when it was closed, or the object deleted, before the upload was done.
   */
  async put(name: string, bytes: Uint8Array): Promise<void> {
    validateBlobName(name);
    this.#assertOpen();
    const object = await onDisk(this.location, `put ${name}`, () => this.#tier.add(name, bytes));
    if (this.#mirror === undefined) {
      try {
        // Read again from the disk: an attempt may outlive this call, and then the bytes are the caller's again.
        await this.#queue.upload(object);
      } catch (thrown) {
        if (!hasCode(thrown, 'STORE_CLOSED')) await this.#tier.remove(name).catch(() => {});
        throw thrown;
      }
    } else this.#queue.add(object);
    if (!object.deleted && this.#memory.fits(bytes.byteLength)) this.#memory.set(name, new Uint8Array(bytes));
  }

  async get(name: string, range?: Range): Promise<Uint8Array> {
    validateBlobName(name);
    this.#assertOpen();
    const object = this.#readable(name);
    if (object === undefined && this.#mirror !== undefined) throw this.#notFound(name);
    const hot = this.#memory.get(name);
    if (hot !== undefined)
      return new Uint8Array(range === undefined ? hot : hot.subarray(range.offset, range.offset + range.length));
    if (object !== undefined) {
      const deletes = this.#deletes;
      const bytes = await onDisk(this.location, `get ${name}`, () => this.#tier.read(object, range));
      if (bytes !== undefined) {
        if (range === undefined && deletes === this.#deletes) this.#keepInMemory(name, bytes);
        return bytes;
      }
    }
    return range === undefined ? this.#fetch(name) : this.#fetchRange(name, range);
  }

  async stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    validateBlobName(name);
    this.#assertOpen();
    const object = this.#readable(name);
    if (object === undefined && this.#mirror !== undefined) return undefined;
    return object?.bytes === undefined ? this.#remote.stat(name) : { bytes: object.bytes };
  }

  /** With authority `local`, the deletion at the remote follows. */
  async delete(name: string): Promise<void> {
    validateBlobName(name);
    this.#assertOpen();
    this.#deletes++;
    try {
      await onDisk(this.location, `delete ${name}`, () => this.#tier.remove(name));
      this.#changed.notify();
      if (this.#mirror !== undefined) return;
      await this.#queue.finished(name);
      await this.#remote.delete(name);
    } finally {
      this.#deletes++;
      this.#memory.delete(name);
      this.#memory.deletePrefix(`${name}\n`);
    }
  }

  async list(prefix: string): Promise<string[]> {
    this.#assertOpen();
    return this.#mirror === undefined ? this.#remote.list(prefix) : this.#tier.names(prefix);
  }

  async read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    this.#assertOpen();
    return (this.#values ?? this.#remote).read(name);
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    validateBlobName(name);
    this.#assertOpen();
    if (this.#values === undefined || this.#mirror === undefined) {
      return this.#remote.compareAndSet(name, expected, bytes);
    }
    await onDisk(this.location, `compare-and-set ${name}`, () => this.#tier.addValue(name));
    try {
      return await this.#values.compareAndSet(name, expected, bytes);
    } finally {
      // Also when the outcome is unknown.
      this.#mirror.touch(name);
    }
  }

  /** Drops the copies in memory and on disk of what the remote has, for a caller who found them wrong. */
  async forget(name: string): Promise<void> {
    this.#deletes++;
    this.#memory.delete(name);
    this.#memory.deletePrefix(`${name}\n`);
    await onDisk(this.location, `forget ${name}`, () => this.#tier.dropCopy(name));
  }

  /**
   * Resolves when the remote has everything; `onProgress` is told what is left, whenever that changes.
   * @throws MillraceError `STORE_CLOSED`; the reason when something can never be uploaded.
   */
  async drain(onProgress?: (status: TierStatus) => void): Promise<void> {
    for (;;) {
      this.#assertOpen();
      const { status } = this;
      if (status.problem !== undefined) throw status.problem;
      if (status.pendingObjects === 0 && this.#mirror?.idle !== false) return;
      onProgress?.(status);
      await this.#changed.next();
    }
  }

  /**
   * Waits for no upload, only until nothing writes to the folder any more: it can be opened again then, and goes on. Later
   * calls fail with `STORE_CLOSED` (closed).
   */
  async close(): Promise<void> {
    this.#backoff.close();
    this.#queue.close();
    this.#changed.notify();
    await this.#tier.close();
  }

  /** With authority `remote`, what is not uploaded yet is not there yet. */
  #readable(name: string): TierObject | undefined {
    const object = this.#tier.find(name);
    return this.#mirror !== undefined || object?.uploaded === true ? object : undefined;
  }

  async #load(object: TierObject): Promise<Uint8Array> {
    const bytes = this.#memory.get(object.name) ?? (await this.#tier.read(object));
    if (bytes !== undefined) return bytes;
    throw new MillraceError('corrupt', 'BLOB_DAMAGED', `${this.location}: ${object.name} is gone before its upload`);
  }

  async #impossible(object: TierObject, error: MillraceError, logger: Logger): Promise<void> {
    const fields = { name: object.name, remote: this.#remote.location, reason: error.message };
    if (this.#mirror === undefined) {
      // Its put never resolved, and whoever called it is gone.
      logger.warn(fields, 'an object of an earlier process is not uploaded');
      await this.#tier.remove(object.name).catch(() => {});
    } else {
      logger.error(fields, 'an object can never be uploaded');
      object.stuck = error;
    }
    this.#changed.notify();
  }

  async #fetch(name: string): Promise<Uint8Array> {
    let fetch = this.#fetches.get(name);
    if (fetch === undefined) {
      fetch = this.#fetchOnce(name).finally(() => this.#fetches.delete(name));
      this.#fetches.set(name, fetch);
    }
    return new Uint8Array(await fetch);
  }

  async #fetchOnce(name: string): Promise<Uint8Array> {
    const deletes = this.#deletes;
    const [bytes, stat] = await Promise.all([this.#remote.get(name), this.#remote.stat(name)]);
    if (stat !== undefined && stat.bytes !== bytes.byteLength) {
      const why = `${bytes.byteLength} of ${stat.bytes} bytes came`;
      throw new MillraceError(
        'unavailable',
        'STORE_UNAVAILABLE',
        `${this.#remote.location}: get ${name} failed: ${why}`,
      );
    }
    const valid = () => deletes === this.#deletes && !this.#backoff.closed;
    if (valid()) this.#keepInMemory(name, bytes);
    if (valid() && this.#keeping < keepingMax) {
      this.#keeping++;
      const done = () => {
        this.#keeping--;
      };
      this.#tier.keep(name, bytes, valid).then(done, done);
    }
    return bytes;
  }

  async #fetchRange(name: string, range: Range): Promise<Uint8Array> {
    const key = `${name}\n${range.offset}+${range.length}`;
    const hot = this.#memory.get(key);
    if (hot !== undefined) return new Uint8Array(hot);
    const deletes = this.#deletes;
    const bytes = await this.#remote.get(name, range);
    if (deletes === this.#deletes) this.#keepInMemory(key, bytes);
    return bytes;
  }

  #keepInMemory(key: string, bytes: Uint8Array): void {
    if (this.#memory.fits(bytes.byteLength)) this.#memory.set(key, new Uint8Array(bytes));
  }

  #notFound(name: string): MillraceError {
    return new MillraceError('unavailable', 'BLOB_NOT_FOUND', `${this.location}: no object ${name}`);
  }

  #assertOpen(): void {
    if (!this.#backoff.closed) return;
    throw new MillraceError('closed', 'STORE_CLOSED', `${this.location}: the blob store was closed`);
  }
}

/** What the disk cannot do, the store cannot do. */
async function onDisk<T>(location: string, what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    if (!(thrown instanceof MillraceError) || !thrown.code.startsWith('DISK_')) throw thrown;
    const message = `${location}: ${what} failed: ${reasonOf(thrown)}`;
    throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', message, { cause: thrown });
  }
}
