import type { MessagePort } from 'node:worker_threads';
import { MillraceError } from './errors.js';
import { MappedFiles, type Mapping } from './mapped-files.js';
import { MappedViews } from './mapped-memory.js';
import { MemoryPort, serveMemoryPort } from './memory-port.js';
import type { SharedMemory, SharedRegion } from './shared-memory.js';

interface Answer {
  readonly mapping?: Mapping;
  readonly names?: string[];
}

/** Sent without waiting for an answer. */
interface Retirement {
  readonly retired: bigint;
}

/**
 * Maps regions for a thread of this process, which may be terminated at any point: a thread cannot unmap its own memory
 * (its views live as long as it does). Its end of the port goes with the thread, after the last of its code has run; then
 * all of it is unmapped here, what it asked for and never heard of too.
 *
 *     host    const { port1, port2 } = new MessageChannel();
 *             serveMappedMemory({ folder }, port1);                  // port2 goes to the thread, who never closes it
 *     thread  const memory = remoteMappedMemory(port2);
 *
 * The host must not close its end. It does not keep the host's thread alive.
 */
export function serveMappedMemory({ folder }: { readonly folder: string }, port: MessagePort): void {
  const files = new MappedFiles(folder);
  let gone = false;
  port.on('message', ({ retired }: Partial<Retirement>) => {
    if (retired !== undefined) files.blank(retired);
  });
  port.once('close', () => {
    gone = true;
    files.unmapAll();
  });
  serveMemoryPort<Answer>(port, async ({ operation, name, byteLength }) => {
    if (gone) throw new MillraceError('closed', 'MEMORY_CLOSED', 'the thread that asked is gone');
    if (operation === 'list') return { names: files.list() };
    if (operation === 'open') return { mapping: files.open(name, 'write') };
    if (operation === 'openToRead') return { mapping: files.open(name, 'read') };
    if (operation === 'remove') {
      files.remove(name);
      return {};
    }
    const mapping = await files.create(name, byteLength);
    if (gone) files.unmapAll();
    return { mapping };
  });
}

/**
 * The memory of the folder that the other end of the port serves. Keeps this thread alive only while an answer is due. Once the
 * port closes every call fails with MillraceError `MEMORY_CLOSED` (closed).
 */
export function remoteMappedMemory(port: MessagePort): SharedMemory {
  return new RemoteMappedMemory(port);
}

class RemoteMappedMemory implements SharedMemory {
  readonly #port: MemoryPort<Answer>;
  readonly #raw: MessagePort;
  readonly #views = new MappedViews();
  #opening = 0;
  /** Retired while an answer was due that may name them again. */
  readonly #retired = new Set<bigint>();

  constructor(port: MessagePort) {
    this.#raw = port;
    this.#port = new MemoryPort(port);
  }

  create(name: string, byteLength: number): Promise<SharedRegion> {
    return this.#mapped(this.#port.ask('create', name, byteLength));
  }

  open(name: string, access: 'read' | 'write'): Promise<SharedRegion> {
    return this.#mapped(this.#port.ask(access === 'write' ? 'open' : 'openToRead', name));
  }

  async remove(name: string): Promise<void> {
    await this.#port.ask('remove', name);
  }

  retire(region: SharedRegion): void {
    const address = this.#views.forget(region);
    if (address === undefined) return;
    this.#retired.add(address);
    this.#tellRetired();
  }

  async list(): Promise<string[]> {
    return (await this.#port.ask('list')).names ?? [];
  }

  async #mapped(asked: Promise<Answer>): Promise<SharedRegion> {
    this.#opening++;
    try {
      const mapping = (await asked).mapping as Mapping;
      this.#retired.delete(mapping.address);
      return this.#views.of(mapping);
    } finally {
      this.#opening--;
      this.#tellRetired();
    }
  }

  #tellRetired(): void {
    if (this.#opening > 0) return;
    for (const retired of this.#retired) this.#raw.postMessage({ retired } satisfies Retirement);
    this.#retired.clear();
  }
}
