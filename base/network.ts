/**
 * Ordered, framed, two-way connections. Addresses: `unix:/path/to.sock`, `ws://host:port/path`, `memory:name`.
 * A frame is a byte string of at most `FRAME_BYTES_MAX`; it arrives whole, once and in order, or the connection closes.
 */
export interface Network {
  /** @throws MillraceError `CONNECT_FAILED` (unavailable) naming the address. */
  connect(address: string): Promise<Connection>;
  /** @throws MillraceError `ADDRESS_IN_USE` (invalid) naming the address. */
  listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener>;
}

export interface Listener {
  /** The address others connect to (with the port that was chosen, where port 0 was asked for). */
  readonly address: string;
  close(): Promise<void>;
}

export interface Connection {
  /** Where the other side is, for logs. */
  readonly peer: string;
  /** Queues one frame; copies nothing when it can, so the caller must not change `frame` afterwards. Ignored once closed. */
  send(frame: Uint8Array): void;
  /** `send` of one frame in two pieces, neither of which is copied; neither may change until the frame has arrived. */
  sendParts?(head: Uint8Array, payload: Uint8Array): void;
  /** A received frame, or a piece of one, that nobody will look at again: its memory is used for a later one. */
  recycle?(frame: Uint8Array): void;
  /** Hands what is queued to the operating system now, where that is possible, and not only when this turn ends. */
  flush?(): void;
  /** Bytes queued here and not yet handed to the operating system. Callers bound what they queue. */
  readonly queuedBytes: number;
  /** Set once, before the first turn of the event loop after connecting. The frame belongs to the handler. */
  onFrame(handler: (frame: Uint8Array) => void): void;
  /** Called once, also when this side closed. `reason` is undefined for a clean close. */
  onClose(handler: (reason: Error | undefined) => void): void;
  /** Sends what is queued, then closes. */
  close(): void;
}

export const FRAME_BYTES_MAX = 256 * 1024 * 1024;
