import type { MessagePort } from 'node:worker_threads';
import { MillraceError, type SerializedError } from './errors.js';

/** What a thread asks of the owner of its memory, over a MessagePort. */
export type MemoryOperation = 'create' | 'open' | 'openToRead' | 'remove' | 'list';

export interface MemoryRequest {
  readonly operation: MemoryOperation;
  readonly name: string;
  readonly byteLength: number;
}

interface Numbered<T> {
  readonly id: number;
  readonly request?: MemoryRequest;
  readonly answer?: T;
  readonly error?: SerializedError;
}

/** Answers another thread's requests until the port closes. Does not keep the owner's thread alive. */
export function serveMemoryPort<T>(port: MessagePort, answer: (request: MemoryRequest) => Promise<T>): void {
  port.on('message', ({ id, request }: Numbered<T>) => {
    if (request === undefined) return;
    answer(request).then(
      (answered) => port.postMessage({ id, answer: answered } satisfies Numbered<T>),
      (e: unknown) => port.postMessage({ id, error: MillraceError.from(e).toJSON() } satisfies Numbered<T>),
    );
  });
  port.unref();
}

/**
 * A thread's end of a port that `serveMemoryPort` serves. Keeps the thread alive only while an answer is due. Once the port
 * closes every call fails with MillraceError `MEMORY_CLOSED` (closed).
 */
export class MemoryPort<T> {
  readonly #port: MessagePort;
  readonly #pending = new Map<number, { resolve: (answer: T) => void; reject: (e: Error) => void }>();
  #idNext = 0;
  #closed = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (reply: Numbered<T>) => this.#settle(reply));
    port.once('close', () => {
      this.#closed = true;
      for (const { reject } of this.#pending.values()) reject(portClosed());
      this.#pending.clear();
    });
    port.unref();
  }

  ask(operation: MemoryOperation, name = '', byteLength = 0): Promise<T> {
    if (this.#closed) return Promise.reject(portClosed());
    const id = this.#idNext++;
    this.#port.ref();
    this.#port.postMessage({ id, request: { operation, name, byteLength } } satisfies Numbered<T>);
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #settle({ id, answer, error }: Numbered<T>): void {
    const waiting = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#port.unref();
    if (error === undefined) waiting?.resolve(answer as T);
    else waiting?.reject(MillraceError.fromJSON(error));
  }
}

function portClosed(): MillraceError {
  return new MillraceError('closed', 'MEMORY_CLOSED', 'the thread that owns the shared memory has closed its port');
}
