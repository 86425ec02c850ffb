import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { S3Server } from './s3-connection.js';
import { type Conditions, type IgnoredCondition, S3Refusal, TestBucket } from './s3-objects.test.support.js';

export interface TestS3Options {
  readonly buckets?: readonly string[];
  /** To be a server that is not fit for checkpoints. */
  readonly ignore?: readonly IgnoredCondition[];
  /** Keys in one page of a list at most; 1000, as S3 has it, unless set. */
  readonly pageKeysMax?: number;
}

interface Request {
  readonly method: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: Uint8Array;
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

/**
 * A small S3 server for tests, in memory: objects, ranges, lists, uploads in parts, conditions as Amazon S3 has them, and
 * checksums of what it is sent. It does not check signatures. In-process, so that a test needs no other program.
 */
export class TestS3Server {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly buckets: ReadonlyMap<string, TestBucket>;
  readonly #server: Server;
  readonly #pageKeysMax: number;

  private constructor(server: Server, options: TestS3Options) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.#pageKeysMax = options.pageKeysMax ?? 1000;
    const names = options.buckets ?? ['test-bucket'];
    this.buckets = new Map(names.map((name) => [name, new TestBucket(options.ignore)]));
  }

  static async listen(options: TestS3Options = {}): Promise<TestS3Server> {
    const server = createServer();
    // A test that waits for an answer of another process must not be cut off.
    server.requestTimeout = 0;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const s3 = new TestS3Server(server, options);
    server.on('request', (request, response) => void s3.#serve(request, response));
    return s3;
  }

  /** How an S3BlobStore is told of it. */
  get server(): S3Server {
    return testS3Access(this.url);
  }

  /** The one bucket, or the first. */
  get bucket(): TestBucket {
    return [...this.buckets.values()][0] as TestBucket;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answer(message);
    } catch (thrown) {
      if (message.destroyed && !message.complete) return;
      const refusal = thrown instanceof S3Refusal ? thrown : new S3Refusal(500, 'InternalError', String(thrown));
      answer = {
        status: refusal.status,
        body: xml('Error', `${tag('Code', refusal.code)}${tag('Message', refusal.message)}`),
      };
    }
    const body = typeof answer.body === 'string' ? Buffer.from(answer.body) : (answer.body ?? new Uint8Array(0));
    response.writeHead(answer.status, {
      ...(typeof answer.body === 'string' ? { 'content-type': 'application/xml' } : {}),
      ...(answer.status === 204 ? {} : { 'content-length': String(body.byteLength) }),
      ...answer.headers,
    });
    response.end(message.method === 'HEAD' ? undefined : body);
  }

