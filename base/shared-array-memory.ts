import type { MessagePort } from 'node:worker_threads';
import { bufferMemory } from './heap-memory.js';
import { MemoryPort, serveMemoryPort } from './memory-port.js';
import { regionOver, type SharedMemory, type SharedRegion } from './shared-memory.js';

/**
 * Regions as SharedArrayBuffers, for threads of one process. The thread that calls this owns the names; other threads
 * use `remoteSharedArrayMemory` over a MessagePort that the owner serves with `serveSharedArrayMemory`:
 *
 *     owner   const memory = sharedArrayMemory(); serveSharedArrayMemory(memory, port1);   // port2 goes to the thread
 *     thread  const memory = remoteSharedArrayMemory(port2);
 *
 * `read` gives the same shared views as `write`: within one process a stray write is not fended off.
 */
export function sharedArrayMemory(options: { readonly bytesMax?: number } = {}): SharedMemory {
  const bytesMax = options.bytesMax ?? Number.POSITIVE_INFINITY;
  return bufferMemory('the memory of this process', bytesMax, (byteLength) => new SharedArrayBuffer(byteLength));
}

interface Answer {
  /** Tells a region from an earlier one of the same name. */
  readonly generation?: number;
  readonly buffer?: SharedArrayBuffer;
  readonly names?: string[];
}

const generations = new WeakMap<SharedRegion, number>();
let generationNext = 1;

/** Answers another thread's requests until the port closes. Does not keep the owner's thread alive. */
export function serveSharedArrayMemory(memory: SharedMemory, port: MessagePort): void {
  const granted = (region: SharedRegion): Answer => {
    const generation = generations.get(region) ?? generationNext++;
    generations.set(region, generation);
    return { generation, buffer: region.bytes.buffer as SharedArrayBuffer };
  };
  serveMemoryPort<Answer>(port, async ({ operation, name, byteLength }) => {
    if (operation === 'create') return granted(await memory.create(name, byteLength));
    if (operation === 'open') return granted(await memory.open(name, 'write'));
    if (operation === 'list') return { names: await memory.list() };
    await memory.remove(name);
    return {};
  });
}

/**
 * The memory of the thread at the other end of the port. Keeps this thread alive only while an answer is due. Once the
 * port closes every call fails with MillraceError `MEMORY_CLOSED` (closed); views stay valid.
 */
export function remoteSharedArrayMemory(port: MessagePort): SharedMemory {
  return new RemoteSharedArrayMemory(port);
}

class RemoteSharedArrayMemory implements SharedMemory {
  readonly #port: MemoryPort<Answer>;
  readonly #known = new Map<string, { readonly generation: number; readonly region: SharedRegion }>();

  constructor(port: MessagePort) {
    this.#port = new MemoryPort(port);
  }

  async create(name: string, byteLength: number): Promise<SharedRegion> {
    return this.#granted(name, await this.#port.ask('create', name, byteLength));
  }

  async open(name: string): Promise<SharedRegion> {
    return this.#granted(name, await this.#port.ask('open', name));
  }

  async remove(name: string): Promise<void> {
    await this.#port.ask('remove', name);
    this.#known.delete(name);
  }

  retire(region: SharedRegion): void {
    if (this.#known.get(region.name)?.region === region) this.#known.delete(region.name);
  }

  async list(): Promise<string[]> {
    return (await this.#port.ask('list')).names ?? [];
  }

  #granted(name: string, { generation = 0, buffer }: Answer): SharedRegion {
    const known = this.#known.get(name);
    if (known?.generation === generation) return known.region;
    const region = regionOver(name, buffer as SharedArrayBuffer);
    this.#known.set(name, { generation, region });
    return region;
  }
}
