import { MillraceError } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import type { DiskTier } from './disk-tier.js';

/** The value by which a folder says that the remote is its mirror. */
export const mirrorOwnerName = 'millrace-mirror-owner';

/**
 * One folder mirrors into one remote, and of the processes that had opened the folder only the last: the remote names the
 * folder's id and a nonce of the open.
 */
export class MirrorOwner {
  readonly #remote: BlobStore;
  readonly #tier: DiskTier;
  readonly #claim: string;

  constructor(remote: BlobStore, tier: DiskTier, nonce: string) {
    this.#remote = remote;
    this.#tier = tier;
    this.#claim = `millrace-mirror 1 ${tier.folder.id} ${nonce}\n`;
  }

  /**
   * Makes the remote ours; whoever had this folder open before can move no value there from now on.
   * @throws MillraceError `MIRROR_TAKEN` (invalid), `MIRROR_NOT_EMPTY` (invalid), `STORE_UNAVAILABLE`.
   */
  async claim(): Promise<void> {
    for (;;) {
      const read = await this.#remote.read(mirrorOwnerName);
      if (read === undefined) await this.#refuseStrangers();
      else if (text(read.bytes) === this.#claim) return;
      else if (text(read.bytes).split(' ')[2] !== this.#tier.folder.id) {
        throw this.#error('MIRROR_TAKEN', 'is the mirror of another folder');
      }
      try {
        await this.#remote.compareAndSet(mirrorOwnerName, read?.version, new TextEncoder().encode(this.#claim));
        return;
      } catch (thrown) {
        if (!hasCode(thrown, 'CAS_CONFLICT')) throw thrown;
      }
    }
  }

  /** @throws MillraceError `MIRROR_TAKEN` when somebody has claimed it since; `STORE_UNAVAILABLE`. */
  async verify(): Promise<void> {
    const read = await this.#remote.read(mirrorOwnerName);
    if (read !== undefined && text(read.bytes) === this.#claim) return;
    throw this.#error('MIRROR_TAKEN', 'was claimed by another process');
  }

  /** What a fresh folder finds there was made by somebody else, or by a folder that is lost: it must not be overwritten. */
  notEmpty(what: string): MillraceError {
    return this.#error('MIRROR_NOT_EMPTY', `holds ${what}, which this folder did not put there`);
  }

  async #refuseStrangers(): Promise<void> {
    for (const name of await this.#remote.list('')) {
      if (this.#tier.find(name) === undefined && !this.#tier.isTombstone(name))
        throw this.notEmpty(`the object ${name}`);
    }
  }

  #error(code: string, why: string): MillraceError {
    const { root } = this.#tier.folder;
    const message =
      `${root} cannot be mirrored to ${this.#remote.location}, which ${why}: ` +
      'use an empty remote, or open the remote itself to restore what it holds';
    return new MillraceError('invalid', code, message, { context: { root, remote: this.#remote.location } });
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
