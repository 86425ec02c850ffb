import type { MessagePort } from 'node:worker_threads';
import { type Clock, MillraceError, type SerializedError } from '../../base/index.js';
import type { StateSegment } from '../spi.js';
import type { GatheredRecords } from '../tables/frozen-records.js';
import { type FrozenStates, gatherStates, writeGathered } from './segment-write.js';
import { finish } from './state-writer.js';

export interface WriteRequest {
  readonly id: number;
  readonly frozen: FrozenStates;
}

export type WriteReply =
  | { readonly id: number; readonly segment: StateSegment }
  | { readonly id: number; readonly error: SerializedError };

interface Waiting {
  readonly port: MessagePort;
  readonly request: WriteRequest;
  readonly gathered: readonly (GatheredRecords | undefined)[];
}

/**
 * What the writing thread does: copies the records of each snapshot as soon as it hears of it, so that the task needs to save
 * what it changes for a short time only; sorts and writes one after the other, in the order in which they came.
 */
export class WriteQueue {
  readonly #clock: Clock;
  readonly #waiting: Waiting[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes requests from a port until it closes. */
  serve(port: MessagePort): void {
    port.on('message', (request: WriteRequest) => this.#take(port, request));
  }

  #take(port: MessagePort, request: WriteRequest): void {
    try {
      const gathered = finish(gatherStates(request.frozen));
      if (this.#waiting.push({ port, request, gathered }) === 1) this.#clock.soon(() => this.#next());
    } catch (thrown) {
      refuse(port, request.id, thrown);
    }
  }

  #next(): void {
    const { port, request, gathered } = this.#waiting[0] as Waiting;
    try {
      const segment = finish(writeGathered(request.frozen, gathered));
      const reply: WriteReply = { id: request.id, segment };
      port.postMessage(reply, [segment.bytes.buffer as ArrayBuffer]);
    } catch (thrown) {
      refuse(port, request.id, thrown);
    }
    this.#waiting.shift();
    if (this.#waiting.length > 0) this.#clock.soon(() => this.#next());
  }
}

function refuse(port: MessagePort, id: number, thrown: unknown): void {
  const reply: WriteReply = { id, error: MillraceError.from(thrown, 'STATE_WRITE_FAILED').toJSON() };
  port.postMessage(reply);
}
