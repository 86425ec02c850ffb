import { type Logger, MillraceError, type Random } from '../../base/index.js';
import { type BlobStore, type Manifest, type Pin, pin, unpin, unpinAll } from '../../checkpoint/index.js';

/** Completed checkpoints after which readers have gone on from what is pinned. */
const completionsMax = 2;

/**
 * Checkpoints that a host, or tasks on it, read where they are stored, kept from the collector. A pin of a life that ended without
 * taking it away is removed by the next one.
 */
export class HostPins {
  readonly #options: { store: BlobStore; owner: string; random: Random; logger: Logger };
  readonly #pins = new Map<number, Pin>();
  /** Whether those of earlier lives are gone. */
  #isClean = false;
  #completions = 0;
  /** Calls, one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: {
    readonly store: BlobStore;
    readonly owner: string;
    readonly random: Random;
    readonly logger: Logger;
  }) {
    this.#options = options;
  }

  /** False when HEAD has gone on meanwhile, and does not keep it any more. @throws MillraceError `STORE_UNAVAILABLE`. */
  pin(manifest: Manifest): Promise<boolean> {
    const pinned = this.#last.then(() => this.#pin(manifest));
    this.#last = pinned.catch(() => {});
    return pinned;
  }

  /** A checkpoint has completed, and everything is on this host. */
  unneeded(): Promise<void> {
    if (this.#pins.size === 0 || ++this.#completions < completionsMax) return Promise.resolve();
    return this.close();
  }

  close(): Promise<void> {
    const unpinned = this.#last.then(() => this.#unpinAll());
    this.#last = unpinned;
    return unpinned;
  }

  async #pin(manifest: Manifest): Promise<boolean> {
    const { store, owner, random } = this.#options;
    const { checkpointId, epoch } = manifest;
    this.#completions = 0;
    const before = this.#pins.get(checkpointId);
    if (before?.manifest.epoch === epoch) return true;
    if (!this.#isClean) await unpinAll(store, owner);
    this.#isClean = true;
    try {
      this.#pins.set(checkpointId, await pin(store, manifest, owner, random));
    } catch (thrown) {
      if (thrown instanceof MillraceError && thrown.code === 'CHECKPOINT_NOT_FOUND') return false;
      throw thrown;
    }
    if (before !== undefined) await unpin(store, before);
    return true;
  }

  async #unpinAll(): Promise<void> {
    const { store, logger } = this.#options;
    for (const [checkpoint, pinned] of [...this.#pins]) {
      this.#pins.delete(checkpoint);
      // The next life of this host removes it.
      await unpin(store, pinned).catch((error) => logger.info({ checkpoint, error: String(error) }, 'stays pinned'));
    }
  }
}
