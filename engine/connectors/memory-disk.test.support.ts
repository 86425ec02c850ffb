import { type Disk, type DiskFile, MillraceError } from '../../base/index.js';

interface StoredFile {
  bytes: Uint8Array;
  /** How much of it a power cut leaves. */
  durableBytes: number;
}

/**
 * Test double: a disk in memory that stops for good after so many operations, as seen by a process that dies there, and
 * that can lose what was not synced, as seen after a power cut. An append cut short leaves half of its bytes.
 */
export class MemoryDisk implements Disk {
  readonly #files = new Map<string, StoredFile>();
  /** Operations so far, since the last `restart`. */
  operations = 0;
  /** The disk stops before the operation of this number. */
  stopAt = Number.POSITIVE_INFINITY;
  /** What a stopped disk says. */
  stopCode = 'DISK_FAILED';

  /** The disk works again. `powerCut`: bytes that were not synced are gone. */
  restart(options: { readonly powerCut: boolean }): void {
    this.operations = 0;
    this.stopAt = Number.POSITIVE_INFINITY;
    if (!options.powerCut) return;
    for (const file of this.#files.values()) file.bytes = file.bytes.slice(0, file.durableBytes);
  }

  /** Puts a file there, as if by someone else. */
  put(path: string, content: Uint8Array | string): void {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    this.#files.set(path, { bytes, durableBytes: bytes.length });
  }

  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  async read(path: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    this.#operate(path);
    const { bytes } = this.#get(path);
    return range === undefined ? bytes.slice() : bytes.slice(range.offset, range.offset + range.length);
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    this.#operate(path);
    this.put(path, bytes.slice());
  }

  async append(path: string): Promise<DiskFile> {
    this.#operate(path);
    if (!this.#files.has(path)) this.#files.set(path, { bytes: new Uint8Array(0), durableBytes: 0 });
    // As with a real handle, writes go to the file that was opened, even when its name is gone.
    const file = this.#get(path);
    return {
      path,
      append: async (bytes) => {
        const stopped = this.operations + 1 >= this.stopAt;
        const taken = stopped ? bytes.subarray(0, bytes.length >> 1) : bytes;
        file.bytes = Buffer.concat([file.bytes, taken]);
        this.#operate(path);
      },
      sync: async () => {
        this.#operate(path);
        file.durableBytes = file.bytes.length;
      },
      close: async () => {},
    };
  }

  async rename(from: string, to: string): Promise<void> {
    this.#operate(from);
    this.#files.set(to, this.#get(from));
    this.#files.delete(from);
  }

  async link(from: string, to: string): Promise<void> {
    this.#operate(to);
    if (this.#files.has(to)) throw new MillraceError('invalid', 'DISK_EXISTS', `${to} exists already`);
    this.#files.set(to, this.#get(from));
  }

  async remove(path: string): Promise<void> {
    this.#operate(path);
    this.#files.delete(path);
  }

  async makeFolder(path: string): Promise<void> {
    this.#operate(path);
  }

  async list(path: string): Promise<string[]> {
    this.#operate(path);
    const names = this.paths.filter((p) => p.startsWith(`${path}/`)).map((p) => p.slice(path.length + 1).split('/')[0]);
    return [...new Set(names as string[])];
  }

  async stat(path: string): Promise<{ bytes: number; folder: boolean } | undefined> {
    this.#operate(path);
    const file = this.#files.get(path);
    return file === undefined ? undefined : { bytes: file.bytes.length, folder: false };
  }

  #get(path: string): StoredFile {
    const file = this.#files.get(path);
    if (file === undefined) throw new MillraceError('unavailable', 'DISK_NOT_FOUND', `${path} does not exist`);
    return file;
  }

  #operate(path: string): void {
    this.operations++;
    if (this.operations >= this.stopAt)
      throw new MillraceError('unavailable', this.stopCode, `${path}: the disk stopped`);
  }
}
