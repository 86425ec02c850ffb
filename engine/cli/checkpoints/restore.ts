import { join } from 'node:path';
import { MillraceError } from '../../../base/index.js';
import { type BlobStore, CheckpointStore, readSavepoint, restoreSavepoint } from '../../../checkpoint/index.js';
import { byteSize } from '../byte-size.js';
import { STATE_FOLDER_INFO, StateFolder } from '../state-folder.js';
import { jobOf, placeOf } from './listing.js';
import { findTarget, type Place, withLocation, withStore } from './location.js';
import type { Tool, ToolResult } from './tool.js';

export interface RestoreOptions {
  readonly claim: boolean;
  readonly replace: boolean;
}

/** `millrace checkpoints restore`: makes a savepoint the newest checkpoint of a job that does not run. */
export function restore(tool: Tool, url: string, targetUrl: string, options: RestoreOptions): Promise<ToolResult> {
  return withLocation(tool, url, async ({ kind, store: source }) => {
    if (kind === 'job') {
      throw new MillraceError('invalid', 'SAVEPOINT_MISSING', `${url} holds the checkpoints of a job, not a savepoint`);
    }
    const found = await findTarget(tool.disk, targetUrl, 'RESTORE_TARGET');
    const { place, release } = await claimPlace(tool, source, found, targetUrl);
    try {
      return await withStore(tool, place, { reads: false }, async (store) => {
        const { random, logger } = tool;
        const checkpoints = await CheckpointStore.open({ store, random, logger });
        await checkpoints.takeOver();
        const restored = await restoreSavepoint(
          source,
          { store, checkpoints },
          { ...tool.long, ...options, random, progress: tool.progress('copying', byteSize) },
        );
        // What an attempt that died had copied.
        await checkpoints.collect({ thorough: true });
        const { checkpointId } = restored.checkpoint;
        const flag = place.stateDir === undefined ? '--checkpoint-store' : '--state-dir';
        const claimed = options.claim ? '; the savepoint is removed' : '';
        return {
          text: [
            `checkpoint ${checkpointId} is in ${targetUrl}${restored.before ? ' (since before)' : ''}${claimed}`,
            `millrace run JOB ${flag} ${targetUrl} goes on from it; its sinks need the output that was committed before`,
          ],
          json: {
            location: store.location,
            checkpoint: checkpointId,
            before: restored.before,
            claimed: options.claim,
            stateDir: place.stateDir ?? null,
            savepoint: placeOf(source),
          },
        };
      });
    } finally {
      release();
    }
  });
}

/** The place, which no run can use meanwhile. A new folder becomes the `--state-dir` of the savepoint's job, when that is known. */
async function claimPlace(
  tool: Tool,
  source: BlobStore,
  found: Place,
  url: string,
): Promise<{ readonly place: Place; release(): void }> {
  if (found.stateDir === undefined && !(found.empty && !url.startsWith('s3:'))) return { place: found, release() {} };
  const job = await jobOfSavepoint(tool, source, found.stateDir);
  if (job === undefined) return { place: found, release() {} };
  const folder = StateFolder.claim(found.stateDir ?? found.url, job.job, job.fingerprint);
  return {
    place: { url: folder.checkpoints, stateDir: folder.path, empty: false },
    release: () => folder.release(),
  };
}

/** Undefined for one of someone who uses the store alone. */
async function jobOfSavepoint(
  tool: Tool,
  source: BlobStore,
  stateDir: string | undefined,
): Promise<ReturnType<typeof jobOf>> {
  try {
    return jobOf((await readSavepoint(source)).manifest);
  } catch (thrown) {
    // Claimed, and half removed, by an attempt that died: by then the folder says whose it is.
    if (stateDir === undefined || MillraceError.from(thrown).code !== 'SAVEPOINT_INCOMPLETE') throw thrown;
    const info = Buffer.from(await tool.disk.read(join(stateDir, STATE_FOLDER_INFO))).toString('utf8');
    return JSON.parse(info) as ReturnType<typeof jobOf>;
  }
}
