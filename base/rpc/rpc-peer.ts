import type { Clock, Timer } from '../clock.js';
import { MillraceError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Connection } from '../network.js';
import {
  decodeMessage,
  encodeFailure,
  encodeMessage,
  FAILURE,
  type Message,
  NOTICE,
  REQUEST,
  RESPONSE,
} from './envelope.js';
import { joined } from './framing.js';
import type { RpcHandler, RpcPeer } from './peer.js';

export interface RpcPeerOptions {
  readonly clock: Clock;
  /** Told of notices that failed; nobody waits for those. */
  readonly logger?: Logger;
  /** Registered before the first message is read, as with `serve`. */
  readonly services?: Readonly<Record<string, RpcHandler>>;
  /** For requests that name no timeout; without it they wait for as long as the connection lives. */
  readonly requestTimeoutMs?: number;
}

interface Pending {
  readonly service: string;
  readonly resolve: (body: Uint8Array) => void;
  readonly reject: (error: MillraceError) => void;
  timer: Timer | undefined;
}

const NO_BYTES = new Uint8Array(0);

/**
 * An RpcPeer over a connection. Messages are read from the next turn of the event loop on (`Clock.soon`), so that
 * handlers registered right after this call miss none. A message that cannot be read ends the connection.
 */
export function rpcPeer(connection: Connection, options: RpcPeerOptions): RpcPeer {
  return new ConnectionPeer(connection, options);
}

class ConnectionPeer implements RpcPeer {
  readonly peer: string;
  readonly closed: Promise<Error | undefined>;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #logger: Logger | undefined;
  readonly #requestTimeoutMs: number | undefined;
  readonly #services: Map<string, RpcHandler>;
  readonly #pending = new Map<number, Pending>();
  /** Messages that came before the first turn; undefined once that has passed. */
  #early: Uint8Array[] | undefined = [];
  /** The connection ended before the first turn: told after the messages that came before it. */
  #earlyEnd: { readonly reason: Error | undefined } | undefined;
  #lastId = 0;
  #gone: { readonly reason: Error | undefined } | undefined;
  #resolveClosed: (reason: Error | undefined) => void = () => undefined;

