import type { Clock } from '../clock.js';
import type { Logger } from '../logger.js';
import type { Connection } from '../network.js';
import type { HttpHandler, HttpRequestHead, HttpRouteOptions } from './http-route.js';

/** One port of a process: its HTTP control routes, and WebSockets that carry frames (`Connection`s). */
export interface FrontDoor {
  /** What serves it: uWebSockets.js, or node:http with `ws`. Both behave the same. */
  readonly implementation: FrontDoorImplementation;
  readonly host: string;
  /** The port that was chosen, where port 0 was asked for. */
  readonly port: number;
  /** `http://host:port`, without a slash at the end. */
  readonly address: string;
  /** The `ws:` address of a path, for `Network.connect`. */
  webSocketAddress(path: string): string;
  /**
   * Serves an HTTP route; a segment `:name` of the path matches any one segment and becomes `request.params.name`.
   * A thrown MillraceError becomes a JSON answer with its code; its kind chooses the status.
   */
  route(method: string, path: string, handler: HttpHandler, options?: HttpRouteOptions): void;
  /** Accepts WebSockets at exactly this path. They are not authenticated: `acceptPeer` does that. */
  onConnection(path: string, onConnection: (connection: Connection) => void): void;
  /** Stops listening, closes every connection (what they queued is sent first) and resolves when all are gone. */
  close(): Promise<void>;
}

export type FrontDoorImplementation = 'uws' | 'node';

export interface FrontDoorOptions {
  /** Loopback by default. */
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Asked before every HTTP route that is not `open`; without it all routes are open. See `bearerToken`. */
  readonly authorize?: (head: HttpRequestHead) => boolean;
  /** The answer of `GET /health` (open to all): status 200, or 503 when `ok` is false. `{"ok":true}` by default. */
  readonly health?: () => HealthReport | Promise<HealthReport>;
  /** The answer of `GET /metrics` (open to all), in Prometheus' text format; without it there is no such route. */
  readonly metrics?: () => string | Promise<string>;
  /** Forces one implementation instead of falling back. */
  readonly implementation?: FrontDoorImplementation;
  /** A request whose body takes longer is refused with 408. Ten seconds by default. */
  readonly bodyTimeoutMs?: number;
}

export interface HealthReport {
  readonly ok: boolean;
  readonly [detail: string]: unknown;
}

export const LOOPBACK = '127.0.0.1';
export const BODY_TIMEOUT_MS = 10_000;

/** `host:port` for messages and URLs; IPv6 addresses are bracketed. */
export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What both implementations advise when the port is taken. */
export const PORT_IN_USE_ADVICE = 'stop what listens there, or choose another port (0 takes a free one)';
