import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { type Clock, MillraceError } from '../../base/index.js';
import { reasonOf } from '../blob/blob-errors.js';
import { s3Error, s3Failure } from './s3-errors.js';
import type { S3Settings } from './s3-settings.js';

export type S3Sdk = typeof import('@aws-sdk/client-s3');

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Where a server is and how it is spoken to. */
export interface S3Server {
  /** `http(s)://host:port` of a server that is not Amazon's. */
  readonly endpoint?: string;
  /** Unless given: what the environment and the profile say; `us-east-1` for an endpoint of one's own. */
  readonly region?: string;
  /** Unless given: the default chain of the SDK (environment, profile, web identity, container, instance). */
  readonly credentials?: S3Credentials | (() => Promise<S3Credentials>);
  /** `http://host/bucket/key` instead of `http://bucket.host/key`; on unless set for an endpoint of one's own. */
  readonly forcePathStyle?: boolean;
}

/** One request in the making. */
export interface S3Call {
  readonly sdk: S3Sdk;
  readonly client: S3Client;
  /** For `client.send`: ends the request at its deadline. */
  readonly options: { readonly abortSignal: AbortSignal };
  /** Something of the answer has come in: the deadline is moved on. */
  readonly progress: () => void;
}

const timedOut = Symbol('timed out');
const closed = Symbol('closed');
const given = Symbol('given up');

/**
 * An S3 client that is loaded when it is first needed, tries nothing twice, and gives every request a deadline. Failures
 * are MillraceErrors that name the location: see `s3Error`.
 */
export class S3Connection {
  readonly location: string;
  readonly bucket: string;
  readonly #sdk: S3Sdk;
  readonly #client: S3Client;
  readonly #server: string;
  readonly #region: string;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #calls = new Set<(reason: symbol) => void>();
  #answered = false;
  #closed = false;

  private constructor(options: {
    readonly location: string;
    readonly bucket: string;
    readonly sdk: S3Sdk;
    readonly client: S3Client;
    readonly server: string;
    readonly region: string;
    readonly clock: Clock;
    readonly timeoutMs: number;
  }) {
    this.location = options.location;
    this.bucket = options.bucket;
    this.#sdk = options.sdk;
    this.#client = options.client;
    this.#server = options.server;
    this.#region = options.region;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs;
  }

  /**
   * Finds region and credentials; sends nothing to the store yet.
   * @throws MillraceError `S3_ENDPOINT`, `S3_REGION`, `S3_CREDENTIALS` (invalid).
   */
  static async open(options: {
    readonly location: string;
    readonly bucket: string;
    readonly server: S3Server;
    readonly clock: Clock;
    readonly settings: S3Settings;
  }): Promise<S3Connection> {
    const { location, bucket, server, clock, settings } = options;
    checkEndpoint(location, server.endpoint);
    const sdk = await import('@aws-sdk/client-s3');
    const agent = { keepAlive: true, maxSockets: settings.connectionsMax };
    const config: S3ClientConfig = {
      // A second attempt of a conditional request would take its own success for a conflict (aws-sdk-java-v2#6580).
      maxAttempts: 1,
      requestHandler: { httpAgent: new HttpAgent(agent), httpsAgent: new HttpsAgent(agent) },
      // The store sends and checks lengths and checksums of its own.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      // With an agent of one's own the SDK does not wait for the answer to it.
      expectContinueHeader: false,
      ...(server.endpoint === undefined ? {} : { endpoint: server.endpoint }),
      forcePathStyle: server.forcePathStyle ?? server.endpoint !== undefined,
      ...(server.credentials === undefined ? {} : { credentials: server.credentials }),
    };
    const region = server.region ?? (await regionOf(sdk, config, location, server));
    const connection = new S3Connection({
      location,
      bucket,
      sdk,
      client: new sdk.S3Client({ ...config, region }),
      server: server.endpoint ?? `Amazon S3 in ${region}`,
      region,
      clock,
      timeoutMs: settings.requestTimeoutMs,
    });
    try {
      await connection.call('open', ({ client }) => client.config.credentials());
      connection.#answered = false;
    } catch (thrown) {
      connection.close();
      throw thrown;
    }
    return connection;
  }

  /**
   * Runs one request. `signal` gives it up early. What `run` throws becomes a MillraceError; one that it throws itself
   * passes through. @throws MillraceError also `STORE_CLOSED` (closed).
   */
  async call<T>(what: string, run: (call: S3Call) => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed) throw this.#closedError();
    if (signal?.aborted === true) throw this.#errorOf(what, given);
    const abort = new AbortController();
    let end: (reason: symbol) => void = () => {};
    const ended = new Promise<never>((_, reject) => {
      end = reject;
    });
    const startTimer = () => this.#clock.schedule(this.#timeoutMs, () => end(timedOut));
    let timer = startTimer();
    let over = false;
    const progress = () => {
      // What is aborted may still deliver what had come in.
      if (over) return;
      timer.cancel();
      timer = startTimer();
    };
    const giveUp = () => end(given);
    this.#calls.add(end);
    signal?.addEventListener('abort', giveUp);
    try {
      const running = run({ sdk: this.#sdk, client: this.#client, options: { abortSignal: abort.signal }, progress });
      // The client may be slow to notice an abort, and what it then throws is nobody's.
      running.catch(() => {});
      const result = await Promise.race([running, ended]);
      this.#answered = true;
      return result;
    } catch (thrown) {
      abort.abort();
      if (s3Failure(thrown).named) this.#answered = true;
      throw this.#errorOf(what, thrown);
    } finally {
      over = true;
      timer.cancel();
      signal?.removeEventListener('abort', giveUp);
      this.#calls.delete(end);
    }
  }

  /** Ends what is in flight with `STORE_CLOSED`, and the connections. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const end of this.#calls) end(closed);
    this.#client.destroy();
  }

  #errorOf(what: string, thrown: unknown): MillraceError {
    if (thrown === closed) return this.#closedError();
    if (thrown === timedOut) return this.#unavailable(what, `no answer within ${this.#timeoutMs} ms`);
    if (thrown === given) return this.#unavailable(what, 'given up, as another request of its upload failed');
    const { location, bucket } = this;
    const region = this.#region;
    return s3Error(thrown, { location, bucket, server: this.#server, region, what, answered: this.#answered });
  }

  #unavailable(what: string, why: string): MillraceError {
    return new MillraceError('unavailable', 'STORE_UNAVAILABLE', `${this.location}: ${what} failed: ${why}`);
  }

  #closedError(): MillraceError {
    return new MillraceError('closed', 'STORE_CLOSED', `${this.location}: the blob store was closed`);
  }
}

function checkEndpoint(location: string, endpoint: string | undefined): void {
  if (endpoint === undefined) return;
  const protocol = URL.canParse(endpoint) ? new URL(endpoint).protocol : '';
  if (protocol === 'http:' || protocol === 'https:') return;
  const message = `${location}: the endpoint must be a URL such as https://s3.example.org:9000, not ${endpoint}`;
  throw new MillraceError('invalid', 'S3_ENDPOINT', message);
}

/** What the environment or the profile says. */
async function regionOf(sdk: S3Sdk, config: S3ClientConfig, location: string, server: S3Server): Promise<string> {
  const client = new sdk.S3Client(config);
  try {
    return await client.config.region();
  } catch (thrown) {
    if (server.endpoint !== undefined) return 'us-east-1';
    const message = `${location}: no region: give it, or set AWS_REGION (${reasonOf(thrown)})`;
    throw new MillraceError('invalid', 'S3_REGION', message, { cause: thrown });
  } finally {
    client.destroy();
  }
}
