import { closeSync, existsSync, fstatSync, linkSync, openSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { MillraceError } from './errors.js';
import { checkRegionRequest, memoryExists, memoryFull, memoryNotFound } from './memory-region-errors.js';
import { loadMmap, type Mmap } from './mmap.js';
import { systemRandom } from './random.js';

/** Where a region lies in the memory of this process. */
export interface Mapping {
  readonly name: string;
  readonly address: bigint;
  readonly byteLength: number;
  readonly inode: number;
}

/** Taken in a millisecond or two. */
const PIECE_BYTES = 4 * 2 ** 20;

/**
 * The regions of a folder and where they are mapped; views over them are its callers' affair (`mappedMemory` in its own
 * thread, `serveMappedMemory` for another one).
 *
 * All pages of a region are taken from the folder's file system before it has its name: a write to a page that the file
 * system cannot give is SIGBUS, and whoever else uses `/dev/shm` could bring it about at any time. That takes 0.3 ms per
 * MiB, in pieces between which the event loop turns.
 */
export class MappedFiles {
  readonly #folder: string;
  readonly #mmap: Mmap;
  /** By access and name. */
  readonly #mappings = new Map<string, Mapping>();
  /** All that is mapped, or was and is blank now. */
  readonly #spans = new Map<bigint, number>();

  /** @throws MillraceError `MAPPING_UNAVAILABLE` (unavailable) where memory cannot be mapped. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#mmap = loadMmap();
  }

  /** Lays out a region and maps it to be written. @throws as `SharedMemory.create`. */
  async create(name: string, byteLength: number): Promise<Mapping> {
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

  /** The same object again for the same region and access. @throws as `SharedMemory.open`. */
  open(name: string, access: 'read' | 'write'): Mapping {
    const fd = this.#try(name, () => openSync(this.#path(name), 'r+'));
    try {
      return this.#map(name, access, fd);
    } finally {
      closeSync(fd);
    }
  }

  remove(name: string): void {
    rmSync(this.#path(name), { force: true });
    this.#mappings.delete(`read ${name}`);
    this.#mappings.delete(`write ${name}`);
  }

  /** Puts anonymous memory over what is mapped at an address: its views stay harmless. */
  blank(address: bigint): void {
    const length = this.#spans.get(address);
    if (length === undefined) return;
    for (const [key, mapping] of this.#mappings) if (mapping.address === address) this.#mappings.delete(key);
    this.#mmap.blank(address, length);
  }

  /** Only once no view is left of anything that was mapped here: an access to one crashes the process. */
  unmapAll(): void {
    for (const [address, length] of this.#spans) this.#mmap.unmap(address, length);
    this.#spans.clear();
    this.#mappings.clear();
  }

  list(): string[] {
    return readdirSync(this.#folder)
      .filter((file) => !file.includes('.'))
      .map(decodeURIComponent)
      .sort();
  }

  #map(name: string, access: 'read' | 'write', fd: number): Mapping {
    const { ino, size } = fstatSync(fd);
    const key = `${access} ${name}`;
    const known = this.#mappings.get(key);
    // The inode tells a region from an earlier one of the same name; a mapped file's inode is not reused.
    if (known?.inode === ino) return known;
    const address = this.#mmap.mapFile(fd, size, access === 'write' ? 'shared' : 'private');
    const mapping = { name, address, byteLength: size, inode: ino };
    this.#spans.set(address, size);
    this.#mappings.set(key, mapping);
    return mapping;
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
