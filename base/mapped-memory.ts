import { closeSync, existsSync, fstatSync, linkSync, openSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { MillraceError } from './errors.js';
import { recordMapping } from './mapping-ledger.js';
import { checkRegionRequest, memoryExists, memoryFull, memoryNotFound } from './memory-region-errors.js';
import { loadMmap, type Mmap } from './mmap.js';
import { systemRandom } from './random.js';
import { regionOver, type SharedMemory, type SharedRegion } from './shared-memory.js';

export interface MappedMemoryOptions {
  /** An existing folder in memory-backed storage (tmpfs), e.g. `/dev/shm/...`. Never on a disk: a lost page is SIGBUS. */
  readonly folder: string;
  /** In a worker thread: where the mappings are recorded, so that its host can unmap them (`mapping-ledger.ts`). */
  readonly ledger?: SharedArrayBuffer;
}

/**
 * Regions are files, one each, that any process may map. Nothing is unmapped while its thread lives; `retire` puts
 * anonymous memory over a mapping.
 *
 * All pages of a region are taken from the folder's file system before it has its name: a write to a page that the file
 * system cannot give is SIGBUS, and whoever else uses `/dev/shm` could bring it about at any time. That takes 0.3 ms per
 * MiB, in pieces between which the event loop turns.
 *
 * @throws MillraceError `MAPPING_UNAVAILABLE` (unavailable) where memory cannot be mapped.
 */
export function mappedMemory(options: MappedMemoryOptions): SharedMemory {
  return new MappedMemory(options, loadMmap());
}

/** Taken in a millisecond or two. */
const PIECE_BYTES = 4 * 2 ** 20;

interface Mapping {
  readonly region: SharedRegion;
  readonly inode: number;
}

class MappedMemory implements SharedMemory {
  readonly #folder: string;
  readonly #ledger: SharedArrayBuffer | undefined;
  readonly #mmap: Mmap;
  /** By access and name. */
  readonly #mappings = new Map<string, Mapping>();
  readonly #addresses = new WeakMap<SharedRegion, bigint>();

  constructor(options: MappedMemoryOptions, mmap: Mmap) {
    this.#folder = options.folder;
    this.#ledger = options.ledger;
    this.#mmap = mmap;
  }

  async create(name: string, byteLength: number): Promise<SharedRegion> {
    checkRegionRequest(name, byteLength);
    this.#checkFits(name, byteLength);
    const unfinished = join(this.#folder, `.${systemRandom().nonce()}`);
    const fd = this.#try(name, () => openSync(unfinished, 'wx+', 0o600));
    try {
      await this.#allocate(name, fd, byteLength);
      // The name appears only now, with the size already right: nobody opens half a region.
      this.#try(name, () => linkSync(unfinished, this.#path(name)));
      return this.#map(name, 'write', fd);
    } finally {
      closeSync(fd);
      rmSync(unfinished, { force: true });
    }
  }

  async open(name: string, access: 'read' | 'write'): Promise<SharedRegion> {
    const fd = this.#try(name, () => openSync(this.#path(name), 'r+'));
    try {
      return this.#map(name, access, fd);
    } finally {
      closeSync(fd);
    }
  }

  async remove(name: string): Promise<void> {
    rmSync(this.#path(name), { force: true });
    this.#mappings.delete(`read ${name}`);
    this.#mappings.delete(`write ${name}`);
  }

  retire(region: SharedRegion): void {
    const address = this.#addresses.get(region);
    if (address === undefined) return;
    this.#addresses.delete(region);
    for (const key of [`read ${region.name}`, `write ${region.name}`]) {
      if (this.#mappings.get(key)?.region === region) this.#mappings.delete(key);
    }
    this.#mmap.blank(address, region.bytes.length);
  }

  async list(): Promise<string[]> {
    return this.#files().map(decodeURIComponent).sort();
  }

  #map(name: string, access: 'read' | 'write', fd: number): SharedRegion {
    const { ino, size } = fstatSync(fd);
    const key = `${access} ${name}`;
    const known = this.#mappings.get(key);
    // The inode tells a region from an earlier one of the same name; a mapped file's inode is not reused.
    if (known?.inode === ino) return known.region;
    const { address, buffer } = this.#mmap.mapFile(fd, size, access === 'write' ? 'shared' : 'private');
    if (this.#ledger !== undefined) recordMapping(this.#ledger, address, size);
    const region = regionOver(name, buffer);
    this.#mappings.set(key, { region, inode: ino });
    this.#addresses.set(region, address);
    return region;
  }

  async #allocate(name: string, fd: number, byteLength: number): Promise<void> {
    for (let at = 0; at < byteLength; at += PIECE_BYTES) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      const errno = this.#mmap.allocate(fd, at, Math.min(PIECE_BYTES, byteLength - at));
      if (errno === 0) continue;
      // What this one took so far is free again in a moment.
      if (errno === constants.errno.ENOSPC) throw this.#full(name, byteLength, this.#freeBytes(name) + at);
      throw new MillraceError('unavailable', 'MEMORY_FAILED', `${this.#path(name)} has no pages: errno ${errno}`);
    }
  }

  /** Before anything is taken: what can never fit must not leave others without for a moment. */
  #checkFits(name: string, byteLength: number): void {
    if (existsSync(this.#path(name))) throw memoryExists(name, this.#folder);
    const freeBytes = this.#freeBytes(name);
    if (byteLength > freeBytes) throw this.#full(name, byteLength, freeBytes);
  }

  #freeBytes(name: string): number {
    const { bavail, bsize } = this.#try(name, () => statfsSync(this.#folder));
    return bavail * bsize;
  }

  #full(name: string, byteLength: number, freeBytes: number): MillraceError {
    const advice = 'give --shm-dir another memory-backed folder, or make this one larger (docker: --shm-size)';
    return memoryFull(name, byteLength, this.#folder, freeBytes, advice);
  }

  /** File names of complete regions. */
  #files(): string[] {
    return readdirSync(this.#folder).filter((file) => !file.includes('.'));
  }

  #path(name: string): string {
    // A name may hold anything. Files with a dot are others': unfinished regions, the owner file of a run folder.
    return join(this.#folder, encodeURIComponent(name).replaceAll('.', '%2E'));
  }

  #try<T>(name: string, call: () => T): T {
    try {
      return call();
    } catch (e) {
      const code = (e as NodeJS.ErrnoException).code;
      if (code === 'EEXIST') throw memoryExists(name, this.#folder);
      if (code === 'ENOENT') throw memoryNotFound(name, this.#folder);
      const message = `memory region "${name}" in ${this.#folder}: ${(e as Error).message}`;
      throw new MillraceError('unavailable', code === 'ENOSPC' ? 'MEMORY_FULL' : 'MEMORY_FAILED', message, {
        cause: e,
      });
    }
  }
}
