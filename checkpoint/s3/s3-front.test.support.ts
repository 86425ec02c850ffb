import {
  Agent,
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Random, seededRandom } from '../../base/index.js';

/** What a front does to a request. */
export type S3Fault =
  /** The server does it and answers; the answer never arrives. */
  | { readonly kind: 'lost' }
  /** Answered by the front; the server never hears of it. 409, 500, 503 SlowDown .. */
  | { readonly kind: 'answer'; readonly status: number; readonly code: string }
  /** Something else happens first, e.g. another writer moves the value; not a byte of the body is read before. */
  | { readonly kind: 'race'; readonly first: () => Promise<void> | void }
  /** The connection ends in the middle of the body of the answer. */
  | { readonly kind: 'truncate' }
  /** Half of the body arrives, under a length that says that this is all. */
  | { readonly kind: 'shorten' }
  /** Nothing arrives any more, and the connection stays: from the start, or from the middle of the body on. */
  | { readonly kind: 'stall'; readonly where: 'start' | 'body' }
  /** The connection is reset; the server never hears of it. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'delay'; readonly ms: number };

/** Which requests; all that is said must hold. */
export interface S3FaultRule {
  readonly method?: string;
  /** Of the key, without the bucket; empty for the bucket itself. */
  readonly key?: RegExp;
  /** A parameter that the query must have, such as `uploadId`. */
  readonly query?: string;
  /** Only the nth that matches the above, from 1. */
  readonly nth?: number;
  /** At most so many times. */
  readonly times?: number;
  /** With this probability, drawn from the seed. */
  readonly rate?: number;
}

export interface InjectedFault {
  /** How often it struck. */
  readonly hits: number;
  /** It strikes no more. */
  lift(): void;
}

/** A request as it came, in order of arrival. */
export interface SeenRequest {
  readonly method: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
}

interface Planted {
  readonly rule: S3FaultRule;
  readonly fault: S3Fault;
  matched: number;
  hits: number;
}

const hopByHop = new Set(['connection', 'keep-alive']);

/**
 * A proxy before an S3 server that breaks what it is told to break. Signed requests pass: path, headers and Host stay as
 * they are. Where several rules match, the first planted strikes. Also counts requests, and can add a delay to each.
 */
export class S3Front {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly requests: SeenRequest[] = [];
  /** Added to each request before it is passed on: a store that is far away. */
  delayMs = 0;
  /** Most requests that were in the front at a time. */
  inFlightMax = 0;
  #inFlight = 0;
  #stalled = 0;
  readonly #server: Server;
  readonly #upstream: URL;
  readonly #random: Random;
  readonly #agent = new Agent({ keepAlive: false });
  readonly #sockets = new Set<Socket>();
  readonly #planted: Planted[] = [];
  #away = false;

