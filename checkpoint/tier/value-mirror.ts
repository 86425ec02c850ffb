import { type Clock, type Logger, MillraceError, type Timer } from '../../base/index.js';
import type { Backoff } from '../blob/backoff.js';
import { hasCode, isUnanswered, reasonOf } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { OutageWatch } from '../blob/outage-watch.js';
import type { ChangeSignal } from './change-signal.js';
import type { DiskTier, TierObject } from './disk-tier.js';
import { MirrorOwner } from './mirror-owner.js';
import type { UploadQueue } from './upload-queue.js';

/** How long the start waits for a remote that does not answer. */
const claimWaitMs = 2_000;

export interface ValueMirrorOptions {
  readonly local: BlobStore;
  readonly remote: BlobStore;
  readonly tier: DiskTier;
  readonly queue: UploadQueue;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly backoff: Backoff;
  readonly outage: OutageWatch;
  readonly changed: ChangeSignal;
  /** Names this open of the folder. */
  readonly nonce: string;
  readonly deletesMax: number;
}

interface Values {
  readonly values: readonly (readonly [name: string, bytes: Uint8Array])[];
  readonly needed: readonly TierObject[];
}

/**
 * With authority `local`: brings values and deletions to the remote so that it holds, at every moment, a state that was
 * the local one before. In rounds:
 *
 *     1  what was deleted so far is noted
 *     2  the newest values are read; what is not uploaded yet is *needed*, and held: if it is deleted
 *        from now on, it is uploaded all the same
 *     3  when all that is needed is uploaded, the values are moved at the remote
 *     4  the deletions of step 1 are carried out
 *
 * A value refers only to objects whose put was acknowledged before, so all of them are uploaded or needed in step 2, unless
 * they were deleted before they were uploaded between the value's move and step 2: then it is done again.
 * Whoever deletes has first moved the value that referred to the object; step 2 reads that value, or a newer one. What needs
 * no upload any more, because it was deleted between two rounds, is never uploaded: so a slow remote skips states,
 * but each round ends, whatever happens meanwhile.
 *
 * A restart begins with a round of all values there ever were: nothing but the names is remembered.
 */
export class ValueMirror {
  /** Why nothing is mirrored any more. */
  blocked: MillraceError | undefined;
  readonly #options: ValueMirrorOptions;
  readonly #owner: MirrorOwner;
  /** Values that the remote may not have, the last moved last. */
  readonly #dirty: Set<string>;
  /** Their versions at the remote after our own moves. */
  readonly #versions = new Map<string, string>();
  /** Deleted at the remote once, to be deleted there again when nothing late can land any more. */
  readonly #sent = new Set<TierObject>();
  #inRound = false;

  constructor(options: ValueMirrorOptions) {
    this.#options = options;
    this.#owner = new MirrorOwner(options.remote, options.tier, options.nonce);
    this.#dirty = new Set(options.tier.values);
  }

  /** Whether the remote has all values, and all deletions were carried out once. */
  get idle(): boolean {
    const { tier } = this.#options;
    return !this.#inRound && this.#dirty.size === 0 && tier.tombstones().every((object) => this.#sent.has(object));
  }

  /** A value was moved here. */
  touch(name: string): void {
    this.#dirty.delete(name);
    this.#dirty.add(name);
    this.#options.changed.notify();
  }

