import { inParallel, MillraceError, type Random } from '../../base/index.js';
import { hasCode, isUnanswered } from '../blob/blob-errors.js';
import type { BlobStore } from '../blob/blob-store.js';
import { begunName, encodeRemoving, readBegun, removingName, savepointName, savepointState } from './savepoint.js';

const deletesParallel = 8;

/**
 * Removes a savepoint: in an order in which it is never taken for whole, so that it can be done again from anywhere. `whole`
 * also removes one that is; otherwise only what is half-written goes. Nothing there is not an error.
 * @returns how many objects went. @throws MillraceError `SAVEPOINT_EXISTS` (invalid): it is whole; `STORE_UNAVAILABLE`.
 */
export async function removeSavepoint(
  store: BlobStore,
  options: { readonly random: Random; readonly whole: boolean },
): Promise<number> {
  const state = await savepointState(store);
  if (state === 'none') return 0;
  if (state === 'whole' && !options.whole) throw isWhole(store);
  const id = await readBegun(store).then(
    (begun) => begun?.savepointId,
    (thrown) => {
      if (isUnanswered(thrown)) throw thrown;
      return undefined;
    },
  );
  try {
    await store.put(removingName, encodeRemoving(id ?? options.random.nonce()));
  } catch (thrown) {
    // By one who died, or does the same.
    if (!hasCode(thrown, 'BLOB_EXISTS')) throw thrown;
  }
  if (state === 'half-written' && !options.whole && (await store.stat(savepointName)) !== undefined) {
    // Its writer came in before us, or one who removes a whole one was interrupted: the order of names tells them apart.
    await store.delete(removingName);
    throw isWhole(store);
  }
  await store.delete(savepointName);
  const segments = await store.list('segments/');
  await inParallel(segments, deletesParallel, (name) => store.delete(name));
  await store.delete(begunName);
  await store.delete(removingName);
  return segments.length;
}

function isWhole(store: BlobStore): MillraceError {
  return new MillraceError(
    'invalid',
    'SAVEPOINT_EXISTS',
    `${store.location}: the savepoint is whole; it is left alone`,
  );
}
