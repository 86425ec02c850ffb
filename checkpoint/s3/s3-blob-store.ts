import { type Clock, MillraceError, xxh64 } from '../../base/index.js';
import { isUnanswered } from '../blob/blob-errors.js';
import { validateBlobName } from '../blob/blob-name.js';
import type { BlobStore } from '../blob/blob-store.js';
import { contentHash, readAnswer, signedOver } from './s3-body.js';
import { type S3Call, S3Connection, type S3Server } from './s3-connection.js';
import { s3Failure } from './s3-errors.js';
import { abortUpload, listUploads, putInParts } from './s3-multipart.js';
import { checkedS3Settings, type S3Settings } from './s3-settings.js';

/** Names of puts with an unknown outcome that are remembered; see `#unsettled`. */
const unsettledMax = 10_000;

export interface S3BlobStoreOptions {
  readonly bucket: string;
  /** Folders in the bucket, '/'-separated; the whole bucket when empty. */
  readonly prefix?: string;
  readonly server?: S3Server;
  readonly clock: Clock;
  readonly settings?: Partial<S3Settings>;
}

/** Parts of an object that nobody has put together yet. */
export interface UnfinishedUpload {
  readonly name: string;
  /** By the clock of the server. */
  readonly startedAtMs: number;
}

/**
 * A BlobStore in a bucket of Amazon S3, or of any server that honours `If-Match` and `If-None-Match` (`probeConditions`
 * tells). Shared by any number of processes and hosts.
 *
 *     s3://BUCKET/PREFIX/objects/NAME      immutable: put with If-None-Match: *
 *     s3://BUCKET/PREFIX/values/NAME       the value; its version is the ETag
 *
 * - Nothing is tried twice, not even by the SDK: a put or a compare-and-set without an answer is `STORE_UNAVAILABLE`, and
 *   whether it happened is unknown. Wrap it in a RetryingBlobStore.
 * - What is stored is what the caller gave: the server verifies a SHA-256 taken when `put` was called. Bytes that changed
 *   during the upload are `BLOB_CHANGED` (invalid), and nothing is stored.
 * - An ETag is a hash of the bytes on most servers: a value that returns to earlier bytes has its earlier version again.
 *   Whoever would mind puts a nonce into the bytes, as HEAD does.
 * - Leave versioning of the bucket off, or expire old versions: each move of a value would keep one.
 */
export class S3BlobStore implements BlobStore {
  readonly location: string;
  readonly #s3: S3Connection;
  readonly #root: string;
  readonly #settings: S3Settings;
  /**
   * Objects whose last put got no answer. The next put of one looks first whether it is there: a server that refuses a long
   * body may close the connection so fast that its 412 is lost, and then each attempt would look like an outage.
   */
  readonly #unsettled = new Set<string>();

  private constructor(s3: S3Connection, root: string, settings: S3Settings) {
    this.location = s3.location;
    this.#s3 = s3;
    this.#root = root;
    this.#settings = settings;
  }

  /**
   * Loads the SDK and finds credentials; sends nothing yet.
   * @throws MillraceError `S3_SETTING`, `S3_ENDPOINT`, `S3_REGION`, `S3_CREDENTIALS` (invalid).
   */
  static async open(options: S3BlobStoreOptions): Promise<S3BlobStore> {
    const { bucket, clock, prefix = '', server = {} } = options;
    const settings = checkedS3Settings(options.settings);
    const location = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
    const s3 = await S3Connection.open({ location, bucket, server, clock, settings });
    return new S3BlobStore(s3, prefix === '' ? '' : `${prefix}/`, settings);
  }

