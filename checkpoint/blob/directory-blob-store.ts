import { type Disk, MillraceError, type Random } from '../../base/index.js';
import { validateBlobName } from './blob-name.js';
import type { BlobStore, BlobVersion } from './blob-store.js';

/**
 * Versions of a value that stay. Also the bound of the argument in `compareAndSet`: number n is removed only by one who has
 * seen n + versionsKept, so whoever links n and then sees nothing as high as that was the first ever to link n.
 */
const versionsKept = 8;
/** A listing or a temp file may vanish under a concurrent cleanup; each retry means that another writer made progress. */
const attemptsMax = 16;

/**
 * A BlobStore in a folder, shared by any number of processes of one host (or of hosts with a file system whose exclusive
 * hard links work).
 *
 *     ROOT/objects/NAME              immutable; linked from a complete, synced temp file: never half there
 *     ROOT/values/NAME/0000000042    version 42 of a value; the highest number is the value
 *     ROOT/temp/NONCE                what a dead process left here is removed at the next open
 *     ../.synced                     a folder that has this was synced again after an I/O error
 *
 * Compare-and-set = an exclusive hard link of the next number: the file system picks the one winner, across processes.
 */
export class DirectoryBlobStore implements BlobStore {
  readonly location: string;
  readonly #disk: Disk;
  readonly #root: string;
  readonly #random: Random;
  readonly #folders = new Set<string>();
  /** Folders with the number of links that failed there, perhaps after they were made: seen by all, and gone with the power. */
  readonly #doubtful = new Map<string, number>();

  private constructor(disk: Disk, root: string, random: Random) {
    this.location = `directory ${root}`;
    this.#disk = disk;
    this.#root = root;
    this.#random = random;
  }

  /** @throws MillraceError `STORE_UNAVAILABLE` when the folder cannot be made. */
  static async open(options: {
    readonly disk: Disk;
    readonly root: string;
    readonly random: Random;
    /** False: it is there, and is left as it is: for tools that only read. Default true. */
    readonly sweep?: boolean;
  }): Promise<DirectoryBlobStore> {
    const store = new DirectoryBlobStore(options.disk, options.root, options.random);
    if (options.sweep === false) return store;
    try {
      await options.disk.makeFolder(`${options.root}/temp`);
      // A live writer whose temp file goes here writes it again (see #create).
      for (const name of await options.disk.list(`${options.root}/temp`)) {
        await options.disk.remove(`${options.root}/temp/${name}`);
      }
    } catch (thrown) {
      throw store.#unavailable('open', '', thrown);
    }
    return store;
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    validateBlobName(name);
    if (!(await this.#create(`objects/${name}`, bytes, `put ${name}`))) {
      throw new MillraceError('invalid', 'BLOB_EXISTS', `${this.location}: ${name} exists`);
    }
  }

  async get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    validateBlobName(name);
    try {
      await this.#settle(`objects/${name}`);
      return await this.#disk.read(`${this.#root}/objects/${name}`, range);
    } catch (thrown) {
      if (hasCode(thrown, 'DISK_NOT_FOUND')) {
        throw new MillraceError('unavailable', 'BLOB_NOT_FOUND', `${this.location}: no object ${name}`, {
          cause: thrown,
        });
      }
      throw this.#unavailable('get', name, thrown);
    }
  }

