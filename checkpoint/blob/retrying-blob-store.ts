import { type Clock, type Logger, MillraceError, type Random } from '../../base/index.js';
import { Backoff } from './backoff.js';
import { hasCode, isUnanswered, reasonOf } from './blob-errors.js';
import type { BlobStore, BlobVersion } from './blob-store.js';
import { OutageWatch } from './outage-watch.js';
import { holdsBytes } from './same-blob.js';
import { valueVersions } from './value-versions.js';

export interface RetrySettings {
  /** A call whose last attempt ends later than this after its start fails. Attempts are bounded by the store below. */
  readonly retryForMs: number;
  readonly firstDelayMs: number;
  readonly delayMsMax: number;
}

export const defaultRetrySettings: RetrySettings = { retryForMs: 30_000, firstDelayMs: 50, delayMsMax: 2_000 };

/**
 * Tries again what a store left without an answer (`STORE_UNAVAILABLE`), with growing, jittered delays, up to a deadline.
 *
 * - `put`: a lost response leaves us not knowing. So `BLOB_EXISTS` *on a retry* is our own success if the stored bytes are
 *   ours; on a first attempt it is what it says ("own success reported as 412 by a retry", aws-sdk-java-v2#6580).
 *   A late first attempt may still land after all this, even after a delete: callers' names are never reused, and the
 *   collector deletes by name, so it is found again.
 * - `compareAndSet` is never tried again: after a move that was lost, `CAS_CONFLICT` could mean oneself. Whoever moves a
 *   value reads it and knows by a nonce.
 *
 * Says once that the store is away, and once that it is back: `outage-watch.ts`.
 */
export class RetryingBlobStore implements BlobStore {
  readonly location: string;
  /** Attempts beyond the first so far. */
  retries = 0;
  readonly #inner: BlobStore;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #outage: OutageWatch;
  readonly #retryForMs: number;

  /** @throws MillraceError `RETRY_SETTINGS` (invalid). */
  constructor(options: {
    readonly inner: BlobStore;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    readonly settings?: Partial<RetrySettings>;
  }) {
    const { inner, clock, random, logger } = options;
    const settings = { ...defaultRetrySettings, ...options.settings };
    for (const [key, value] of Object.entries(settings)) {
      if (value >= 0 && Number.isFinite(value)) continue;
      throw new MillraceError('invalid', 'RETRY_SETTINGS', `${key} must be a number of ms, 0 or more, not ${value}`);
    }
    this.location = inner.location;
    this.#inner = inner;
    this.#clock = clock;
    this.#backoff = new Backoff({ clock, random, firstMs: settings.firstDelayMs, maxMs: settings.delayMsMax });
    this.#outage = new OutageWatch({ location: inner.location, clock, logger });
    this.#retryForMs = settings.retryForMs;
  }

  /** How long the store has been without an answer; undefined while it answers. */
  get awayMs(): number | undefined {
    return this.#outage.awayMs;
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.#retry(`put ${name}`, async (attempt) => {
      try {
        await this.#inner.put(name, bytes);
      } catch (thrown) {
        if (attempt === 1 || !hasCode(thrown, 'BLOB_EXISTS') || !(await holdsBytes(this.#inner, name, bytes)))
          throw thrown;
      }
    });
  }

  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    return this.#retry(`get ${name}`, () => this.#inner.get(name, range));
  }

  stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    return this.#retry(`stat ${name}`, () => this.#inner.stat(name));
  }

  delete(name: string): Promise<void> {
    return this.#retry(`delete ${name}`, () => this.#inner.delete(name));
  }

  list(prefix: string): Promise<string[]> {
    return this.#retry(`list ${prefix}`, () => this.#inner.list(prefix));
  }

  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    return this.#retry(`read ${name}`, () => this.#inner.read(name));
  }

  versions(name: string): Promise<readonly BlobVersion[]> {
    return this.#retry(`read ${name}`, () => valueVersions(this.#inner, name));
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    this.#assertOpen();
    const what = `compare-and-set ${name}`;
    try {
      const version = await this.#inner.compareAndSet(name, expected, bytes);
      this.#outage.answered();
      return version;
    } catch (thrown) {
      if (isUnanswered(thrown)) this.#outage.failed(what, thrown);
      else this.#outage.answered();
      throw thrown;
    }
  }

  /** Calls that wait for their next attempt fail with `STORE_CLOSED` (closed), and so do later calls. */
  close(): void {
    this.#backoff.close();
  }

  async #retry<T>(what: string, call: (attempt: number) => Promise<T>): Promise<T> {
    this.#assertOpen();
    const startMs = this.#clock.monotonicMs();
    for (let attempt = 1; ; attempt++) {
      try {
        const result = await call(attempt);
        this.#outage.answered();
        return result;
      } catch (thrown) {
        if (!isUnanswered(thrown)) {
          this.#outage.answered();
          throw thrown;
        }
        const spentMs = this.#clock.monotonicMs() - startMs;
        const leftMs = this.#retryForMs - spentMs;
        this.#outage.failed(what, thrown, leftMs <= 0);
        if (leftMs <= 0) throw this.#gaveUp(what, attempt, spentMs, thrown);
        // The last wait is cut, so that one attempt is made at the deadline.
        if (!(await this.#backoff.wait(Math.min(leftMs, this.#backoff.delayMs(attempt))))) this.#assertOpen(thrown);
        this.retries++;
      }
    }
  }

  #gaveUp(what: string, attempts: number, spentMs: number, cause: unknown): MillraceError {
    const seconds = (spentMs / 1000).toFixed(1);
    return new MillraceError(
      'unavailable',
      'STORE_UNAVAILABLE',
      `${this.location}: ${what} failed ${attempts} times in ${seconds} s: ${reasonOf(cause)}`,
      { cause, context: { attempts } },
    );
  }

  #assertOpen(cause?: unknown): void {
    if (!this.#backoff.closed) return;
    throw new MillraceError('closed', 'STORE_CLOSED', `${this.location}: the blob store was closed`, { cause });
  }
}
