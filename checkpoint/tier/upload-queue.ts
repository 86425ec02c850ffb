import { type Clock, type Logger, MillraceError } from '../../base/index.js';
import type { Backoff } from '../blob/backoff.js';
import { hasCode, isUnanswered, reasonOf } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { OutageWatch } from '../blob/outage-watch.js';
import { holdsBytes } from '../blob/same-blob.js';
import type { ByteThrottle } from './byte-throttle.js';
import type { ChangeSignal } from './change-signal.js';
import { isDamaged } from './checked-file.js';
import type { TierObject } from './disk-tier.js';

export interface UploadQueueOptions {
  readonly remote: BlobStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly backoff: Backoff;
  readonly throttle: ByteThrottle;
  readonly outage: OutageWatch;
  /** Told after every upload, and whenever one turns out to be impossible. */
  readonly changed: ChangeSignal;
  readonly uploadsMax: number;
  readonly lateWriteMs: number;
  /** The bytes of an object that is to be uploaded. */
  load(object: TierObject): Promise<Uint8Array>;
  /** Does on disk what an upload entails. Tried again for ever when it fails. */
  settle(object: TierObject): Promise<void>;
  /** The remote holds other bytes under this name, or the bytes are damaged, and nobody waits for the upload. */
  impossible(object: TierObject, error: MillraceError): Promise<void>;
}

interface Upload {
  readonly object: TierObject;
  readonly waiter: { readonly resolve: () => void; readonly reject: (thrown: unknown) => void } | undefined;
}

/**
 * Brings objects to the remote, the oldest first, a few at a time, each tried until the remote has it, until it is deleted
 * (and not held), or until the queue is closed. An attempt without an answer may have succeeded, and so may the attempts
 * of an earlier process: from then on `BLOB_EXISTS` with equal bytes is success.
 */
export class UploadQueue {
  uploadedObjects = 0;
  uploadedBytes = 0;
  failures = 0;
  readonly #options: UploadQueueOptions;
  readonly #waiting: Upload[] = [];
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiters = new Set<Upload>();
  #started = false;

  constructor(options: UploadQueueOptions) {
    this.#options = options;
  }

  /** Until then uploads wait. */
  start(): void {
    this.#started = true;
    this.#next();
  }

  /** Begins no more uploads. */
  stop(): void {
    this.#started = false;
  }

  /** An upload nobody waits for: its outcome is seen at the object. */
  add(object: TierObject): void {
    this.#push({ object, waiter: undefined });
  }

  /**
   * Resolves when the remote has it. Rejects with the answer when that is no (nothing is tried again then), and with
   * `STORE_CLOSED` or `UPLOAD_CANCELLED` (closed) when it is not uploaded by this queue any more.
   */
  upload(object: TierObject): Promise<void> {
    if (this.#options.backoff.closed) return Promise.reject(this.#closed());
    return new Promise((resolve, reject) => {
      const upload: Upload = { object, waiter: { resolve, reject } };
      this.#waiters.add(upload);
      this.#push(upload);
    });
  }

  /** Resolves when nothing of this name is being uploaded. */
  async finished(name: string): Promise<void> {
    await this.#running.get(name);
  }

  /** Attempts on their way go on, but their outcome is not looked at any more. */
  close(): void {
    this.#waiting.length = 0;
    for (const { waiter } of this.#waiters) waiter?.reject(this.#closed());
    this.#waiters.clear();
  }

  #closed(): MillraceError {
    const { location } = this.#options.remote;
    return new MillraceError('closed', 'STORE_CLOSED', `${location}: closed before the upload was done`);
  }

  #push(upload: Upload): void {
    if (this.#options.backoff.closed) return;
    this.#waiting.push(upload);
    this.#next();
  }

  #next(): void {
    while (this.#started && this.#running.size < this.#options.uploadsMax) {
      const upload = this.#waiting.shift();
      if (upload === undefined) return;
      const { name } = upload.object;
      const running = this.#run(upload).finally(() => {
        this.#running.delete(name);
        this.#options.changed.notify();
        this.#next();
      });
      this.#running.set(name, running);
    }
  }

  async #run(upload: Upload): Promise<void> {
    const { object, waiter } = upload;
    try {
      if (await this.#bring(upload)) {
        waiter?.resolve();
        this.#options.changed.notify();
        await this.#settle(object);
      } else if (!this.#options.backoff.closed) {
        const message = `the upload of ${object.name} was cancelled: it was deleted`;
        waiter?.reject(new MillraceError('closed', 'UPLOAD_CANCELLED', message, { context: { name: object.name } }));
      }
    } catch (thrown) {
      if (waiter !== undefined) waiter.reject(thrown);
      else await this.#options.impossible(object, MillraceError.from(thrown));
    } finally {
      this.#waiters.delete(upload);
    }
  }

  /** True when the remote has it, false when that is not wanted any more. */
  async #bring({ object, waiter }: Upload): Promise<boolean> {
    const { backoff, clock, outage, throttle, lateWriteMs } = this.#options;
    const unwanted = () => backoff.closed || (object.deleted && !object.held);
    let bytes: Uint8Array | undefined;
    for (let failures = 0; ; ) {
      if (unwanted()) return false;
      try {
        bytes ??= await this.#options.load(object);
        const delayMs = throttle.book(bytes.byteLength);
        if (delayMs > 0) await backoff.wait(delayMs);
        if (unwanted()) return false;
        const again = object.attempted;
        object.attempted = true;
        await this.#put(object, bytes, again);
        outage.answered();
        if (backoff.closed) return false;
        object.uploaded = true;
        this.uploadedObjects++;
        this.uploadedBytes += bytes.byteLength;
        return true;
      } catch (thrown) {
        if (isUnanswered(thrown)) object.lateUntilMs = clock.monotonicMs() + lateWriteMs;
        if (unwanted()) return false;
        if (isFinal(thrown, waiter !== undefined)) {
          outage.answered();
          throw thrown;
        }
        failures++;
        this.failures++;
        if (bytes !== undefined) outage.failed(`put ${object.name}`, thrown);
        this.#options.changed.notify();
        await backoff.wait(backoff.delayMs(failures));
      }
    }
  }

  async #put(object: TierObject, bytes: Uint8Array, again: boolean): Promise<void> {
    const { remote } = this.#options;
    try {
      await remote.put(object.name, bytes);
    } catch (thrown) {
      if (!hasCode(thrown, 'BLOB_EXISTS') || !again) throw thrown;
      if (await holdsBytes(remote, object.name, bytes)) return;
      throw thrown;
    }
  }

  async #settle(object: TierObject): Promise<void> {
    const { backoff, logger } = this.#options;
    for (let failures = 1; !backoff.closed; failures++) {
      try {
        await this.#options.settle(object);
        return;
      } catch (thrown) {
        if (failures === 1) logger.warn({ name: object.name, reason: reasonOf(thrown) }, 'the disk tier fails');
        await backoff.wait(backoff.delayMs(failures));
      }
    }
  }
}

/**
 * Whether trying again is pointless. With nobody waiting, what is refused for other reasons than its bytes (rights, a
 * missing bucket) is tried again for ever: it was acknowledged, and someone may put it right.
 */
function isFinal(thrown: unknown, waited: boolean): boolean {
  if (hasCode(thrown, 'BLOB_EXISTS') || isDamaged(thrown)) return true;
  return waited && !(thrown instanceof MillraceError && thrown.kind === 'unavailable');
}
