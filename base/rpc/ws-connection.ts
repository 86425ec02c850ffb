import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Clock } from '../clock.js';
import { MillraceError } from '../errors.js';
import { type Connection, FRAME_BYTES_MAX } from '../network.js';
import { alignedCopy } from './aligned-bytes.js';
import { checkFrameSize, connectionLost, receivedFrameTooLarge } from './connection-errors.js';
import { ConnectionEvents } from './connection-events.js';

const NORMAL = 1000;
const NOT_BINARY = 1003;
const TOO_LARGE = 1009;
const CORK_BYTES_MAX = 256 * 1024;
const LINGER_MS = 5_000;

/** A Connection over one WebSocket of the `ws` package, on either side: one binary message is one frame. */
export class WsConnection implements Connection {
  readonly peer: string;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #events = new ConnectionEvents();
  #corked = false;
  #corkedBytes = 0;
  #closing = false;
  #failure: Error | undefined;

  /** `socket` is the one under `ws`, so that the messages of one turn leave in one vectored write. */
  constructor(ws: WebSocket, socket: Socket, peer: string, clock: Clock) {
    this.peer = peer;
    this.#ws = ws;
    this.#socket = socket;
    this.#clock = clock;
    ws.binaryType = 'nodebuffer';
    ws.on('message', (data, isBinary) => this.#onMessage(data as Buffer, isBinary));
    ws.on('error', (error) => {
      this.#failure ??= error;
    });
    ws.on('close', (code) => this.#onWsClose(code));
  }

  get queuedBytes(): number {
    return this.#ws.bufferedAmount;
  }

  send(frame: Uint8Array): void {
    if (this.#closing || this.#events.ended) return;
    checkFrameSize(this.peer, frame.length);
    this.#cork();
    this.#ws.send(frame, { binary: true, compress: false }, () => undefined);
    this.#corkedBytes += frame.length;
    if (this.#corkedBytes >= CORK_BYTES_MAX) this.#uncork();
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
    this.#uncork();
    this.#ws.close(NORMAL);
    this.#linger(-1);
  }

  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    queueMicrotask(() => process.nextTick(() => this.#uncork()));
  }

  #uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#corkedBytes = 0;
    this.#socket.uncork();
  }

  #linger(bytesBefore: number): void {
    const bytes = this.queuedBytes;
    if (bytes === bytesBefore) {
      this.#ws.terminate();
      return;
    }
    const timer = this.#clock.schedule(LINGER_MS, () => this.#linger(bytes));
    this.#ws.once('close', () => timer.cancel());
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (!isBinary) {
      this.#failure ??= connectionLost(this.peer, 'it sent a text message where frames are binary');
      this.#ws.close(NOT_BINARY, 'frames are binary messages');
      return;
    }
    // A message may be a window of a shared receive buffer; a frame owns its bytes and starts 8-aligned.
    const owned = data.byteOffset === 0 && data.buffer.byteLength === data.length;
    this.#events.frame(owned ? new Uint8Array(data.buffer, 0, data.length) : alignedCopy(data));
  }

  #onWsClose(code: number): void {
    if (code === NORMAL) this.#events.end(undefined);
    else this.#events.end(this.#reason(code));
  }

  #reason(code: number): MillraceError {
    const failure = this.#failure as (Error & { code?: string }) | undefined;
    if (failure instanceof MillraceError) return failure;
    if (failure?.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') {
      return receivedFrameTooLarge(this.peer, FRAME_BYTES_MAX + 1, FRAME_BYTES_MAX);
    }
    const refused = code === TOO_LARGE ? 'it refused a frame as too large' : `WebSocket code ${code}`;
    return connectionLost(this.peer, failure?.message ?? refused, failure);
  }
}
