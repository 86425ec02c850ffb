import { MillraceError } from '../../base/index.js';
import type { BlobStore } from './blob-store.js';

export const blobCalls = ['put', 'get', 'stat', 'delete', 'list', 'read', 'compareAndSet'] as const;
export type BlobCall = (typeof blobCalls)[number];

export interface BlobCallCounts {
  /** Calls made, however they ended. */
  readonly requests: number;
  /** Calls without an answer, or with damage: the store, not the question, was at fault. */
  readonly failures: number;
  /** Calls answered with a no: `BLOB_NOT_FOUND`, `BLOB_EXISTS`, `CAS_CONFLICT`, `BLOB_NAME`. */
  readonly refusals: number;
  /** Of calls that succeeded. */
  readonly bytesWritten: number;
  readonly bytesRead: number;
}

export type BlobStoreCounts = Readonly<Record<BlobCall | 'total', BlobCallCounts>>;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Counts what goes through to another BlobStore, by kind of call. Changes nothing. */
export class CountedBlobStore implements BlobStore {
  readonly location: string;
  readonly #inner: BlobStore;
  #counts = zeros();

  constructor(inner: BlobStore) {
    this.#inner = inner;
    this.location = inner.location;
  }

  /** A copy of the counts since the start or the last `reset`. */
  get counts(): BlobStoreCounts {
    const total = zero();
    for (const call of blobCalls) {
      for (const key of Object.keys(total) as (keyof BlobCallCounts)[]) total[key] += this.#counts[call][key];
    }
    return { ...structuredClone(this.#counts), total };
  }

  /** Calls on their way are counted as requests before the reset, and as whatever they become after it. */
  reset(): void {
    this.#counts = zeros();
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    const length = bytes.byteLength;
    return this.#count('put', () => this.#inner.put(name, bytes), length);
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#count(
      'get',
      () => this.#inner.get(name, range),
      0,
      (bytes) => bytes.byteLength,
    );
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.#count('stat', () => this.#inner.stat(name));
  }

  delete(name: string): Promise<void> {
    return this.#count('delete', () => this.#inner.delete(name));
  }

  list(prefix: string): Promise<string[]> {
    return this.#count('list', () => this.#inner.list(prefix));
  }

  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    return this.#count(
      'read',
      () => this.#inner.read(name),
      0,
      (value) => value?.bytes.byteLength ?? 0,
    );
  }

  compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    const length = bytes.byteLength;
    return this.#count('compareAndSet', () => this.#inner.compareAndSet(name, expected, bytes), length);
  }

  async #count<T>(call: BlobCall, run: () => Promise<T>, bytesWritten = 0, bytesRead?: (result: T) => number) {
    this.#counts[call].requests++;
    try {
      const result = await run();
      const counts = this.#counts[call];
      counts.bytesWritten += bytesWritten;
      counts.bytesRead += bytesRead?.(result) ?? 0;
      return result;
    } catch (thrown) {
      if (isRefusal(thrown)) this.#counts[call].refusals++;
      else this.#counts[call].failures++;
      throw thrown;
    }
  }
}

function isRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof MillraceError)) return false;
  return thrown.kind === 'invalid' || thrown.kind === 'fenced' || thrown.code === 'BLOB_NOT_FOUND';
}

function zero(): Mutable<BlobCallCounts> {
  return { requests: 0, failures: 0, refusals: 0, bytesWritten: 0, bytesRead: 0 };
}

function zeros(): Record<BlobCall, Mutable<BlobCallCounts>> {
  return {
    put: zero(),
    get: zero(),
    stat: zero(),
    delete: zero(),
    list: zero(),
    read: zero(),
    compareAndSet: zero(),
  };
}
