import { MillraceError } from '../../../base/index.js';
import { readBegun, writeSavepoint } from '../../../checkpoint/index.js';
import { byteSize } from '../byte-size.js';
import { plural } from '../text-table.js';
import { pickCheckpoint, placeOf } from './listing.js';
import { findTarget, withLocation, withStore } from './location.js';
import type { Tool, ToolResult } from './tool.js';

export interface SavepointOptions {
  readonly checkpoint: number | undefined;
  readonly finish: boolean;
}

/** `millrace checkpoints savepoint`: copies a checkpoint to a place of its own. */
export function savepoint(tool: Tool, url: string, targetUrl: string, options: SavepointOptions): Promise<ToolResult> {
  return withLocation(tool, url, async (location) => {
    if (location.kind !== 'job') {
      throw new MillraceError(
        'invalid',
        'OPTION',
        `${url} is a ${location.kind}; name the place of a job's checkpoints`,
      );
    }
    const place = await findTarget(tool.disk, targetUrl, 'SAVEPOINT_TARGET');
    if (place.stateDir !== undefined) {
      throw new MillraceError(
        'invalid',
        'SAVEPOINT_TARGET',
        `${targetUrl} is the --state-dir of a run; name an empty place`,
      );
    }
    return withStore(tool, place, { reads: false }, async (target) => {
      // What was begun says of which checkpoint.
      const begun = options.finish ? (await readBegun(target))?.checkpointId : undefined;
      const manifest = await pickCheckpoint(location, options.checkpoint ?? begun);
      const unfinished = `what was begun in ${targetUrl} is finished with --finish, and removed with \`millrace checkpoints gc\``;
      tool.leaves = unfinished;
      const written = await writeSavepoint(location.store, manifest, target, {
        ...tool.long,
        random: tool.random,
        finish: options.finish,
        progress: tool.progress('copying', byteSize),
      }).catch((thrown: unknown) => {
        const error = MillraceError.from(thrown);
        if (error.kind !== 'corrupt' && error.kind !== 'unavailable') throw error;
        const next =
          error.kind === 'unavailable'
            ? unfinished
            : '`fsck` tells which checkpoint is whole, --checkpoint takes it; first `gc` the target';
        throw new MillraceError(error.kind, error.code, `${error.message}; ${next}`, { cause: thrown });
      });
      const bytes = written.objects.reduce((sum, object) => sum + object.bytes, 0);
      const what = `checkpoint ${manifest.checkpointId} is in ${placeOf(target)}: ${plural(written.objects.length, 'object')}, ${byteSize(bytes)}`;
      const { savepointId } = written;
      return {
        text: [`${what}; it needs nothing else`],
        json: {
          location: target.location,
          savepointId,
          checkpoint: manifest.checkpointId,
          objects: written.objects.length,
          bytes,
        },
      };
    });
  });
}