  async #answer(message: IncomingMessage): Promise<Answer> {
    const url = new URL(message.url ?? '/', this.url);
    const [, name = '', path = ''] = /^\/([^/]*)\/?(.*)$/s.exec(decodeURIComponent(url.pathname)) ?? [];
    const chunks: Uint8Array[] = [];
    for await (const chunk of message) chunks.push(chunk as Uint8Array);
    const body = Buffer.concat(chunks);
    checkContent(message, body);
    const bucket = this.buckets.get(name);
    if (bucket === undefined) throw new S3Refusal(404, 'NoSuchBucket', 'The specified bucket does not exist');
    const { method = 'GET', headers } = message;
    const request = { method, key: path, query: url.searchParams, headers, body };
    if (path === '') return this.#onBucket(bucket, request);
    return request.query.has('uploads') || request.query.has('uploadId')
      ? onUpload(bucket, request)
      : onObject(bucket, request);
  }

  #onBucket(bucket: TestBucket, { method, query }: Request): Answer {
    if (method === 'HEAD') return { status: 200 };
    if (method !== 'GET') throw new S3Refusal(405, 'MethodNotAllowed');
    const prefix = query.get('prefix') ?? '';
    if (query.has('uploads')) return listUploads(bucket, prefix, query.get('key-marker') ?? '', this.#pageKeysMax);
    const count = Math.min(Number(query.get('max-keys') ?? this.#pageKeysMax), this.#pageKeysMax);
    const { keys, more } = bucket.list(prefix, query.get('continuation-token') ?? '', count);
    const contents = keys.map((key) => {
      const { bytes, etag } = bucket.get(key);
      return tag('Contents', `${tag('Key', key)}${tag('ETag', etag)}${tag('Size', String(bytes.byteLength))}`, true);
    });
    const next = more ? tag('NextContinuationToken', keys.at(-1) ?? '') : '';
    const page = `${tag('KeyCount', String(keys.length))}${tag('IsTruncated', String(more))}${next}${contents.join('')}`;
    return { status: 200, body: xml('ListBucketResult', page) };
  }
}

/** Access to a test server, or to a front before one. */
export function testS3Access(url: string): S3Server {
  return {
    endpoint: url,
    region: 'us-east-1',
    credentials: { accessKeyId: 'test-access', secretAccessKey: 'test-secret-key' },
  };
}

function onObject(bucket: TestBucket, { method, key, headers, body }: Request): Answer {
  if (method === 'PUT') {
    return { status: 200, headers: { etag: bucket.put(key, body, conditionsOf(headers)).etag } };
  }
  if (method === 'DELETE') {
    bucket.objects.delete(key);
    return { status: 204 };
  }
  if (method !== 'GET' && method !== 'HEAD') throw new S3Refusal(405, 'MethodNotAllowed');
  const { bytes, etag } = bucket.get(key);
  const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
  if (range === null) return { status: 200, headers: { etag }, body: bytes };
  const start = Number(range[1]);
  const end = Math.min(range[2] === '' ? bytes.length : Number(range[2]) + 1, bytes.length);
  if (start >= bytes.length) throw new S3Refusal(416, 'InvalidRange', 'The requested range is not satisfiable');
  const headersOut = { etag, 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` };
  return { status: 206, headers: headersOut, body: bytes.subarray(start, end) };
}

function onUpload(bucket: TestBucket, { method, key, query, headers, body }: Request): Answer {
  const id = query.get('uploadId') ?? '';
  if (method === 'POST' && query.has('uploads')) {
    const made = bucket.createUpload(key, Date.now());
    return { status: 200, body: xml('InitiateMultipartUploadResult', tag('Key', key) + tag('UploadId', made)) };
  }
  if (method === 'PUT') {
    return { status: 200, headers: { etag: bucket.putPart(id, Number(query.get('partNumber')), body).etag } };
  }
  if (method === 'DELETE') {
    bucket.abort(id);
    return { status: 204 };
  }
  if (method !== 'POST') throw new S3Refusal(405, 'MethodNotAllowed');
  const parts = [
    ...Buffer.from(body)
      .toString()
      .matchAll(/<Part>.*?<\/Part>/gs),
  ].map(([part]) => ({
    part: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
    etag: (/<ETag>(.*?)</.exec(part)?.[1] ?? '').replaceAll('&quot;', '"'),
  }));
  const { etag } = bucket.complete(id, parts, conditionsOf(headers));
  return { status: 200, body: xml('CompleteMultipartUploadResult', tag('Key', key) + tag('ETag', etag)) };
}

function listUploads(bucket: TestBucket, prefix: string, after: string, countMax: number): Answer {
  const all = [...bucket.uploads].filter(([, { key }]) => key.startsWith(prefix) && key > after);
  all.sort(([, a], [, b]) => (a.key < b.key ? -1 : 1));
  const page = all.slice(0, countMax);
  const uploads = page.map(([id, { key, startedAtMs }]) => {
    const started = tag('Initiated', new Date(startedAtMs).toISOString());
    return tag('Upload', `${tag('Key', key)}${tag('UploadId', id)}${started}`, true);
  });
  const more = all.length > page.length;
  const next = more ? tag('NextKeyMarker', page.at(-1)?.[1].key ?? '') : '';
  return {
    status: 200,
    body: xml('ListMultipartUploadsResult', `${tag('IsTruncated', String(more))}${next}${uploads.join('')}`),
  };
}

function conditionsOf(headers: IncomingMessage['headers']): Conditions {
  return { ifMatch: headers['if-match'], ifNoneMatch: headers['if-none-match'] };
}

/** What S3 verifies of a body: that it is what was signed, and what the checksum header says. */
function checkContent({ headers }: IncomingMessage, body: Uint8Array): void {
  const digest = createHash('sha256').update(body).digest();
  const signed = headers['x-amz-content-sha256'];
  if (typeof signed === 'string' && /^[0-9a-f]{64}$/.test(signed) && signed !== digest.toString('hex')) {
    throw new S3Refusal(400, 'XAmzContentSHA256Mismatch', 'The provided x-amz-content-sha256 does not match.');
  }
  const told = headers['x-amz-checksum-sha256'];
  if (told !== undefined && told !== digest.toString('base64')) {
    throw new S3Refusal(400, 'BadDigest', 'The SHA256 you specified did not match the calculated checksum.');
  }
}

function tag(name: string, text: string, nested = false): string {
  const escaped = nested ? text : text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  return `<${name}>${escaped}</${name}>`;
}

function xml(root: string, content: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${root}>`;
}