  /** @throws MillraceError also `BLOB_CHANGED` (invalid). */
  async put(name: string, bytes: Uint8Array): Promise<void> {
    validateBlobName(name);
    const inParts = bytes.byteLength >= this.#settings.multipartFromBytes;
    const checksum = inParts ? xxh64(bytes) : 0n;
    try {
      // Before parts go up: that would be much in vain.
      if ((inParts || this.#unsettled.has(name)) && (await this.stat(name)) !== undefined) throw this.#exists(name);
      await (inParts ? this.#putInParts(name, bytes, checksum) : this.#putWhole(name, bytes));
      this.#unsettled.delete(name);
    } catch (thrown) {
      if (isUnanswered(thrown)) this.#remember(name);
      else this.#unsettled.delete(name);
      throw thrown;
    }
  }

  async get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    validateBlobName(name);
    // No range header can say "nothing".
    if (range !== undefined && range.length <= 0) {
      if ((await this.stat(name)) === undefined) throw this.#notFound(name);
      return new Uint8Array(0);
    }
    const answer = await this.#s3.call(`get ${name}`, (call) => this.#fetch(call, this.#objectKey(name), range));
    if (answer === undefined) throw this.#notFound(name);
    return answer.bytes;
  }

  async stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    validateBlobName(name);
    return this.#s3.call(`stat ${name}`, async ({ sdk, client, options }) => {
      const Bucket = this.#s3.bucket;
      try {
        const input = { Bucket, Key: this.#objectKey(name) };
        const { ContentLength } = await client.send(new sdk.HeadObjectCommand(input), options);
        if (ContentLength === undefined) throw new Error('the server does not tell the length');
        return { bytes: ContentLength };
      } catch (thrown) {
        if (s3Failure(thrown).status !== 404) throw thrown;
        // An answer to HEAD has no body to tell a missing object from a missing bucket.
        await client.send(new sdk.ListObjectsV2Command({ Bucket, Prefix: this.#objectKey(name), MaxKeys: 1 }), options);
        return undefined;
      }
    });
  }

  async delete(name: string): Promise<void> {
    validateBlobName(name);
    await this.#remove(`delete ${name}`, this.#objectKey(name));
    this.#unsettled.delete(name);
  }

  async list(prefix: string): Promise<string[]> {
    const folder = this.#objectKey('');
    const names: string[] = [];
    let token: string | undefined;
    do {
      const page = await this.#s3.call(`list ${prefix}`, async ({ sdk, client, options }) => {
        const input = {
          Bucket: this.#s3.bucket,
          Prefix: folder + prefix,
          ...(token === undefined ? {} : { ContinuationToken: token }),
        };
        const answer = await client.send(new sdk.ListObjectsV2Command(input), options);
        const next = answer.IsTruncated === true ? answer.NextContinuationToken : undefined;
        if (answer.IsTruncated === true && (next === undefined || next === token)) {
          throw new Error('the list goes on, but the server does not say where');
        }
        return { contents: answer.Contents ?? [], next };
      });
      for (const { Key } of page.contents) {
        // Markers of folders, as consoles make them, are no objects of ours.
        if (Key?.startsWith(folder) && !Key.endsWith('/')) names.push(Key.slice(folder.length));
      }
      token = page.next;
    } while (token !== undefined);
    return names.sort();
  }

  async read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    validateBlobName(name);
    return this.#s3.call(`read ${name}`, async (call) => {
      const answer = await this.#fetch(call, this.#valueKey(name), undefined);
      return answer === undefined ? undefined : { bytes: answer.bytes, version: versionOf(answer.etag) };
    });
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    validateBlobName(name);
    const hash = contentHash(bytes);
    return this.#s3.call(`compare-and-set ${name}`, async ({ sdk, client, options }) => {
      const input = {
        Bucket: this.#s3.bucket,
        Key: this.#valueKey(name),
        Body: bytes,
        ChecksumSHA256: hash.base64,
        ...(expected === undefined ? { IfNoneMatch: '*' } : { IfMatch: expected }),
      };
      try {
        const answer = await client.send(signedOver(new sdk.PutObjectCommand(input), hash), options);
        return versionOf(answer.ETag);
      } catch (thrown) {
        const failure = s3Failure(thrown);
        // 404: there is no version to match. 409 is another writer at work: who knows what it leaves.
        if (failure.status !== 412 && failure.name !== 'NoSuchKey')
          throw this.#unlessChanged(name, bytes, hash.hex, thrown);
        const message = `${this.location}: ${name} is not at version ${expected ?? 'none'}`;
        throw new MillraceError('fenced', 'CAS_CONFLICT', message, { cause: thrown });
      }
    });
  }

  /** Removes a value, whatever its version. For scratch values of probes and tests: nothing of the store does it. */
  async deleteValue(name: string): Promise<void> {
    validateBlobName(name);
    await this.#remove(`delete value ${name}`, this.#valueKey(name));
  }

  /**
   * Gives up uploads in parts that `isStale` says nobody will finish, and tells which: those of a process that died cost
   * room until then, and no listing of objects shows them (FLINK-37867). By name, as the collector decides, or by age.
   * A live upload that is taken for stale fails with `STORE_UNAVAILABLE`; nothing stored is ever touched.
   */
  async sweepUploads(isStale: (upload: UnfinishedUpload) => boolean): Promise<UnfinishedUpload[]> {
    const folder = this.#objectKey('');
    const swept: UnfinishedUpload[] = [];
    for (const { key, uploadId, startedAtMs } of await listUploads(this.#s3, folder)) {
      const upload = { name: key.slice(folder.length), startedAtMs };
      if (!isStale(upload)) continue;
      await abortUpload(this.#s3, key, uploadId);
      swept.push(upload);
    }
    return swept;
  }

  /** Ends what is in flight with `STORE_CLOSED` (closed), as all later calls. */
  close(): void {
    this.#s3.close();
  }

  async #putWhole(name: string, bytes: Uint8Array): Promise<void> {
    const hash = contentHash(bytes);
    await this.#s3.call(`put ${name}`, async ({ sdk, client, options }) => {
      const input = {
        Bucket: this.#s3.bucket,
        Key: this.#objectKey(name),
        Body: bytes,
        ChecksumSHA256: hash.base64,
        IfNoneMatch: '*',
      };
      try {
        await client.send(signedOver(new sdk.PutObjectCommand(input), hash), options);
      } catch (thrown) {
        if (s3Failure(thrown).status === 412) throw this.#exists(name);
        throw this.#unlessChanged(name, bytes, hash.hex, thrown);
      }
    });
  }

  #putInParts(name: string, bytes: Uint8Array, checksum: bigint): Promise<void> {
    return putInParts({
      s3: this.#s3,
      key: this.#objectKey(name),
      what: `put ${name}`,
      bytes,
      checksum,
      settings: this.#settings,
      exists: () => this.#exists(name),
      changed: () => this.#changed(name),
    });
  }

  /** Undefined when there is no such key. */
  async #fetch(
    { sdk, client, options, progress }: S3Call,
    key: string,
    range: { readonly offset: number; readonly length: number } | undefined,
  ): Promise<{ readonly bytes: Uint8Array; readonly etag: string | undefined } | undefined> {
    const input = { Bucket: this.#s3.bucket, Key: key };
    // The answer to a range tells the size of the whole beside its own length: a cut that was hidden is seen too.
    const Range = `bytes=${range?.offset ?? 0}-${range === undefined ? '' : range.offset + range.length - 1}`;
    try {
      const answer = await client.send(new sdk.GetObjectCommand({ ...input, Range }), options).catch((thrown) => {
        // An empty object has no first byte to begin a range.
        if (s3Failure(thrown).status !== 416 || range !== undefined) throw thrown;
        return client.send(new sdk.GetObjectCommand(input), options);
      });
      return { bytes: await readAnswer(answer, range, progress), etag: answer.ETag };
    } catch (thrown) {
      const { name, status } = s3Failure(thrown);
      if (name === 'NoSuchKey') return undefined;
      // The object ends before the range begins.
      if (status === 416 && range !== undefined) return { bytes: new Uint8Array(0), etag: undefined };
      throw thrown;
    }
  }

  #remove(what: string, key: string): Promise<void> {
    return this.#s3.call(what, async ({ sdk, client, options }) => {
      try {
        await client.send(new sdk.DeleteObjectCommand({ Bucket: this.#s3.bucket, Key: key }), options);
      } catch (thrown) {
        if (s3Failure(thrown).name !== 'NoSuchKey') throw thrown;
      }
    });
  }

  #remember(name: string): void {
    this.#unsettled.add(name);
    if (this.#unsettled.size <= unsettledMax) return;
    for (const oldest of this.#unsettled) {
      this.#unsettled.delete(oldest);
      return;
    }
  }

  #objectKey(name: string): string {
    return `${this.#root}objects/${name}`;
  }

  #valueKey(name: string): string {
    return `${this.#root}values/${name}`;
  }

  /** A refusal means that the bytes were changed if they were; without an answer nobody knows what was stored. */
  #unlessChanged(name: string, bytes: Uint8Array, hex: string, thrown: unknown): unknown {
    const { status = 0 } = s3Failure(thrown);
    const refused = status >= 400 && status < 500;
    return refused && contentHash(bytes).hex !== hex ? this.#changed(name) : thrown;
  }

  #exists(name: string): MillraceError {
    return new MillraceError('invalid', 'BLOB_EXISTS', `${this.location}: ${name} exists`);
  }

  #notFound(name: string): MillraceError {
    return new MillraceError('unavailable', 'BLOB_NOT_FOUND', `${this.location}: no object ${name}`);
  }

  #changed(name: string): MillraceError {
    const message = `${this.location}: the bytes of ${name} changed while they were sent; the caller must leave them alone`;
    return new MillraceError('invalid', 'BLOB_CHANGED', message);
  }
}

function versionOf(etag: string | undefined): string {
  if (etag === undefined || etag === '') throw new Error('the server gave no ETag');
  return etag;
}
