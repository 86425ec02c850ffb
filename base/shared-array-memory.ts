import type { MessagePort } from 'node:worker_threads';
import { MillraceError, type SerializedError } from './errors.js';
import { bufferMemory } from './heap-memory.js';
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

type Operation = 'create' | 'open' | 'remove' | 'list';
interface Request {
  readonly id: number;
  readonly operation: Operation;
  readonly name: string;
  readonly byteLength: number;
}
interface Reply {
  readonly id: number;
  /** Tells a region from an earlier one of the same name. */
  readonly generation?: number;
  readonly buffer?: SharedArrayBuffer;
  readonly names?: string[];
  readonly error?: SerializedError;
}

const generations = new WeakMap<SharedRegion, number>();
let generationNext = 1;

/** Answers another thread's requests until the port closes. Does not keep the owner's thread alive. */
export function serveSharedArrayMemory(memory: SharedMemory, port: MessagePort): void {
  const granted = (id: number, region: SharedRegion): Reply => {
    const generation = generations.get(region) ?? generationNext++;
    generations.set(region, generation);
    return { id, generation, buffer: region.bytes.buffer as SharedArrayBuffer };
  };
  const answer = async ({ id, operation, name, byteLength }: Request): Promise<Reply> => {
    if (operation === 'create') return granted(id, await memory.create(name, byteLength));
    if (operation === 'open') return granted(id, await memory.open(name, 'write'));
    if (operation === 'list') return { id, names: await memory.list() };
    await memory.remove(name);
    return { id };
  };
  port.on('message', (request: Request) => {
    answer(request).then(
      (reply) => port.postMessage(reply),
      (e: unknown) => port.postMessage({ id: request.id, error: MillraceError.from(e).toJSON() } satisfies Reply),
    );
  });
  port.unref();
}

/**
 * The memory of the thread at the other end of the port. Keeps this thread alive only while an answer is due. Once the
 * port closes every call fails with MillraceError `MEMORY_CLOSED` (closed); views stay valid.
 */
export function remoteSharedArrayMemory(port: MessagePort): SharedMemory {
  return new RemoteSharedArrayMemory(port);
}

class RemoteSharedArrayMemory implements SharedMemory {
  readonly #port: MessagePort;
  readonly #pending = new Map<number, { resolve: (reply: Reply) => void; reject: (e: Error) => void }>();
  readonly #known = new Map<string, { readonly generation: number; readonly region: SharedRegion }>();
  #idNext = 0;
  #closed = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (reply: Reply) => this.#settle(reply));
    port.once('close', () => {
      this.#closed = true;
      for (const { reject } of this.#pending.values()) reject(portClosed());
      this.#pending.clear();
    });
    port.unref();
  }

  async create(name: string, byteLength: number): Promise<SharedRegion> {
    return this.#granted(name, await this.#ask('create', name, byteLength));
  }

  async open(name: string): Promise<SharedRegion> {
    return this.#granted(name, await this.#ask('open', name));
  }

  async remove(name: string): Promise<void> {
    await this.#ask('remove', name);
    this.#known.delete(name);
  }

  retire(region: SharedRegion): void {
    if (this.#known.get(region.name)?.region === region) this.#known.delete(region.name);
  }

  async list(): Promise<string[]> {
    return (await this.#ask('list')).names ?? [];
  }

  #granted(name: string, { generation = 0, buffer }: Reply): SharedRegion {
    const known = this.#known.get(name);
    if (known?.generation === generation) return known.region;
    const region = regionOver(name, buffer as SharedArrayBuffer);
    this.#known.set(name, { generation, region });
    return region;
  }

  #ask(operation: Operation, name = '', byteLength = 0): Promise<Reply> {
    if (this.#closed) return Promise.reject(portClosed());
    const id = this.#idNext++;
    this.#port.ref();
    this.#port.postMessage({ id, operation, name, byteLength } satisfies Request);
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #settle(reply: Reply): void {
    const waiting = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#port.unref();
    if (reply.error === undefined) waiting?.resolve(reply);
    else waiting?.reject(MillraceError.fromJSON(reply.error));
  }
}

function portClosed(): MillraceError {
  return new MillraceError('closed', 'MEMORY_CLOSED', 'the thread that owns the shared memory has closed its port');
}
