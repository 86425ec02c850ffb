import { MillraceError } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import { readManifest } from '../collect-garbage.js';
import type { Manifest } from '../manifest.js';
import { type Head, isMoved } from './head.js';
import { keptBy } from './head-protocol.js';
import { readHead, refuseLostHead } from './head-register.js';

/** Looks at a store whose leader moves HEAD faster than its manifests can be read. */
const attemptsMax = 5;

export interface KeptCheckpoint {
  readonly checkpointId: number;
  readonly epoch: number;
  /** The object of a manifest that is not inside HEAD. */
  readonly object: string;
  /** Undefined when it cannot be read: `damage` says why. */
  readonly manifest: Manifest | undefined;
  readonly damage: string;
}

/**
 * All checkpoints that HEAD keeps, newest first, those with a damaged manifest too. A job may run meanwhile.
 * @throws MillraceError `HEAD_CORRUPT`, `HEAD_MISSING` (corrupt), `HEAD_VERSION` (invalid), `STORE_UNAVAILABLE`.
 */
export async function listKept(
  store: BlobStore,
): Promise<{ readonly head: Head | undefined; readonly checkpoints: readonly KeptCheckpoint[] }> {
  for (let attempt = 1; ; attempt++) {
    const read = await readHead(store);
    if (read === undefined) {
      await refuseLostHead(store);
      return { head: undefined, checkpoints: [] };
    }
    const checkpoints: KeptCheckpoint[] = [];
    let missing = false;
    for (const kept of keptBy(read.head)) {
      const { checkpointId, epoch } = kept;
      const listed = { checkpointId, epoch, object: isMoved(kept) ? kept.object : '' };
      try {
        checkpoints.push({ ...listed, manifest: await readManifest(store, kept), damage: '' });
      } catch (thrown) {
        const { kind, message } = MillraceError.from(thrown);
        const isMissing = hasCode(thrown, 'BLOB_NOT_FOUND');
        if (kind !== 'corrupt' && kind !== 'invalid' && !isMissing) throw thrown;
        missing ||= isMissing;
        checkpoints.push({ ...listed, manifest: undefined, damage: message });
      }
    }
    // Of a job that runs, the collector may have taken what we found missing.
    const moved = missing && attempt < attemptsMax && (await readHead(store))?.version !== read.version;
    if (!moved) return { head: read.head, checkpoints };
  }
}
