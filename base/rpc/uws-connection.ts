import type { Clock, Timer } from '../clock.js';
import { type Connection, FRAME_BYTES_MAX } from '../network.js';
import { alignedCopy } from './aligned-bytes.js';
import { checkFrameSize, connectionLost, receivedFrameTooLarge } from './connection-errors.js';
import { ConnectionEvents } from './connection-events.js';
import type { UwsSocket } from './uws-binding.js';

const NORMAL = 1000;
const DROPPED = 2;
const LINGER_MS = 5_000;
/** No more is given to uWebSockets.js while its own buffer holds this much; the rest waits here. */
const SOCKET_BUFFER_BYTES_MAX = 256 * 1024;
/** One frame of the largest size always fits on top of that, so that nothing is ever dropped. */
export const MAX_BACKPRESSURE = SOCKET_BUFFER_BYTES_MAX + FRAME_BYTES_MAX + 1024;

/** A Connection over one accepted WebSocket of uWebSockets.js: one binary message is one frame. */
export class UwsConnection implements Connection {
  readonly peer: string;
  readonly #clock: Clock;
  readonly #events = new ConnectionEvents();
  /** Undefined once it closed: it must not be touched any more. */
  #socket: UwsSocket | undefined;
  #queue: Uint8Array[] = [];
  #next = 0;
  #queuedBytes = 0;
  #flushing = false;
  #closing = false;
  #failure: Error | undefined;
  #lingerTimer: Timer | undefined;

  constructor(socket: UwsSocket, peer: string, clock: Clock) {
    this.#socket = socket;
    this.peer = peer;
    this.#clock = clock;
  }

  get queuedBytes(): number {
    return this.#queuedBytes + (this.#socket?.getBufferedAmount() ?? 0);
  }

  send(frame: Uint8Array): void {
    if (this.#closing || this.#socket === undefined) return;
    checkFrameSize(this.peer, frame.length);
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() =>
      process.nextTick(() => {
        this.#flushing = false;
        this.#flush();
      }),
    );
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#events.onFrame(handler);
  }

  onClose(handler: (reason: Error | undefined) => void): void {
    this.#events.onClose(handler);
  }

  close(): void {
    if (this.#closing || this.#socket === undefined) return;
    this.#closing = true;
    this.#events.mute();
    this.#linger(-1);
    this.#flush();
  }

  /** For the front door: a message came. It is only borrowed. */
  received(message: ArrayBuffer, isBinary: boolean): void {
    if (isBinary) {
      this.#events.frame(alignedCopy(new Uint8Array(message)));
      return;
    }
    this.#failure ??= connectionLost(this.peer, 'it sent a text message where frames are binary');
    this.#socket?.close();
  }

  /**
   * For the front door: some of the socket's own buffer was sent. What waits is sent in a later turn, because within
   * this event uWebSockets.js forgets a large message that the system took only in part: `us_socket_write2` leaves
   * `last_write_failed` unset, so it stops polling for writability and the connection stalls for good.
   */
  drained(): void {
    this.#clock.soon(() => this.#flush());
  }

  /** For the front door: the socket is gone. */
  ended(code: number, message: string): void {
    this.#socket = undefined;
    this.#lingerTimer?.cancel();
    this.#queue = [];
    this.#queuedBytes = 0;
    if (code === NORMAL) this.#events.end(undefined);
    else if (message === 'Received too big message') {
      this.#events.end(receivedFrameTooLarge(this.peer, FRAME_BYTES_MAX + 1, FRAME_BYTES_MAX));
    } else this.#events.end(this.#failure ?? connectionLost(this.peer, message || `WebSocket code ${code}`));
  }

  #flush(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    if (this.#next < this.#queue.length) socket.cork(() => this.#sendQueued(socket));
    // Ended only when nothing is left in the socket's buffer either, so that closing the door after this loses nothing.
    if (this.#closing && this.queuedBytes === 0) this.#socket?.end(NORMAL, '');
  }

  #sendQueued(socket: UwsSocket): void {
    while (this.#next < this.#queue.length && socket.getBufferedAmount() < SOCKET_BUFFER_BYTES_MAX) {
      const frame = this.#queue[this.#next++] as Uint8Array;
      this.#queuedBytes -= frame.length;
      if (socket.send(frame, true, false) === DROPPED) {
        this.#failure = connectionLost(this.peer, `a frame of ${frame.length} bytes was dropped by the socket`);
        socket.close();
        return;
      }
    }
    if (this.#next === this.#queue.length) {
      this.#queue = [];
      this.#next = 0;
    } else if (this.#next >= 1024) {
      this.#queue.splice(0, this.#next);
      this.#next = 0;
    }
  }

  #linger(bytesBefore: number): void {
    if (this.#socket === undefined) return;
    const bytes = this.queuedBytes;
    if (bytes === bytesBefore) this.#socket.close();
    else this.#lingerTimer = this.#clock.schedule(LINGER_MS, () => this.#linger(bytes));
  }
}