  /**
   * Claims the remote and then mirrors until the backoff is closed. Resolves when it is claimed, or after a while if the
   * remote does not answer: then it is claimed when it does.
   * @throws MillraceError `MIRROR_TAKEN`, `MIRROR_NOT_EMPTY` (invalid).
   */
  async start(): Promise<void> {
    const claimed = this.#persist('claim the mirror', () => this.#owner.claim());
    void this.#run(claimed);
    let timer: Timer | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = this.#options.clock.schedule(claimWaitMs, resolve);
    });
    try {
      await Promise.race([claimed, patience]);
    } finally {
      timer?.cancel();
    }
  }

  async #run(claimed: Promise<void>): Promise<void> {
    const { backoff, changed, logger, queue, remote } = this.#options;
    try {
      await claimed;
      queue.start();
      while (!backoff.closed) {
        await changed.until(() => backoff.closed || this.#dirty.size > 0 || this.#due().length > 0);
        this.#inRound = true;
        await this.#round();
        this.#inRound = false;
        changed.notify();
      }
    } catch (thrown) {
      if (backoff.closed) return;
      this.blocked = MillraceError.from(thrown);
      queue.stop();
      logger.error({ remote: remote.location, reason: reasonOf(thrown) }, 'nothing is mirrored any more');
      changed.notify();
    }
  }

  async #round(): Promise<void> {
    const { backoff, changed, deletesMax, tier } = this.#options;
    const deletes = this.#due();
    const { values, needed } = await this.#snapshot();
    try {
      await changed.until(() => backoff.closed || needed.every((o) => o.uploaded) || needed.some((o) => o.stuck));
      if (backoff.closed) return;
      const stuck = needed.find((object) => object.stuck !== undefined);
      if (stuck !== undefined) {
        for (const [name] of values) this.#dirty.add(name);
        for (const object of needed) await this.#persist('release', () => tier.release(object));
        // Nothing else can help: the values refer to it, or may.
        await changed.until(() => backoff.closed || stuck.deleted);
        return;
      }
      for (const [name, bytes] of values) await this.#set(name, bytes);
    } finally {
      for (const object of needed) object.held = false;
    }
    for (let i = 0; i < deletes.length; i += deletesMax) {
      await Promise.all(deletes.slice(i, i + deletesMax).map((object) => this.#delete(object)));
    }
  }

  async #snapshot(): Promise<Values> {
    const { local, tier } = this.#options;
    for (;;) {
      const cancelled = tier.cancelled;
      const names = [...this.#dirty];
      const values: (readonly [string, Uint8Array])[] = [];
      this.#dirty.clear();
      for (const name of names) {
        const value = await this.#persist(`read ${name} on disk`, () => local.read(name));
        if (value !== undefined) values.push([name, value.bytes]);
      }
      if (values.length === 0) return { values, needed: [] };
      if (cancelled === tier.cancelled) {
        const needed = tier.toUpload();
        for (const object of needed) object.held = true;
        return { values, needed };
      }
      for (const name of names) this.#dirty.add(name);
    }
  }

  /** Moves a value at the remote to these bytes, whatever of ours may still be on its way there. */
  async #set(name: string, bytes: Uint8Array): Promise<void> {
    const { remote, tier } = this.#options;
    await this.#persist(`set ${name}`, async () => {
      let expected = this.#versions.get(name);
      this.#versions.delete(name);
      if (expected === undefined) {
        const read = await remote.read(name);
        if (read !== undefined && Buffer.compare(read.bytes, bytes) === 0) {
          this.#versions.set(name, read.version);
          return;
        }
        if (read !== undefined && !(await tier.folder.isMarked('mirrored', name))) {
          throw this.#owner.notEmpty(`the value ${name}`);
        }
        // In this order: who claims the mirror after this look moves the value, and then the version is not this one.
        await this.#owner.verify();
        await tier.addMirrored(name);
        expected = read?.version;
      }
      this.#versions.set(name, await remote.compareAndSet(name, expected, bytes));
    });
  }

  async #delete(object: TierObject): Promise<void> {
    const { backoff, changed, clock, queue, remote, tier } = this.#options;
    await queue.finished(object.name);
    await this.#persist(`delete ${object.name}`, () => remote.delete(object.name));
    const lateMs = object.lateUntilMs - clock.monotonicMs();
    if (lateMs <= 0) {
      await this.#persist(`forget ${object.name}`, () => tier.bury(object));
      this.#sent.delete(object);
    } else {
      this.#sent.add(object);
      void backoff.wait(lateMs).then(() => changed.notify());
    }
  }

  /** Deletions to carry out now. */
  #due(): TierObject[] {
    const nowMs = this.#options.clock.monotonicMs();
    return this.#options.tier.tombstones().filter((object) => !this.#sent.has(object) || object.lateUntilMs <= nowMs);
  }

  /** Until it succeeds. @throws what claims refuse; `STORE_CLOSED`. */
  async #persist<T>(what: string, call: () => Promise<T>): Promise<T> {
    const { backoff, logger, outage, remote } = this.#options;
    for (let failures = 1; ; failures++) {
      try {
        const result = await call();
        outage.answered();
        return result;
      } catch (thrown) {
        if (isRefusal(thrown)) throw thrown;
        if (isUnanswered(thrown)) outage.failed(what, thrown);
        else if (failures === 1)
          logger.warn({ remote: remote.location, reason: reasonOf(thrown) }, `cannot ${what} yet`);
      }
      if (!(await backoff.wait(backoff.delayMs(failures)))) {
        throw new MillraceError('closed', 'STORE_CLOSED', `${remote.location}: closed before it was mirrored`);
      }
    }
  }
}

function isRefusal(thrown: unknown): boolean {
  return hasCode(thrown, 'MIRROR_TAKEN') || hasCode(thrown, 'MIRROR_NOT_EMPTY');
}
