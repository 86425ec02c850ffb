import type { Socket } from 'node:net';
import type { Clock } from '../clock.js';
import type { Connection } from '../network.js';
import { checkFrameSize, connectionLost } from './connection-errors.js';
import { ConnectionEvents } from './connection-events.js';
import { FrameBatch, FrameReader } from './framing.js';
import type { SocketReads } from './scratch-socket.js';

const FLUSH_BYTES = 256 * 1024;
const LINGER_MS = 5_000;

/**
 * A Connection over a stream socket, framed as in framing.ts. All frames sent in one turn leave in one vectored write.
 * After `close()` the queued bytes are still sent, as long as the other side keeps taking some every five seconds.
 */
export class SocketConnection implements Connection {
  readonly peer: string;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #events = new ConnectionEvents();
  readonly #batch = new FrameBatch();
  readonly #reader: FrameReader;
  #flushing = false;
  #closing = false;
  #failure: Error | undefined;
  #saidGoodbye = false;

  constructor(socket: Socket, reads: SocketReads, peer: string, clock: Clock) {
    this.peer = peer;
    this.#socket = socket;
    this.#clock = clock;
    this.#reader = new FrameReader(peer, {
      frame: (frame) => this.#events.frame(frame),
      goodbye: () => this.#onGoodbye(),
    });
    reads.onRead = (chunk) => this.#onData(chunk);
    socket.on('error', (error) => {
      this.#failure ??= error;
    });
    socket.on('close', () => this.#onSocketClose());
  }

  get queuedBytes(): number {
    return this.#batch.bytes + this.#socket.writableLength;
  }

  send(frame: Uint8Array): void {
    if (this.#closing || this.#events.ended) return;
    checkFrameSize(this.peer, frame.length);
    this.#batch.add(frame);
    this.#flushWhenDue();
  }

  sendParts(head: Uint8Array, payload: Uint8Array): void {
    if (this.#closing || this.#events.ended) return;
    checkFrameSize(this.peer, head.length + payload.length);
    this.#batch.addParts(head, payload);
    this.#flushWhenDue();
  }

  recycle(frame: Uint8Array): void {
    this.#reader.recycle(frame);
  }

  #flushWhenDue(): void {
    if (this.#batch.bytes >= FLUSH_BYTES) this.#flush();
    else this.#flushSoon();
  }

  flush(): void {
    if (!this.#closing && !this.#events.ended) this.#flush();
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
    this.#batch.addGoodbye();
    this.#flush();
    this.#socket.end();
    this.#linger(-1);
  }

  /** After the microtasks of this turn, because those are where answers are made. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() =>
      process.nextTick(() => {
        this.#flushing = false;
        this.#flush();
      }),
    );
  }

  #flush(): void {
    if (this.#batch.bytes === 0) return;
    const chunks = this.#batch.take();
    if (this.#socket.destroyed) return;
    this.#socket.cork();
    for (const chunk of chunks) this.#socket.write(chunk);
    this.#socket.uncork();
  }

  #linger(bytesBefore: number): void {
    const bytes = this.queuedBytes;
    if (bytes === bytesBefore) {
      this.#socket.destroy();
      return;
    }
    const timer = this.#clock.schedule(LINGER_MS, () => this.#linger(bytes));
    this.#socket.once('close', () => timer.cancel());
  }

  #onData(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk);
    } catch (error) {
      this.#socket.destroy();
      this.#events.end(error as Error);
    }
  }

  #onGoodbye(): void {
    this.#saidGoodbye = true;
    this.#socket.destroy();
    this.#events.end(undefined);
  }

  #onSocketClose(): void {
    if (this.#saidGoodbye || this.#closing) {
      this.#events.end(undefined);
      return;
    }
    const detail = this.#failure?.message ?? this.#reader.truncation ?? 'the other side ended without closing it';
    this.#events.end(connectionLost(this.peer, detail, this.#failure));
  }
}
