/**
 * Files of a simulated host, twice: as every process sees them now (page cache), and as they would be after a power cut.
 * Plain synchronous state; `sim-disk.ts` adds time and faults.
 *
 * What is durable: of a file's bytes, the prefix up to the last sync; of names, those that were there when their folder
 * was last synced. A power cut keeps what is durable, and of the rest what the seed says: any prefix of unsynced
 * bytes, any of the unsynced names and removals.
 */
import { MillraceError, type Random } from '../base/index.js';

export class SimFile {
  #bytes = new Uint8Array(0);
  length = 0;
  synced = 0;

  read(offset: number, length: number): Uint8Array {
    return this.#bytes.slice(Math.min(offset, this.length), Math.min(offset + length, this.length));
  }

  append(bytes: Uint8Array): void {
    const needed = this.length + bytes.length;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.length);
    this.length = needed;
  }

  /** One bit is not what was written any more. */
  rot(bit: number): void {
    if (this.length === 0) return;
    const at = Math.floor(bit / 8) % this.length;
    this.#bytes[at] = (this.#bytes[at] as number) ^ (1 << (bit % 8));
  }

  truncate(length: number): void {
    this.length = Math.min(this.length, length);
    this.synced = Math.min(this.synced, length);
  }
}

const FOLDER = 'folder';
type Entry = SimFile | typeof FOLDER;

export class SimFileSystem {
  readonly capacityBytes: number;
  /** Grows with every change of a name. */
  revision = 0;
  #visible = new Map<string, Entry>();
  #durable = new Map<string, Entry>();

  constructor(capacityBytes = Number.POSITIVE_INFINITY) {
    this.capacityBytes = capacityBytes;
    this.#visible.set('/', FOLDER);
    this.#durable.set('/', FOLDER);
  }

