import { type ByteFiles, type Disk, MillraceError, memoryByteFiles } from '../../base/index.js';
import type { BaseStores, WritableBaseStore } from './base-store.js';
import { MemoryBaseStores } from './memory-base-store.js';

interface StoredFile {
  bytes: Uint8Array;
  /** Whether its name survives a power cut. */
  isNameDurable: boolean;
}

/** What everything says after `stopAfter`. */
const STOPPED = 'TEST_STOPPED';

export function hasStopped(thrown: unknown): boolean {
  return thrown instanceof MillraceError && thrown.code === STOPPED;
}

/**
 * A disk and bases in memory, of which the process that uses them can be made to die before any write: nothing works then
 * until `restart`. Writes are counted in `writes`.
 */
export class Machine {
  readonly #files = new Map<string, StoredFile>();
  readonly #bases = new MemoryBaseStores();
  readonly #basePaths = new Set<string>();
  writes = 0;
  #stopAt = Number.POSITIVE_INFINITY;
  /** Writes of a process that is dead do nothing. */
  #life = 0;

  stopAfter(writes: number): void {
    this.#stopAt = this.writes + writes;
  }

  get isStopped(): boolean {
    return this.writes >= this.#stopAt;
  }

  restart(options: { readonly powerCut: boolean }): void {
    this.#life++;
    this.#stopAt = Number.POSITIVE_INFINITY;
    for (const path of this.#basePaths) {
      if (options.powerCut) this.#bases.powerCut(path);
      else this.#bases.kill(path);
    }
    if (!options.powerCut) return;
    for (const [path, file] of this.#files) if (!file.isNameDurable) this.#files.delete(path);
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  /** As one process sees it, until the next `restart`. */
  process(): { readonly disk: Disk; readonly files: ByteFiles; readonly bases: BaseStores } {
    const life = this.#life;
    const write = (): void => {
      if (life !== this.#life || this.isStopped) throw stopped();
      this.writes++;
    };
    return { disk: this.#disk(write), files: this.#byteFiles(), bases: this.#basesOf(write) };
  }

  #byteFiles(): ByteFiles {
    return memoryByteFiles((path) => this.#files.get(path)?.bytes);
  }

  #disk(write: () => void): Disk {
    const get = (path: string): StoredFile => {
      const file = this.#files.get(path);
      if (file !== undefined) return file;
      throw new MillraceError('unavailable', 'DISK_NOT_FOUND', `${path} does not exist`);
    };
    return {
      read: async (path) => get(path).bytes.slice(),
      write: async (path, bytes) => {
        write();
        this.#files.set(path, { bytes: bytes.slice(), isNameDurable: false });
      },
      rename: async (from, to) => {
        write();
        this.#files.set(to, { bytes: get(from).bytes, isNameDurable: true });
        this.#files.delete(from);
      },
      remove: async (path) => {
        write();
        this.#files.delete(path);
      },
      makeFolder: async () => {},
      list: async (folder) =>
        [...this.#files.keys()]
          .filter((path) => path.startsWith(`${folder}/`))
          .map((path) => path.slice(folder.length + 1))
          .sort(),
      stat: async (path) => {
        const file = this.#files.get(path);
        return file && { bytes: file.bytes.length, folder: false };
      },
      append: () => Promise.reject(new Error('not used here')),
      link: () => Promise.reject(new Error('not used here')),
    };
  }

  #basesOf(write: () => void): BaseStores {
    const bases = this.#bases;
    return {
      openReader: (path) => bases.openReader(path),
      fileBytes: () => bases.fileBytes(),
      destroy: async (path) => {
        write();
        await bases.destroy(path);
      },
      openWritable: async (path): Promise<WritableBaseStore> => {
        this.#basePaths.add(path);
        const store = await bases.openWritable(path);
        return {
          snapshot: () => store.snapshot(),
          close: () => store.close(),
          write: (changes) => {
            write();
            store.write(changes);
          },
          sync: async () => {
            write();
            await store.sync();
          },
          checkReaders: () => store.checkReaders(),
          stats: () => store.stats(),
        };
      },
    };
  }
}

function stopped(): MillraceError {
  return new MillraceError('closed', STOPPED, 'the process has died');
}
