import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../clock.js';
import { type ErrorKind, MillraceError } from '../errors.js';
import type { Logger } from '../logger.js';
import { BODY_TIMEOUT_MS, type FrontDoorOptions, type HealthReport } from './front-door.js';
import type { HttpHandler, HttpRequest, HttpRequestHead, HttpResponse, HttpRouteOptions } from './http-route.js';

/** Larger bodies are refused with 413: control requests are small, data goes through connections. */
export const BODY_BYTES_MAX = 1024 * 1024;

/** One request as an implementation of the front door gives it to the router. */
export interface HttpExchange {
  readonly head: HttpRequestHead;
  /** Called at most once, synchronously from `handle`: `data` for each piece, then `end`. Pieces are only borrowed. */
  readBody(data: (piece: Uint8Array) => void, end: () => void): void;
  /** Called at most once, and not after the client went. `last`: the connection cannot be used for another request. */
  respond(response: HttpResponse, last: boolean): void;
}

interface Route {
  readonly method: string;
  readonly segments: readonly string[];
  readonly handler: HttpHandler;
  readonly open: boolean;
}

const STATUS_OF_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unavailable: 503,
  fenced: 409,
  closed: 410,
  corrupt: 500,
  internal: 500,
};

/** What is the same in both implementations of the front door: routes, authorisation, limits, errors. */
export class HttpRouter {
  readonly #routes: Route[] = [];
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #authorize: ((head: HttpRequestHead) => boolean) | undefined;
  readonly #bodyTimeoutMs: number;

  constructor(options: FrontDoorOptions) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#authorize = options.authorize;
    this.#bodyTimeoutMs = options.bodyTimeoutMs ?? BODY_TIMEOUT_MS;
    const { health, metrics } = options;
    this.add('GET', '/health', async () => healthResponse((await health?.()) ?? { ok: true }), { open: true });
    if (metrics !== undefined) {
      const contentType = 'text/plain; version=0.0.4; charset=utf-8';
      this.add('GET', '/metrics', async () => ({ status: 200, contentType, body: await metrics() }), { open: true });
    }
  }

  add(method: string, path: string, handler: HttpHandler, options: HttpRouteOptions = {}): void {
    this.#routes.push({ method, segments: path.split('/'), handler, open: options.open ?? false });
  }

  handle(exchange: HttpExchange): void {
    const { head } = exchange;
    const found = this.#find(head);
    if (!('route' in found)) {
      exchange.respond(found, true);
      return;
    }
    if (!found.route.open && this.#authorize !== undefined && !this.#authorize(head)) {
      exchange.respond(refusal(401, 'UNAUTHORIZED', `${head.method} ${head.path} needs this job's token`), true);
      return;
    }
    if (Number(head.headers.get('content-length') ?? 0) > BODY_BYTES_MAX) {
      exchange.respond(tooLarge(), true);
      return;
    }
    this.#collect(exchange, (body) => this.#run(exchange, found.route, { ...head, params: found.params, body }));
  }

  #find(head: HttpRequestHead): { route: Route; params: Record<string, string> } | HttpResponse {
    const segments = head.path.split('/');
    let otherMethod = false;
    for (const route of this.#routes) {
      const params = match(route.segments, segments);
      if (params === undefined) continue;
      if (route.method === head.method) return { route, params };
      otherMethod = true;
    }
    return otherMethod
      ? refusal(405, 'METHOD_NOT_ALLOWED', `${head.path} does not take ${head.method}`)
      : refusal(404, 'NO_SUCH_ROUTE', `there is nothing at ${head.path}`);
  }

  #collect(exchange: HttpExchange, done: (body: Uint8Array) => void): void {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    let over = false;
    const refuse = (response: HttpResponse) => {
      over = true;
      timer.cancel();
      exchange.respond(response, true);
    };
    const timer = this.#clock.schedule(this.#bodyTimeoutMs, () => {
      if (!over) refuse(refusal(408, 'BODY_TIMEOUT', `the request did not arrive within ${this.#bodyTimeoutMs} ms`));
    });
    exchange.readBody(
      (piece) => {
        if (over) return;
        bytes += piece.length;
        if (bytes > BODY_BYTES_MAX) refuse(tooLarge());
        else pieces.push(Uint8Array.from(piece));
      },
      () => {
        timer.cancel();
        if (over) return;
        over = true;
        done(new Uint8Array(Buffer.concat(pieces)));
      },
    );
  }

  async #run(exchange: HttpExchange, route: Route, request: HttpRequest): Promise<void> {
    let response: HttpResponse;
    try {
      response = await route.handler(request);
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      if (error.kind === 'internal') {
        this.#logger.error({ method: request.method, path: request.path, error }, 'an HTTP handler failed');
      }
      response = refusal(STATUS_OF_KIND[error.kind], error.code, error.message, error.context);
    }
    exchange.respond(response, false);
  }
}

/**
 * An `authorize` hook: wants `Authorization: Bearer TOKEN`. Digests are compared, in constant time, so that neither the
 * content nor the length of the token shows.
 */
export function bearerToken(token: string): (head: HttpRequestHead) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(`Bearer ${token}`);
  return (head) => timingSafeEqual(digest(head.headers.get('authorization') ?? ''), expected);
}

/** A JSON answer for `route` handlers. */
export function jsonResponse(value: unknown, status = 200): HttpResponse {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value)}\n` };
}

function healthResponse(report: HealthReport): HttpResponse {
  return jsonResponse(report, report.ok ? 200 : 503);
}

function refusal(status: number, code: string, message: string, context: object = {}): HttpResponse {
  return jsonResponse({ code, message, context }, status);
}

function tooLarge(): HttpResponse {
  return refusal(413, 'BODY_TOO_LARGE', `a request body has at most ${BODY_BYTES_MAX} bytes`);
}

function match(pattern: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [i, expected] of pattern.entries()) {
    const segment = segments[i] as string;
    if (expected.startsWith(':') && segment !== '') {
      const value = decoded(segment);
      if (value === undefined) return undefined;
      params[expected.slice(1)] = value;
    } else if (expected !== segment) return undefined;
  }
  return params;
}

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
