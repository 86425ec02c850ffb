/**
 * All networks of the simulated world. `unix:` and `memory:` addresses belong to one host; `ws://host:port/path` is found
 * from everywhere, where `host` is a simulated host's name, or 127.0.0.1, localhost, 0.0.0.0 for one's own.
 *
 * Death: a killed process's listeners vanish at once; its connections deliver what the operating system already had, then
 * the peers see a reset. A host that loses power says nothing: peers notice after `silentMs`.
 * A paused process neither accepts nor reads; what arrives waits for it.
 * `block` is one-way and loses nothing (TCP sends again): what is on the way is held until `unblock`.
 */
import { type Connection, type Listener, MillraceError, type Network, type Random } from '../base/index.js';
import type { SimClock } from './sim-clock.js';
import { SimConnection, type Wire } from './sim-connection.js';
import type { DeathCause, SimThread } from './sim-thread.js';

export interface SimNetworkOptions {
  /** One way between hosts, in ms: uniform between the two. */
  readonly latencyMs?: readonly [number, number];
  /** One way inside a host. */
  readonly localLatencyMs?: readonly [number, number];
  readonly bytesPerMs?: number;
  /** How long an attempt to connect to a host that does not answer takes to fail. */
  readonly connectTimeoutMs?: number;
  /** How long peers of a host that lost power keep believing in it. */
  readonly silentMs?: number;
}

interface Listening {
  readonly thread: SimThread;
  readonly address: string;
  readonly path: string;
  readonly onConnection: (connection: Connection) => void;
  /** How to fail those who knocked and were not let in yet. */
  readonly knocking: Set<() => void>;
}

const FIRST_PORT = 20_000;

export class SimNetwork implements Wire {
  readonly clock: SimClock;
  readonly bytesPerMs: number;
  readonly #random: Random;
  readonly #latencyMs: readonly [number, number];
  readonly #localLatencyMs: readonly [number, number];
  readonly #connectTimeoutMs: number;
  readonly #silentMs: number;
  readonly #listening = new Map<string, Listening>();
  readonly #connections = new Set<SimConnection>();
  readonly #blocked = new Set<string>();
  #nextPort = FIRST_PORT;
  #nextClient = 1;

  constructor(clock: SimClock, random: Random, options: SimNetworkOptions = {}) {
    this.clock = clock;
    this.#random = random;
    this.#latencyMs = options.latencyMs ?? [0.1, 2];
    this.#localLatencyMs = options.localLatencyMs ?? [0.02, 0.3];
    this.bytesPerMs = options.bytesPerMs ?? 500_000;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? 3000;
    this.#silentMs = options.silentMs ?? 8000;
  }

