import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { MillraceError } from '../../base/index.js';
import type { StateSegment } from '../spi.js';
import type { FrozenStates } from './segment-write.js';
import type { StateWriter } from './state-writer.js';
import type { WriteReply, WriteRequest } from './write-queue.js';

/**
 * A thread that writes segments for stores of other threads of this process: it reads their tables in place. One is enough for a
 * process. Begun with the first connection; anew with the next one, when it died.
 */
export class WriterThread {
  #worker: Worker | undefined;

  /** The end for one thread of stores: post it there, and make a `PortWriter` of it. */
  connect(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.#worker ??= this.#start();
    this.#worker.postMessage(port2, [port2]);
    return port1;
  }

  /** Ends the thread, whatever it is doing; ports to it close. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(new URL('./writer-thread-main.js', import.meta.url));
    const gone = () => {
      if (this.#worker === worker) this.#worker = undefined;
    };
    // Its ports close: whoever waits for it hears of it there.
    worker.on('error', gone);
    worker.on('exit', gone);
    worker.unref();
    return worker;
  }
}

/** Has segments written by the thread at the other end of a port. */
export class PortWriter implements StateWriter {
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, { resolve: (segment: StateSegment) => void; reject: (error: Error) => void }>();
  #lastId = 0;
  #lost: MillraceError | undefined;
  #onLost: () => void = () => {};
  /** Resolves when the thread is gone: then nothing can be written any more. */
  readonly closed = new Promise<void>((resolve) => {
    this.#onLost = resolve;
  });

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (reply: WriteReply) => this.#settle(reply));
    port.on('close', () => this.#close());
    port.unref();
  }

  /** Rejects with MillraceError `STATE_WRITER_LOST` (unavailable) when the thread is gone, or as it says. */
  write(frozen: FrozenStates): Promise<StateSegment> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    return new Promise((resolve, reject) => {
      const request: WriteRequest = { id: ++this.#lastId, frozen };
      this.#waiting.set(request.id, { resolve, reject });
      // While somebody waits, the thread that does is kept alive.
      this.#port.ref();
      this.#port.postMessage(request);
    });
  }

  close(): void {
    this.#port.close();
  }

  #settle(reply: WriteReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#port.unref();
    if ('segment' in reply) waiting?.resolve(reply.segment);
    else waiting?.reject(MillraceError.fromJSON(reply.error));
  }

  #close(): void {
    this.#lost = new MillraceError('unavailable', 'STATE_WRITER_LOST', 'the thread that writes state segments is gone');
    for (const { reject } of this.#waiting.values()) reject(this.#lost);
    this.#waiting.clear();
    this.#onLost();
  }
}
