import { timingSafeEqual } from 'node:crypto';
import type { Clock } from '../clock.js';
import { assert, MillraceError } from '../errors.js';
import type { Connection, Network } from '../network.js';
import { connectionLost } from './connection-errors.js';
import { ConnectionEvents } from './connection-events.js';
import { joined } from './framing.js';
import type { RpcPeer } from './peer.js';
import { type RpcPeerOptions, rpcPeer } from './rpc-peer.js';

/**
 * The first frame each way is a hello. The one who connected speaks first; the one who accepted answers with its own
 * hello, or with a refusal that carries no token:
 *
 *     offset 0    4 bytes             'MLRC'
 *     offset 4    u16 little-endian   protocol version
 *     offset 6    u8                  0 hello, 1 refused: wrong token, 2 refused: other version
 *     offset 7    u8                  length r of the role
 *     offset 8    u16 little-endian   length t of the token
 *     offset 10   t bytes             the token, then r bytes UTF-8: the role, for logs (`worker 2`)
 *
 * The first 8 bytes keep their meaning in every version. The token guards against accidents (another job, an old
 * process), not against users who can read this process's memory or wire.
 */
export const PROTOCOL_VERSION = 1;

const MAGIC = Uint8Array.of(0x4d, 0x4c, 0x52, 0x43);
const HEADER_BYTES = 10;
const TOKEN_BYTES_MIN = 16;
const HELLO_BYTES_MAX = 1024;
const HELLO_TIMEOUT_MS = 10_000;
const HELLO = 0;
const REFUSED_TOKEN = 1;
const REFUSED_VERSION = 2;

export interface AuthOptions {
  /** The secret both sides share: at least 16 bytes. */
  readonly token: Uint8Array;
  /** What this side is, for the other's logs: at most 255 bytes. */
  readonly role: string;
  readonly clock: Clock;
  readonly helloTimeoutMs?: number;
}

/** A connection whose two sides know each other's token. */
export interface AuthenticatedConnection extends Connection {
  readonly role: string;
}

/** An RpcPeer and what the other side said it is. */
export interface AuthenticatedPeer extends RpcPeer {
  readonly role: string;
}

/**
 * Connects and says hello.
 * @throws MillraceError `CONNECT_FAILED`, `HELLO_TIMEOUT`, `CONNECTION_LOST` (unavailable), `AUTH_FAILED`,
 *   `VERSION_MISMATCH` (invalid), `BAD_HELLO` (corrupt).
 */
export async function connectAuthenticated(
  network: Network,
  address: string,
  options: AuthOptions,
): Promise<AuthenticatedConnection> {
  checkToken(options);
  return new Handshake(await network.connect(address), options, 'connected').done;
}

/** The other half, for a connection that a listener gave. Throws as `connectAuthenticated`, after refusing the peer. */
export async function acceptAuthenticated(
  connection: Connection,
  options: AuthOptions,
): Promise<AuthenticatedConnection> {
  checkToken(options);
  return new Handshake(connection, options, 'accepted').done;
}

/** `connectAuthenticated`, then an RpcPeer on it. */
export async function connectPeer(
  network: Network,
  address: string,
  options: AuthOptions & RpcPeerOptions,
): Promise<AuthenticatedPeer> {
  return authenticatedPeer(await connectAuthenticated(network, address, options), options);
}

/** `acceptAuthenticated`, then an RpcPeer on it. */
export async function acceptPeer(
  connection: Connection,
  options: AuthOptions & RpcPeerOptions,
): Promise<AuthenticatedPeer> {
  return authenticatedPeer(await acceptAuthenticated(connection, options), options);
}

function authenticatedPeer(connection: AuthenticatedConnection, options: RpcPeerOptions): AuthenticatedPeer {
  return Object.assign(rpcPeer(connection, options), { role: connection.role });
}

interface Hello {
  readonly version: number;
  readonly status: number;
  readonly token: Uint8Array;
  readonly role: string;
}

class Handshake {
  readonly done: Promise<AuthenticatedConnection>;
  readonly #connection: Connection;
  readonly #options: AuthOptions;
  readonly #side: 'connected' | 'accepted';
  readonly #events = new ConnectionEvents();
  #open = false;
  #settled = false;
  #resolve: (connection: AuthenticatedConnection) => void = () => undefined;
  #reject: (error: MillraceError) => void = () => undefined;

