import type { Clock } from '../clock.js';
import type { Connection, Listener, Network } from '../network.js';
import { alignedCopy } from './aligned-bytes.js';
import { addressInUse, checkFrameSize, connectFailed } from './connection-errors.js';
import { ConnectionEvents } from './connection-events.js';

/**
 * `memory:name` within one thread: each call makes a network of its own, whose names others do not see. Frames are
 * copied and delivered in order, in a later turn of the event loop (`Clock.soon`).
 */
export function memoryNetwork(options: { readonly clock: Clock }): Network {
  const listeners = new Map<string, (connection: Connection) => void>();
  return {
    async connect(address) {
      const onConnection = listeners.get(address);
      if (onConnection === undefined) throw connectFailed(address, 'nobody listens there');
      const here = new MemoryConnection(address, options.clock);
      const there = new MemoryConnection(`a client of ${address}`, options.clock);
      here.join(there);
      there.join(here);
      onConnection(there);
      return here;
    },
    async listen(address, onConnection): Promise<Listener> {
      if (listeners.has(address)) throw addressInUse(address, 'choose another name');
      listeners.set(address, onConnection);
      return {
        address,
        async close() {
          if (listeners.get(address) === onConnection) listeners.delete(address);
        },
      };
    },
  };
}

class MemoryConnection implements Connection {
  readonly peer: string;
  readonly #clock: Clock;
  readonly #events = new ConnectionEvents();
  #other: MemoryConnection | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #scheduled = false;
  #closing = false;

  constructor(peer: string, clock: Clock) {
    this.peer = peer;
    this.#clock = clock;
  }

  join(other: MemoryConnection): void {
    this.#other = other;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  send(frame: Uint8Array): void {
    if (this.#closing || this.#events.ended) return;
    checkFrameSize(this.peer, frame.length);
    this.#queue.push(alignedCopy(frame));
    this.#queuedBytes += frame.length;
    this.#deliverSoon();
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#events.onFrame(handler);
  }

  onClose(handler: (reason: Error | undefined) => void): void {
    this.#events.onClose(handler);
  }

  close(): void {
    if (this.#closing || this.#events.ended) return;
    this.#closing = true;
    this.#events.mute();
    this.#deliverSoon();
  }

  #deliverSoon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.soon(() => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    const frames = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    const other = this.#other;
    if (other === undefined) return;
    for (const frame of frames) other.#events.frame(frame);
    if (this.#closing && this.#queue.length === 0) {
      other.#events.end(undefined);
      this.#events.end(undefined);
    }
  }
}
