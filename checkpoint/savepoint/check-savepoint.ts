import { MillraceError } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { type CheckpointProblem, type VerifyOptions, verifyCheckpoint } from '../verify.js';
import { begunName, readSavepoint, type Savepoint, savepointName } from './savepoint.js';

export interface SavepointFindings {
  /** Undefined when there is none that is whole and readable: `problems` says why. */
  readonly savepoint: Savepoint | undefined;
  readonly problems: readonly CheckpointProblem[];
  /** Objects that do not belong to it. */
  readonly unknown: readonly string[];
}

/**
 * Looks at a savepoint, and at all of its segments as `verifyCheckpoint` does. Never throws for damage.
 * @throws MillraceError `STORE_UNAVAILABLE`, `STOPPED` (closed).
 */
export async function checkSavepoint(store: BlobStore, options: VerifyOptions): Promise<SavepointFindings> {
  let savepoint: Savepoint;
  try {
    savepoint = await readSavepoint(store);
  } catch (thrown) {
    const { kind, code, message } = MillraceError.from(thrown);
    if (kind !== 'corrupt' && kind !== 'invalid') throw thrown;
    return { savepoint: undefined, problems: [{ code, task: '', object: savepointName, what: message }], unknown: [] };
  }
  const { problems } = await verifyCheckpoint(store, savepoint.manifest, options);
  const own = new Set([begunName, savepointName, ...savepoint.objects.map(({ name }) => name)]);
  const unknown = (await store.list('')).filter((name) => !own.has(name));
  return { savepoint, problems, unknown };
}
