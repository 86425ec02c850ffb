import { hasCode } from './blob-errors.js';
import type { BlobStore } from './blob-store.js';

/**
 * Whether an object is there with exactly these bytes: what tells one's own put, whose response was lost, from another's.
 * @throws MillraceError what `stat` and `get` throw, but for `BLOB_NOT_FOUND`.
 */
export async function holdsBytes(store: BlobStore, name: string, bytes: Uint8Array): Promise<boolean> {
  const stat = await store.stat(name);
  if (stat?.bytes !== bytes.byteLength) return false;
  try {
    return Buffer.compare(await store.get(name), bytes) === 0;
  } catch (thrown) {
    if (hasCode(thrown, 'BLOB_NOT_FOUND')) return false;
    throw thrown;
  }
}