  private constructor(server: Server, upstream: string, seed: number) {
    this.#server = server;
    this.#upstream = new URL(upstream);
    this.#random = seededRandom(seed);
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** `upstream`: URL of the server behind. */
  static async listen(upstream: string, options: { readonly seed?: number } = {}): Promise<S3Front> {
    const server = createServer();
    server.requestTimeout = 0;
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const front = new S3Front(server, upstream, options.seed ?? 1);
    server.on('connection', (socket) => front.#connected(socket));
    server.on('request', (message, response) => void front.#serve(message, response));
    return front;
  }

  inject(rule: S3FaultRule, fault: S3Fault): InjectedFault {
    const planted: Planted = { rule, fault, matched: 0, hits: 0 };
    this.#planted.push(planted);
    return {
      get hits() {
        return planted.hits;
      },
      lift: () => {
        const at = this.#planted.indexOf(planted);
        if (at >= 0) this.#planted.splice(at, 1);
      },
    };
  }

  /** From now on every connection is reset, those that stand included; until the returned function is called. */
  outage(): () => void {
    this.#away = true;
    for (const socket of this.#sockets) reset(socket);
    return () => {
      this.#away = false;
    };
  }

  /** Resolves when so many requests stall that no earlier call waited for. */
  async stalled(count = 1): Promise<void> {
    while (this.#stalled < count) await wait(1);
    this.#stalled -= count;
  }

  /** How many requests of this kind came. */
  count(method: string, key = /(?:)/): number {
    return this.requests.filter((r) => r.method === method && key.test(r.key)).length;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    this.#agent.destroy();
  }

  #connected(socket: Socket): void {
    if (this.#away) {
      reset(socket);
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(message.url ?? '/', this.url);
    const key = decodeURIComponent(url.pathname).replace(/^\/[^/]*\/?/, '');
    const { method = 'GET', headers } = message;
    const seen: SeenRequest = { method, key, query: url.searchParams, headers };
    this.requests.push(seen);
    this.inFlightMax = Math.max(this.inFlightMax, ++this.#inFlight);
    response.on('close', () => this.#inFlight--);
    const fault = this.#strike(seen);
    if (this.delayMs > 0) await wait(this.delayMs);
    if (fault?.kind === 'delay') await wait(fault.ms);
    if (fault?.kind === 'race') await fault.first();
    if (fault?.kind === 'reset') {
      reset(message.socket);
      return;
    }
    if (fault?.kind === 'answer') return answerItself(message, response, fault);
    if (fault?.kind === 'stall' && fault.where === 'start') {
      message.resume();
      this.#stalled++;
      return;
    }
    this.#pass(message, response, fault);
  }

  #strike(seen: SeenRequest): S3Fault | undefined {
    for (const planted of this.#planted) {
      const { method, key, query, nth, times, rate } = planted.rule;
      if (method !== undefined && method !== seen.method) continue;
      if (key !== undefined && !key.test(seen.key)) continue;
      if (query !== undefined && !seen.query.has(query)) continue;
      planted.matched++;
      if (nth !== undefined && planted.matched !== nth) continue;
      if (times !== undefined && planted.hits >= times) continue;
      if (rate !== undefined && !this.#random.chance(rate)) continue;
      planted.hits++;
      return planted.fault;
    }
    return undefined;
  }

  #pass(message: IncomingMessage, response: ServerResponse, fault: S3Fault | undefined): void {
    const { hostname, port } = this.#upstream;
    const onward: ClientRequest = request({
      hostname,
      port,
      agent: this.#agent,
      method: message.method,
      path: message.url,
      headers: endToEnd(message.rawHeaders),
    });
    onward.on('error', () => reset(message.socket));
    onward.on('response', (answer) => {
      answer.on('error', () => reset(message.socket));
      void this.#passBack(answer, response, fault);
    });
    // A client that goes away takes its request with it, as it would without a front.
    response.on('close', () => {
      if (!response.writableFinished && fault?.kind !== 'lost') onward.destroy();
    });
    message.pipe(onward);
  }

  async #passBack(answer: IncomingMessage, response: ServerResponse, fault: S3Fault | undefined): Promise<void> {
    const body = await readAll(answer).catch(() => undefined);
    if (body === undefined) return;
    if (fault?.kind === 'lost') {
      if (response.socket !== null) reset(response.socket);
      return;
    }
    const headers = endToEnd(answer.rawHeaders);
    const status = answer.statusCode ?? 500;
    const half = body.subarray(0, body.length >> 1);
    if (fault?.kind === 'shorten') {
      const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-length');
      if (at >= 0) headers[at + 1] = String(half.length);
      response.writeHead(status, headers).end(half);
      return;
    }
    response.writeHead(status, headers);
    if (fault?.kind === 'truncate' || fault?.kind === 'stall') {
      // The half has left before the connection ends.
      response.write(half, () => {
        if (fault.kind === 'truncate') response.socket?.destroySoon();
        else this.#stalled++;
      });
      return;
    }
    response.end(body);
  }
}

function answerItself(
  message: IncomingMessage,
  response: ServerResponse,
  { status, code }: { readonly status: number; readonly code: string },
): void {
  message.resume();
  message.on('end', () => {
    const text = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>injected</Message></Error>`;
    response.writeHead(status, { 'content-type': 'application/xml', 'content-length': String(text.length) });
    response.end(message.method === 'HEAD' ? undefined : text);
  });
}

/** Not for a socket that is being shut down: Node 20 then never closes it, and hangs at exit. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Without what is between two neighbours only. */
function endToEnd(rawHeaders: readonly string[]): string[] {
  return rawHeaders.filter((_, i) => !hopByHop.has((rawHeaders[i - (i % 2)] as string).toLowerCase()));
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
