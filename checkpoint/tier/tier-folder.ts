import { type Disk, MillraceError, type Random } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import { checkedBytes, checkedFile, readChecked } from './checked-file.js';

/** Whose word counts: what the remote store has, or what this folder has. */
export type TierAuthority = 'local' | 'remote';

/** Where an object's bytes are on disk. */
export type TierPlace = 'pending' | 'cache';

export interface TierScan {
  readonly pending: readonly { readonly name: string; readonly bytes: number | undefined }[];
  readonly cache: readonly { readonly name: string; readonly bytes: number }[];
  readonly uploaded: readonly string[];
  readonly deleted: readonly string[];
  readonly values: readonly string[];
}

/**
 * The files of one tier on disk: names and bytes, no policy. What `Disk` throws passes through.
 *
 *     ROOT/tier              whose folder this is: authority and a random id
 *     ROOT/pending/NAME      an object that the remote is not known to have: the only copy (`checked-file.ts`)
 *     ROOT/cache/NAME        a copy of an object that the remote has: may go at any time (`checked-file.ts`)
 *     ROOT/temp/NONCE        what a dead process was writing; removed at the next open
 *
 * and with authority `local`, empty files but for the last:
 *
 *     ROOT/uploaded/NAME     the remote has this object; it is listed from here
 *     ROOT/deleted/NAME      deleted here; the remote may still have it
 *     ROOT/values/NAME       a value of this name was set here, and belongs to the remote too
 *     ROOT/mirrored/NAME     it was, or is just being, set there by us
 *     ROOT/local/            the values (a DirectoryBlobStore)
 *
 * Every name is durable when its call resolves. Removals may come back after a power cut: each reader of `scan` can stand
 * a file more: `deleted` outweighs all, `pending` outweighs `uploaded` and `cache`.
 */
export class TierFolder {
  readonly root: string;
  /** Random, the same as long as the folder lives. */
  readonly id: string;
  readonly #disk: Disk;
  readonly #random: Random;
  readonly #folders = new Set<string>();

  private constructor(disk: Disk, root: string, random: Random, id: string) {
    this.#disk = disk;
    this.root = root;
    this.#random = random;
    this.id = id;
  }

  /** @throws MillraceError `TIER_AUTHORITY` (invalid) when the folder was made with another one; what `Disk` throws. */
  static async open(disk: Disk, root: string, random: Random, authority: TierAuthority): Promise<TierFolder> {
    await disk.makeFolder(`${root}/temp`);
    for (const name of await disk.list(`${root}/temp`)) await disk.remove(`${root}/temp/${name}`);
    const nonce = random.nonce();
    const fresh = new TierFolder(disk, root, random, nonce);
    if ((await disk.stat(`${root}/tier`)) === undefined) {
      await fresh.#replace('tier', new TextEncoder().encode(`millrace-tier 1 ${authority} ${nonce}\n`));
      return fresh;
    }
    const text = new TextDecoder().decode(await disk.read(`${root}/tier`));
    const match = /^millrace-tier 1 (local|remote) ([0-9a-f]{16})\n$/.exec(text);
    if (match === null) throw new MillraceError('corrupt', 'TIER_DAMAGED', `${root}/tier is damaged: ${text}`);
    if (match[1] !== authority) {
      const message = `${root} is a tier with authority ${match[1]}, not ${authority}: use another folder`;
      throw new MillraceError('invalid', 'TIER_AUTHORITY', message);
    }
    return new TierFolder(disk, root, random, match[2] as string);
  }

  /** What is there. A cached file that no one can have written is removed; a pending one has no size then. */
  async scan(): Promise<TierScan> {
    const pending: { name: string; bytes: number | undefined }[] = [];
    for (const { name, fileBytes } of await this.#walk('pending'))
      pending.push({ name, bytes: checkedBytes(fileBytes) });
    const cache: { name: string; bytes: number }[] = [];
    for (const { name, fileBytes } of await this.#walk('cache')) {
      const bytes = checkedBytes(fileBytes);
      if (bytes === undefined) await this.remove('cache', name);
      else cache.push({ name, bytes });
    }
    const names = async (folder: string) => (await this.#walk(folder)).map(({ name }) => name);
    return {
      pending,
      cache,
      uploaded: await names('uploaded'),
      deleted: await names('deleted'),
      values: await names('values'),
    };
  }

  /** @throws MillraceError `DISK_EXISTS` when the name is taken in this place. */
  async add(place: TierPlace, name: string, bytes: Uint8Array): Promise<void> {
    const temp = await this.#temp(checkedFile(bytes));
    try {
      await this.#disk.link(temp, await this.#path(place, name));
    } finally {
      await this.#disk.remove(temp).catch(() => {});
    }
  }

  /** @throws MillraceError `BLOB_DAMAGED` (corrupt); `DISK_NOT_FOUND` when it is not in this place. */
  read(
    place: TierPlace,
    name: string,
    bytes: number,
    range?: { readonly offset: number; readonly length: number },
  ): Promise<Uint8Array> {
    return readChecked(this.#disk, `${this.root}/${place}/${name}`, bytes, range);
  }

  async toCache(name: string): Promise<void> {
    await this.#disk.rename(`${this.root}/pending/${name}`, await this.#path('cache', name));
  }

  /** Says something of a name, durably. */
  async mark(what: 'uploaded' | 'deleted' | 'values' | 'mirrored', name: string): Promise<void> {
    try {
      await this.#disk.write(await this.#path(what, name), new Uint8Array(0), { exclusive: true });
    } catch (thrown) {
      if (!hasCode(thrown, 'DISK_EXISTS')) throw thrown;
    }
  }

  async isMarked(what: 'mirrored', name: string): Promise<boolean> {
    return (await this.#disk.stat(`${this.root}/${what}/${name}`)) !== undefined;
  }

  async remove(what: TierPlace | 'uploaded' | 'deleted', name: string): Promise<void> {
    await this.#disk.remove(`${this.root}/${what}/${name}`);
  }

  async #walk(folder: string): Promise<{ readonly name: string; readonly fileBytes: number }[]> {
    const found: { readonly name: string; readonly fileBytes: number }[] = [];
    const visit = async (below: string): Promise<void> => {
      for (const entry of await this.#disk.list(`${this.root}/${folder}/${below}`)) {
        const stat = await this.#disk.stat(`${this.root}/${folder}/${below}${entry}`);
        if (stat?.folder === true) await visit(`${below}${entry}/`);
        else if (stat !== undefined) found.push({ name: below + entry, fileBytes: stat.bytes });
      }
    };
    await visit('');
    return found;
  }

  async #replace(name: string, bytes: Uint8Array): Promise<void> {
    await this.#disk.rename(await this.#temp(bytes), `${this.root}/${name}`);
  }

  async #temp(bytes: Uint8Array): Promise<string> {
    const temp = `${this.root}/temp/${this.#random.nonce()}`;
    // Its name need not last: the link or rename that follows makes the final one durable.
    await this.#disk.write(temp, bytes);
    return temp;
  }

  async #path(folder: string, name: string): Promise<string> {
    const path = `${this.root}/${folder}/${name}`;
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (!this.#folders.has(parent)) {
      await this.#disk.makeFolder(parent);
      this.#folders.add(parent);
    }
    return path;
  }
}