  async stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    validateBlobName(name);
    try {
      await this.#settle(`objects/${name}`);
      const stat = await this.#disk.stat(`${this.#root}/objects/${name}`);
      return stat === undefined || stat.folder ? undefined : { bytes: stat.bytes };
    } catch (thrown) {
      throw this.#unavailable('stat', name, thrown);
    }
  }

  async delete(name: string): Promise<void> {
    validateBlobName(name);
    try {
      await this.#disk.remove(`${this.#root}/objects/${name}`);
    } catch (thrown) {
      throw this.#unavailable('delete', name, thrown);
    }
  }

  async list(prefix: string): Promise<string[]> {
    const found: string[] = [];
    const visit = async (folder: string): Promise<void> => {
      for (const entry of await this.#disk.list(`${this.#root}/objects/${folder}`)) {
        if (entry.startsWith('.')) continue;
        const name = folder + entry;
        // Only folders that can hold the prefix, or lie below it, are read.
        if (!name.startsWith(prefix) && !prefix.startsWith(name)) continue;
        const stat = await this.#disk.stat(`${this.#root}/objects/${name}`);
        if (stat === undefined) continue;
        if (stat.folder) await visit(`${name}/`);
        else if (name.startsWith(prefix)) found.push(name);
      }
    };
    try {
      await visit('');
    } catch (thrown) {
      throw this.#unavailable('list', prefix, thrown);
    }
    return found.sort();
  }

  async read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    validateBlobName(name);
    try {
      await this.#settle(`values/${name}/`);
      for (let attempt = 0; attempt < attemptsMax; attempt++) {
        const highest = await this.#highest(name);
        if (highest === 0) return undefined;
        try {
          const bytes = await this.#disk.read(`${this.#root}/values/${name}/${versionName(highest)}`);
          return { bytes, version: String(highest) };
        } catch (thrown) {
          // The value moved on by more than `versionsKept` since the listing: list again.
          if (!hasCode(thrown, 'DISK_NOT_FOUND')) throw thrown;
        }
      }
    } catch (thrown) {
      throw this.#unavailable('read', name, thrown);
    }
    throw this.#unavailable('read', name, 'it moves faster than it can be read');
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    validateBlobName(name);
    const what = `compare-and-set ${name}`;
    const current = await this.#attempt(what, () => this.#highest(name));
    if (current !== Number(expected ?? '0')) throw this.#conflict(name, expected, current);
    const mine = current + 1;
    if (!(await this.#create(`values/${name}/${versionName(mine)}`, bytes, what))) {
      throw this.#conflict(name, expected, mine);
    }
    // A writer paused since the check above may have linked a number that was long used, superseded and removed.
    const versions = await this.#attempt(what, () => this.#versions(name));
    const highest = Math.max(...versions);
    if (highest >= mine + versionsKept) throw this.#unavailable(what, '', 'overtaken; the outcome is unknown');
    for (const version of versions) {
      if (version > highest - versionsKept) continue;
      // Removed by someone's next compare-and-set if not by this one.
      await this.#disk.remove(`${this.#root}/values/${name}/${versionName(version)}`).catch(() => {});
    }
    return String(mine);
  }

  async versions(name: string): Promise<BlobVersion[]> {
    validateBlobName(name);
    return this.#attempt(`read ${name}`, async () => {
      const versions: BlobVersion[] = [];
      for (const version of (await this.#versions(name)).sort((a, b) => b - a)) {
        const path = `${this.#root}/values/${name}/${versionName(version)}`;
        // One that cannot be read is removed by now, or on bad ground.
        const bytes = await this.#disk.read(path).catch(() => undefined);
        versions.push({ version: String(version), bytes });
      }
      return versions;
    });
  }

  /** Creates a file that is complete from its first moment; false when the name is taken. */
  async #create(path: string, bytes: Uint8Array, what: string): Promise<boolean> {
    const target = `${this.#root}/${path}`;
    return this.#attempt(what, async () => {
      const folder = folderOf(target);
      if (!this.#folders.has(folder)) {
        await this.#disk.makeFolder(folder);
        this.#folders.add(folder);
      }
      for (let attempt = 1; ; attempt++) {
        const temp = `${this.#root}/temp/${this.#random.nonce()}`;
        let written = false;
        try {
          await this.#disk.write(temp, bytes, { exclusive: true });
          written = true;
          await this.#disk.link(temp, target);
          return true;
        } catch (thrown) {
          if (hasCode(thrown, 'DISK_EXISTS') && written) return false;
          // Another process, opening the store, took our temp file for one of the dead.
          if (hasCode(thrown, 'DISK_NOT_FOUND') && attempt < attemptsMax) continue;
          if (written) this.#doubtful.set(folder, (this.#doubtful.get(folder) ?? 0) + 1);
          throw thrown;
        } finally {
          await this.#disk.remove(temp).catch(() => {});
        }
      }
    });
  }

  /** What stands in the folder of this path may be trusted: it is as durable as it looks. */
  async #settle(path: string): Promise<void> {
    if (this.#doubtful.size === 0) return;
    const folder = folderOf(`${this.#root}/${path}`);
    const doubts = this.#doubtful.get(folder);
    if (doubts === undefined) return;
    const temp = `${this.#root}/temp/${this.#random.nonce()}`;
    await this.#disk.write(temp, new Uint8Array(0), { exclusive: true });
    // Syncs the folder.
    await this.#disk.rename(temp, `${folder}/.synced`);
    if (this.#doubtful.get(folder) === doubts) this.#doubtful.delete(folder);
  }

  async #versions(name: string): Promise<number[]> {
    const names = await this.#disk.list(`${this.#root}/values/${name}`);
    return names.filter((n) => /^\d{10}$/.test(n)).map(Number);
  }

  async #highest(name: string): Promise<number> {
    return Math.max(0, ...(await this.#versions(name)));
  }

  async #attempt<T>(what: string, fn: () => Promise<T>): Promise<T> {
    try {
      return await fn();
    } catch (thrown) {
      throw this.#unavailable(what, '', thrown);
    }
  }

  #conflict(name: string, expected: string | undefined, current: number): MillraceError {
    return new MillraceError(
      'fenced',
      'CAS_CONFLICT',
      `${this.location}: ${name} is at version ${current === 0 ? 'none' : current}, not ${expected ?? 'none'}`,
    );
  }

  #unavailable(what: string, name: string, thrown: unknown): MillraceError {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    const message = `${this.location}: ${[what, name].filter((p) => p !== '').join(' ')} failed: ${reason}`;
    return new MillraceError('unavailable', 'STORE_UNAVAILABLE', message, { cause: thrown });
  }
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

function versionName(version: number): string {
  return String(version).padStart(10, '0');
}

function hasCode(thrown: unknown, code: string): boolean {
  return thrown instanceof MillraceError && thrown.code === code;
}
