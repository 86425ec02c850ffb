import { type Clock, MillraceError, type Random, sleep } from '../../base/index.js';
import type { BlobStore } from './blob-store.js';

/** May be changed while the store is used. Rates are shares of calls, 0 to 1. */
export interface BlobStoreFaults {
  /** The call fails and nothing happened. */
  errorRate: number;
  /** A put, delete or compare-and-set happens, but the caller is told STORE_UNAVAILABLE. */
  lostResponseRate: number;
  /** Each call waits, in ms, uniform between the two: half of it before it takes effect, half after. */
  delayMs: readonly [number, number];
  /** Every call fails while set. */
  outage: boolean;
}

export const NO_BLOB_STORE_FAULTS: Readonly<BlobStoreFaults> = {
  errorRate: 0,
  lostResponseRate: 0,
  delayMs: [0, 0],
  outage: false,
};

/** A BlobStore as it is across a bad network: slow, at times away, and at times silent about what it did. */
export class FaultyBlobStore implements BlobStore {
  readonly location: string;
  readonly faults: BlobStoreFaults;
  /** Responses lost after success so far, for tests that want to know that they met some. */
  lostResponses = 0;
  readonly #inner: BlobStore;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(options: {
    readonly inner: BlobStore;
    readonly clock: Clock;
    readonly random: Random;
    readonly faults?: Partial<BlobStoreFaults>;
  }) {
    this.#inner = options.inner;
    this.#clock = options.clock;
    this.#random = options.random;
    this.location = options.inner.location;
    this.faults = { ...NO_BLOB_STORE_FAULTS, ...options.faults };
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.#call(`put ${name}`, true, () => this.#inner.put(name, bytes));
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#call(`get ${name}`, false, () => this.#inner.get(name, range));
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.#call(`stat ${name}`, false, () => this.#inner.stat(name));
  }

  delete(name: string): Promise<void> {
    return this.#call(`delete ${name}`, true, () => this.#inner.delete(name));
  }

  list(prefix: string): Promise<string[]> {
    return this.#call(`list ${prefix}`, false, () => this.#inner.list(prefix));
  }

  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    return this.#call(`read ${name}`, false, () => this.#inner.read(name));
  }

  compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    return this.#call(`compare-and-set ${name}`, true, () => this.#inner.compareAndSet(name, expected, bytes));
  }

  async #call<T>(what: string, changes: boolean, call: () => Promise<T>): Promise<T> {
    // Drawn up front, so that what a call meets does not depend on what happens while it waits.
    const [minMs, maxMs] = this.faults.delayMs;
    const beforeMs = this.#random.float() * (maxMs - minMs) + minMs;
    const fails = this.#random.chance(this.faults.errorRate);
    const losesResponse = this.#random.chance(this.faults.lostResponseRate) && changes;
    if (beforeMs > 0) await sleep(this.#clock, beforeMs / 2);
    if (fails || this.faults.outage) throw this.#unavailable(what, 'no connection (simulated)');
    const result = await call();
    if (beforeMs > 0) await sleep(this.#clock, beforeMs / 2);
    if (losesResponse) {
      this.lostResponses++;
      throw this.#unavailable(what, 'the response was lost (simulated)');
    }
    return result;
  }

  #unavailable(what: string, why: string): MillraceError {
    return new MillraceError('unavailable', 'STORE_UNAVAILABLE', `${this.location}: ${what} failed: ${why}`);
  }
}
