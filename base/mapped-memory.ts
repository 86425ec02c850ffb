import { MappedFiles, type Mapping } from './mapped-files.js';
import { viewMapping } from './mmap.js';
import { regionOver, type SharedMemory, type SharedRegion } from './shared-memory.js';

export interface MappedMemoryOptions {
  /** An existing folder in memory-backed storage (tmpfs), e.g. `/dev/shm/...`. Never on a disk: a lost page is SIGBUS. */
  readonly folder: string;
}

/**
 * Regions are files, one each, that any process may map. Nothing is unmapped while its process lives; `retire` puts
 * anonymous memory over a mapping. For the main thread of a process: threads that may be terminated use
 * `remoteMappedMemory`.
 *
 * @throws MillraceError `MAPPING_UNAVAILABLE` (unavailable) where memory cannot be mapped.
 */
export function mappedMemory(options: MappedMemoryOptions): SharedMemory {
  return new MappedMemory(new MappedFiles(options.folder));
}

class MappedMemory implements SharedMemory {
  readonly #files: MappedFiles;
  readonly #views = new MappedViews();

  constructor(files: MappedFiles) {
    this.#files = files;
  }

  async create(name: string, byteLength: number): Promise<SharedRegion> {
    return this.#views.of(await this.#files.create(name, byteLength));
  }

  async open(name: string, access: 'read' | 'write'): Promise<SharedRegion> {
    return this.#views.of(this.#files.open(name, access));
  }

  async remove(name: string): Promise<void> {
    this.#files.remove(name);
  }

  retire(region: SharedRegion): void {
    const address = this.#views.forget(region);
    if (address !== undefined) this.#files.blank(address);
  }

  async list(): Promise<string[]> {
    return this.#files.list();
  }
}

/** The regions of one thread over mappings of its process: one object each, until it is retired. */
export class MappedViews {
  readonly #regions = new Map<bigint, WeakRef<SharedRegion>>();
  readonly #addresses = new WeakMap<SharedRegion, bigint>();

  of({ name, address, byteLength }: Mapping): SharedRegion {
    const known = this.#regions.get(address)?.deref();
    if (known !== undefined) return known;
    const region = regionOver(name, viewMapping(address, byteLength));
    this.#regions.set(address, new WeakRef(region));
    this.#addresses.set(region, address);
    return region;
  }

  /** Its address, the first time. */
  forget(region: SharedRegion): bigint | undefined {
    const address = this.#addresses.get(region);
    if (address === undefined) return undefined;
    this.#addresses.delete(region);
    this.#regions.delete(address);
    return address;
  }
}