  constructor(connection: Connection, options: RpcPeerOptions) {
    this.peer = connection.peer;
    this.#connection = connection;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    this.#services = new Map(Object.entries(options.services ?? {}));
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    connection.onFrame((frame) => this.#onFrame(frame));
    connection.onClose((reason) => this.#onClose(reason));
    this.#clock.soon(() => this.#start());
  }

  get queuedBytes(): number {
    return this.#connection.queuedBytes;
  }

  serve(service: string, handler: RpcHandler): void {
    if (this.#services.has(service)) {
      throw new MillraceError('internal', 'SERVICE_EXISTS', `service ${service} is served already to ${this.peer}`);
    }
    this.#services.set(service, handler);
  }

  request(service: string, body: Uint8Array, options?: { readonly timeoutMs?: number }): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) {
        reject(this.#peerGone(service, this.#gone.reason));
        return;
      }
      const id = this.#nextId();
      this.#connection.send(encodeMessage(REQUEST, id, service, body));
      const pending: Pending = { service, resolve, reject, timer: undefined };
      this.#pending.set(id, pending);
      const timeoutMs = options?.timeoutMs ?? this.#requestTimeoutMs;
      if (timeoutMs !== undefined) {
        pending.timer = this.#clock.schedule(timeoutMs, () => this.#onTimeout(id, service, timeoutMs));
      }
    });
  }

  notify(service: string, body: Uint8Array, payload?: Uint8Array): void {
    if (this.#gone !== undefined) return;
    const head = encodeMessage(NOTICE, 0, service, body);
    if (payload === undefined) this.#connection.send(head);
    else if (this.#connection.sendParts === undefined) this.#connection.send(joined(head, payload));
    else this.#connection.sendParts(head, payload);
  }

  recycle(body: Uint8Array): void {
    this.#connection.recycle?.(body);
  }

  flush(): void {
    if (this.#gone === undefined) this.#connection.flush?.();
  }

  close(): void {
    this.#connection.close();
    this.#end(undefined);
  }

  #nextId(): number {
    do {
      this.#lastId = (this.#lastId + 1) >>> 0;
    } while (this.#lastId === 0 || this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #start(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const frame of early) this.#onFrame(frame);
    if (this.#earlyEnd !== undefined) this.#end(this.#earlyEnd.reason);
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#early !== undefined) {
      this.#early.push(frame);
      return;
    }
    if (this.#gone !== undefined) return;
    let message: Message;
    try {
      message = decodeMessage(frame);
    } catch (error) {
      this.#logger?.warn({ peer: this.peer, error }, 'connection closed: a message could not be read');
      this.#connection.close();
      this.#end(error as Error);
      return;
    }
    if (message.kind === REQUEST) this.#onRequest(message);
    else if (message.kind === NOTICE) this.#onNotice(message);
    else this.#onAnswer(message);
  }

  #onRequest(message: Message): void {
    let result: ReturnType<RpcHandler>;
    try {
      result = this.#handler(message.service)(message.body);
    } catch (error) {
      this.#fail(message.id, error);
      return;
    }
    if (result === undefined || result instanceof Uint8Array) {
      this.#answer(message.id, result);
      return;
    }
    result.then(
      (body) => this.#answer(message.id, body),
      (error) => this.#fail(message.id, error),
    );
  }

  #onNotice(message: Message): void {
    const warn = (error: unknown) =>
      this.#logger?.warn({ peer: this.peer, service: message.service, error }, 'a notice failed');
    try {
      const result = this.#handler(message.service)(message.body);
      if (result instanceof Promise) result.catch(warn);
    } catch (error) {
      warn(error);
    }
  }

  #onAnswer(message: Message): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return; // it came after its timeout
    this.#pending.delete(message.id);
    pending.timer?.cancel();
    if (message.kind === FAILURE && message.error !== undefined) pending.reject(message.error);
    else pending.resolve(message.body);
  }

  #handler(service: string): RpcHandler {
    const handler = this.#services.get(service);
    if (handler !== undefined) return handler;
    throw new MillraceError('invalid', 'UNKNOWN_SERVICE', `no service named ${service} is served here`, {
      context: { service },
    });
  }

  #answer(id: number, body: Uint8Array | undefined): void {
    if (this.#gone !== undefined) return;
    try {
      this.#connection.send(encodeMessage(RESPONSE, id, '', body ?? NO_BYTES));
    } catch (error) {
      this.#fail(id, error);
    }
  }

  #fail(id: number, thrown: unknown): void {
    if (this.#gone === undefined) this.#connection.send(encodeFailure(id, MillraceError.from(thrown)));
  }

  #onTimeout(id: number, service: string, timeoutMs: number): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.reject(
      new MillraceError(
        'unavailable',
        'REQUEST_TIMEOUT',
        `${this.peer} did not answer ${service} within ${timeoutMs} ms`,
        { context: { peer: this.peer, service, timeoutMs } },
      ),
    );
  }

  #onClose(reason: Error | undefined): void {
    if (this.#early === undefined) this.#end(reason);
    else this.#earlyEnd = { reason };
  }

  #end(reason: Error | undefined): void {
    if (this.#gone !== undefined) return;
    this.#gone = { reason };
    for (const pending of this.#pending.values()) {
      pending.timer?.cancel();
      pending.reject(this.#peerGone(pending.service, reason));
    }
    this.#pending.clear();
    this.#resolveClosed(reason);
  }

  #peerGone(service: string, reason: Error | undefined): MillraceError {
    const why = reason === undefined ? 'the connection was closed' : reason.message;
    return new MillraceError('unavailable', 'PEER_GONE', `${this.peer} went before it answered ${service}: ${why}`, {
      cause: reason,
      context: { peer: this.peer, service },
    });
  }
}