  /** Bytes in all files, each counted once. */
  get usedBytes(): number {
    let sum = 0;
    for (const entry of new Set(this.#visible.values())) if (entry !== FOLDER) sum += entry.length;
    return sum;
  }

  file(path: string): SimFile {
    const entry = this.#entry(path);
    if (entry === undefined) throw notFound(path);
    if (entry === FOLDER) throw failed(path, 'is a folder');
    return entry;
  }

  /** The file, made if it is not there. */
  create(path: string, exclusive: boolean): { readonly file: SimFile; readonly created: boolean } {
    const entry = this.#entry(path);
    if (entry !== undefined) {
      if (exclusive) throw exists(path);
      if (entry === FOLDER) throw failed(path, 'is a folder');
      return { file: entry, created: false };
    }
    this.#parent(path);
    const file = new SimFile();
    this.#visible.set(path, file);
    this.revision++;
    return { file, created: true };
  }

  rename(from: string, to: string): void {
    const entry = this.#entry(from);
    if (entry === undefined) throw notFound(from);
    if (entry === FOLDER) throw failed(from, 'renaming a folder is not simulated');
    this.#parent(to);
    if (this.#visible.get(to) === FOLDER) throw failed(from, `${to} is a folder`);
    this.#visible.delete(from);
    this.#visible.set(to, entry);
    this.revision++;
  }

  link(from: string, to: string): void {
    const entry = this.#entry(from);
    if (entry === undefined) throw notFound(to);
    if (entry === FOLDER) throw failed(to, `${from} is a folder`);
    this.#parent(to);
    if (this.#visible.has(to)) throw exists(to);
    this.#visible.set(to, entry);
    this.revision++;
  }

  remove(path: string): void {
    const entry = this.#visible.get(path);
    if (entry === undefined) return;
    if (entry === FOLDER && this.list(path).length > 0) throw failed(path, 'is not empty');
    this.#visible.delete(path);
    this.revision++;
  }

  makeFolder(path: string): void {
    let made = '';
    for (const part of path.split('/').slice(1)) {
      const above = made;
      made += `/${part}`;
      const entry = this.#visible.get(made);
      if (entry === FOLDER) continue;
      if (entry !== undefined) throw made === path ? exists(path) : failed(path, `${made} is a file`);
      this.#visible.set(made, FOLDER);
      this.syncFolder(above === '' ? '/' : above);
    }
  }

  list(path: string): string[] {
    const entry = this.#entry(path);
    if (entry === undefined) return [];
    if (entry !== FOLDER) throw failed(path, 'is not a folder');
    const names: string[] = [];
    for (const other of this.#visible.keys()) if (folderOf(other) === path && other !== '/') names.push(nameOf(other));
    return names.sort();
  }

  /** Files whose path begins so. */
  paths(prefix: string): string[] {
    return [...this.#visible]
      .filter(([path, entry]) => entry !== FOLDER && path.startsWith(prefix))
      .map(([path]) => path);
  }

  stat(path: string): { readonly bytes: number; readonly folder: boolean } | undefined {
    const entry = this.#entry(path);
    if (entry === undefined) return undefined;
    return entry === FOLDER ? { bytes: 0, folder: true } : { bytes: entry.length, folder: false };
  }

  /** Whether a power cut leaves this file as it is. */
  isDurable(path: string): boolean {
    const entry = this.#visible.get(path);
    if (entry === undefined || entry === FOLDER) return false;
    return this.#durable.get(path) === entry && entry.synced === entry.length;
  }

  /** The names in this folder, as they are now, survive a power cut. */
  syncFolder(path: string): void {
    for (const name of this.#durable.keys()) if (folderOf(name) === path && name !== '/') this.#durable.delete(name);
    for (const [name, entry] of this.#visible) if (folderOf(name) === path) this.#durable.set(name, entry);
  }

  /** What is left after the host lost power and came back. */
  powerCut(random: Random): void {
    const left = new Map<string, Entry>();
    for (const path of new Set([...this.#durable.keys(), ...this.#visible.keys()])) {
      const now = this.#visible.get(path);
      const then = this.#durable.get(path);
      const entry = now === then || random.chance(0.5) ? now : then;
      if (entry !== undefined) left.set(path, entry);
    }
    for (const path of [...left.keys()]) if (!hasFolders(left, path)) left.delete(path);
    for (const entry of new Set(left.values())) {
      if (entry === FOLDER) continue;
      entry.truncate(entry.synced + random.below(entry.length - entry.synced + 1));
      entry.synced = entry.length;
    }
    this.#visible = left;
    this.#durable = new Map(left);
    this.revision++;
  }

  #entry(path: string): Entry | undefined {
    const entry = this.#visible.get(path);
    if (entry !== undefined) return entry;
    for (let above = folderOf(path); above !== '/'; above = folderOf(above)) {
      const found = this.#visible.get(above);
      if (found === FOLDER) return undefined;
      if (found !== undefined) throw failed(path, `${above} is not a folder`);
    }
    return undefined;
  }

  #parent(path: string): void {
    const parent = folderOf(path);
    const entry = this.#entry(parent);
    if (entry === undefined) throw notFound(path);
    if (entry !== FOLDER) throw failed(path, `${parent} is not a folder`);
  }
}

function hasFolders(entries: ReadonlyMap<string, Entry>, path: string): boolean {
  for (let above = folderOf(path); above !== '/'; above = folderOf(above)) {
    if (entries.get(above) !== FOLDER) return false;
  }
  return true;
}

export function folderOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function notFound(path: string): MillraceError {
  return new MillraceError('unavailable', 'DISK_NOT_FOUND', `${path} does not exist`, { context: { path } });
}

function exists(path: string): MillraceError {
  return new MillraceError('invalid', 'DISK_EXISTS', `${path} exists already`, { context: { path } });
}

export function failed(path: string, why: string): MillraceError {
  return new MillraceError('unavailable', 'DISK_FAILED', `${path}: ${why}`, { context: { path } });
}

export function full(path: string, freeBytes: number): MillraceError {
  const message = `no room for ${path} (${freeBytes} bytes free)`;
  return new MillraceError('unavailable', 'DISK_FULL', message, { context: { path } });
}
