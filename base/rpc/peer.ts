/**
 * Requests, answers and notices over one Connection, both ways. Bodies are opaque here: each service encodes its own
 * FlatBuffers messages (`shuffle/protocol.fbs`, `engine/runtime/control.fbs`).
 */
export interface RpcPeer {
  readonly peer: string;
  /**
   * @throws MillraceError what the other side threw (kind, code, message and context survive the wire);
   *   `PEER_GONE` (unavailable) when the connection ends before the answer; `REQUEST_TIMEOUT` (unavailable).
   */
  request(service: string, body: Uint8Array, options?: { readonly timeoutMs?: number }): Promise<Uint8Array>;
  /**
   * One way; order with requests of the same peer is kept. Dropped silently when the connection is gone. The other side
   * gets `payload` as the end of the body; it is not copied where that can be avoided, and must not change before the
   * other side answers in some way that it has it. `body` has a multiple of 8 bytes then.
   */
  notify(service: string, body: Uint8Array, payload?: Uint8Array): void;
  /** Nobody will look at this received body (or what shares its memory) again, so that a later message may take its place. */
  recycle(body: Uint8Array): void;
  /** What was sent leaves now, if it can, and not only when this turn ends: for one who goes on working in this turn. */
  flush(): void;
  /** Registers the handler of one service on this side. Handlers run in the order in which messages arrived. */
  serve(service: string, handler: RpcHandler): void;
  /** Bytes queued and not yet handed to the operating system. */
  readonly queuedBytes: number;
  readonly closed: Promise<Error | undefined>;
  close(): void;
}

/** Returns the answer's body; for a notice the result is ignored. A thrown MillraceError travels back as it is. */
export type RpcHandler = (body: Uint8Array) => Uint8Array | undefined | Promise<Uint8Array | undefined>;