  constructor(connection: Connection, options: AuthOptions, side: 'connected' | 'accepted') {
    this.#connection = connection;
    this.#options = options;
    this.#side = side;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const timeoutMs = options.helloTimeoutMs ?? HELLO_TIMEOUT_MS;
    const timer = options.clock.schedule(timeoutMs, () =>
      this.#giveUp(
        new MillraceError('unavailable', 'HELLO_TIMEOUT', `${connection.peer} said no hello in ${timeoutMs} ms`),
      ),
    );
    this.done.then(
      () => timer.cancel(),
      () => timer.cancel(),
    );
    connection.onFrame((frame) => (this.#open ? this.#events.frame(frame) : this.#onHello(frame)));
    connection.onClose((reason) => this.#onClose(reason));
    if (side === 'connected') this.#sayHello();
  }

  #sayHello(): void {
    this.#connection.send(encodeHello(HELLO, this.#options.token, this.#options.role));
  }

  #onHello(frame: Uint8Array): void {
    if (this.#settled) return;
    const hello = decodeHello(frame);
    const peer = this.#connection.peer;
    if (hello === undefined) {
      this.#giveUp(new MillraceError('corrupt', 'BAD_HELLO', `${peer} does not speak Millrace's protocol`));
      return;
    }
    if (hello.version !== PROTOCOL_VERSION || hello.status === REFUSED_VERSION) {
      this.#refuse(REFUSED_VERSION, hello, versionMismatch(peer, hello.version));
      return;
    }
    if (hello.status !== HELLO || !sameToken(hello.token, this.#options.token)) {
      this.#refuse(REFUSED_TOKEN, hello, authFailed(peer));
      return;
    }
    if (this.#side === 'accepted') this.#sayHello();
    this.#settled = true;
    this.#open = true;
    this.#resolve(new OpenConnection(this.#connection, this.#events, hello.role));
  }

  #refuse(status: number, hello: Hello, error: MillraceError): void {
    if (hello.status === HELLO) this.#connection.send(encodeHello(status, new Uint8Array(0), this.#options.role));
    this.#giveUp(error);
  }

  #giveUp(error: MillraceError): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#connection.close();
    this.#reject(error);
  }

  #onClose(reason: Error | undefined): void {
    if (this.#open) {
      this.#events.end(reason);
      return;
    }
    if (reason instanceof MillraceError) this.#giveUp(reason);
    else this.#giveUp(connectionLost(this.#connection.peer, 'it closed before saying hello', reason));
  }
}

class OpenConnection implements AuthenticatedConnection {
  readonly peer: string;
  readonly role: string;
  readonly #connection: Connection;
  readonly #events: ConnectionEvents;

  constructor(connection: Connection, events: ConnectionEvents, role: string) {
    this.peer = `${role} at ${connection.peer}`;
    this.role = role;
    this.#connection = connection;
    this.#events = events;
  }

  get queuedBytes(): number {
    return this.#connection.queuedBytes;
  }

  send(frame: Uint8Array): void {
    this.#connection.send(frame);
  }

  sendParts(head: Uint8Array, payload: Uint8Array): void {
    if (this.#connection.sendParts === undefined) this.#connection.send(joined(head, payload));
    else this.#connection.sendParts(head, payload);
  }

  recycle(frame: Uint8Array): void {
    this.#connection.recycle?.(frame);
  }

  flush(): void {
    this.#connection.flush?.();
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#events.onFrame(handler);
  }

  onClose(handler: (reason: Error | undefined) => void): void {
    this.#events.onClose(handler);
  }

  close(): void {
    this.#events.mute();
    this.#connection.close();
  }
}

function encodeHello(status: number, token: Uint8Array, role: string): Uint8Array {
  const name = Buffer.from(role);
  assert(name.length <= 255 && HEADER_BYTES + token.length + name.length <= HELLO_BYTES_MAX, 'token or role too long');
  const hello = new Uint8Array(HEADER_BYTES + token.length + name.length);
  const view = new DataView(hello.buffer);
  hello.set(MAGIC);
  view.setUint16(4, PROTOCOL_VERSION, true);
  view.setUint8(6, status);
  view.setUint8(7, name.length);
  view.setUint16(8, token.length, true);
  hello.set(token, HEADER_BYTES);
  hello.set(name, HEADER_BYTES + token.length);
  return hello;
}

function decodeHello(frame: Uint8Array): Hello | undefined {
  if (frame.length < 8 || frame.length > HELLO_BYTES_MAX || MAGIC.some((byte, i) => frame[i] !== byte))
    return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const version = view.getUint16(4, true);
  const status = view.getUint8(6);
  if (version !== PROTOCOL_VERSION) return { version, status, token: new Uint8Array(0), role: '' };
  if (frame.length < HEADER_BYTES) return undefined;
  const roleAt = HEADER_BYTES + view.getUint16(8, true);
  if (roleAt + view.getUint8(7) !== frame.length) return undefined;
  return {
    version,
    status,
    token: frame.subarray(HEADER_BYTES, roleAt),
    role: Buffer.from(frame.subarray(roleAt)).toString(),
  };
}

function checkToken(options: AuthOptions): void {
  assert(options.token.length >= TOKEN_BYTES_MIN, `a token has at least ${TOKEN_BYTES_MIN} bytes`);
}

function sameToken(theirs: Uint8Array, ours: Uint8Array): boolean {
  return theirs.length === ours.length && timingSafeEqual(theirs, ours);
}

function authFailed(peer: string): MillraceError {
  return new MillraceError('invalid', 'AUTH_FAILED', `${peer} has another token: it belongs to another job or run`, {
    context: { peer },
  });
}

function versionMismatch(peer: string, theirs: number): MillraceError {
  return new MillraceError(
    'invalid',
    'VERSION_MISMATCH',
    `${peer} speaks protocol version ${theirs}, this process speaks ${PROTOCOL_VERSION}: run the same Millrace on both`,
    { context: { peer, theirs, ours: PROTOCOL_VERSION } },
  );
}