  /** The view of one thread. */
  of(thread: SimThread): Network {
    thread.onDeath((cause) => this.#died(thread, cause));
    return {
      connect: (address) => this.#connect(thread, address),
      listen: (address, onConnection) => this.#listen(thread, address, onConnection),
    };
  }

  latencyMs(from: SimThread, to: SimThread): number {
    const [min, max] = from.host === to.host ? this.#localLatencyMs : this.#latencyMs;
    return min + this.#random.float() * (max - min);
  }

  blocked(from: SimThread, to: SimThread): boolean {
    return this.#blocked.size > 0 && this.#blocked.has(`${from.host} ${to.host}`);
  }

  /** Nothing gets from one host to another any more; the way back is not affected. */
  block(fromHost: string, toHost: string): void {
    this.#blocked.add(`${fromHost} ${toHost}`);
  }

  unblock(fromHost: string, toHost: string): void {
    this.#blocked.delete(`${fromHost} ${toHost}`);
    for (const connection of this.#live()) connection.unblock();
  }

  /** Breaks every connection for whose two threads this holds. Returns how many there were. */
  sever(which: (a: SimThread, b: SimThread) => boolean): number {
    let count = 0;
    const seen = new Set<SimConnection>();
    for (const connection of this.#live()) {
      if (seen.has(connection) || !which(connection.thread, connection.other.thread)) continue;
      seen.add(connection.other);
      count++;
      connection.sever(
        lost(`the connection between ${connection.thread.name} and ${connection.other.thread.name} broke`),
      );
    }
    return count;
  }

  /** Connections that are open on at least one side, for leak checks. */
  get openConnections(): number {
    return this.#live().length >> 1;
  }

  #live(): SimConnection[] {
    for (const connection of this.#connections) {
      if (connection.finished && connection.other.finished) this.#connections.delete(connection);
    }
    return [...this.#connections];
  }

  #connect(thread: SimThread, address: string): Promise<Connection> {
    return new Promise((resolve, reject) => {
      if (!thread.alive) return;
      const { clock } = this;
      const { key, path } = parse(address, thread.host);
      const fail = (afterMs: number, why: string) => {
        clock.on(thread, afterMs, 'net.refused', () => {
          const message = `cannot connect to ${address}: ${why}`;
          reject(new MillraceError('unavailable', 'CONNECT_FAILED', message, { context: { address } }));
        });
      };
      const target = this.#listening.get(key);
      const wayMs = target === undefined ? this.#random.float() : this.latencyMs(thread, target.thread);
      clock.at(wayMs, 'net.connect', () => {
        const found = this.#listening.get(key);
        if (!thread.alive) return;
        if (found === undefined || found.path !== path) return fail(wayMs, 'nobody listens there');
        if (this.blocked(thread, found.thread) || this.blocked(found.thread, thread)) {
          return fail(this.#connectTimeoutMs, 'no answer');
        }
        const refuse = () => fail(wayMs, 'the listener went away');
        found.knocking.add(refuse);
        clock.on(found.thread, 0, 'net.accept', () => {
          // Closed meanwhile: then it was refused already.
          if (!found.knocking.delete(refuse) || !thread.alive) return;
          const backMs = this.latencyMs(found.thread, thread);
          const client = new SimConnection(this, thread, address, 0);
          const server = new SimConnection(
            this,
            found.thread,
            `${thread.name}#${this.#nextClient++}`,
            clock.timeMs + backMs,
          );
          SimConnection.join(client, server);
          this.#connections.add(client).add(server);
          if (this.#connections.size % 256 === 0) this.#live();
          clock.on(thread, backMs, 'net.connected', () => resolve(client));
          found.onConnection(server);
        });
      });
    });
  }

  #listen(thread: SimThread, address: string, onConnection: (connection: Connection) => void): Promise<Listener> {
    return new Promise((resolve, reject) => {
      this.clock.on(thread, this.latencyMs(thread, thread), 'net.listen', () => {
        const actual = address.replace(/^(ws:\/\/[^/]*):0(?=\/|$)/, (_, host: string) => `${host}:${this.#nextPort++}`);
        const { key, path } = parse(actual, thread.host);
        if (this.#listening.has(key)) {
          const message = `${actual} is in use`;
          reject(new MillraceError('invalid', 'ADDRESS_IN_USE', message, { context: { address: actual } }));
          return;
        }
        const listening: Listening = { thread, address: actual, path, onConnection, knocking: new Set() };
        this.#listening.set(key, listening);
        resolve({
          address: actual,
          close: () =>
            new Promise((closed) => {
              if (this.#listening.get(key) === listening) this.#close(key, listening);
              this.clock.on(thread, 0, 'net.unlisten', closed);
            }),
        });
      });
    });
  }

  #close(key: string, listening: Listening): void {
    this.#listening.delete(key);
    for (const refuse of listening.knocking) refuse();
    listening.knocking.clear();
  }

  #died(thread: SimThread, cause: DeathCause): void {
    for (const [key, listening] of [...this.#listening]) if (listening.thread === thread) this.#close(key, listening);
    for (const connection of this.#live()) {
      if (connection.thread !== thread) continue;
      const reason = lost(`the connection to ${thread.name} was reset`);
      connection.abandon(reason, cause === 'power' ? this.#silentMs : 0);
    }
  }
}

function lost(message: string): MillraceError {
  return new MillraceError('unavailable', 'CONNECTION_LOST', message);
}

/** Where an address is listened to, seen from a host. */
function parse(address: string, host: string): { readonly key: string; readonly path: string } {
  const ws = /^ws:\/\/([^/:]+):(\d+)(\/.*)?$/.exec(address);
  if (ws !== null) {
    const named = ws[1] as string;
    const at = ['127.0.0.1', 'localhost', '0.0.0.0'].includes(named) ? host : named;
    return { key: `ws ${at}:${ws[2]}`, path: ws[3] ?? '/' };
  }
  if (/^(unix|memory):./.test(address)) return { key: `${host} ${address}`, path: '' };
  throw new MillraceError('invalid', 'ADDRESS_INVALID', `not an address: ${address}`, { context: { address } });
}
