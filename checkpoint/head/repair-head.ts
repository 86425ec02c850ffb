import { MillraceError, type Random } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';
import { parseObjectName } from '../blob/blob-name.js';
import type { BlobStore } from '../blob/blob-store.js';
import { valueVersions } from '../blob/value-versions.js';
import type { Manifest } from '../manifest.js';
import { look } from '../undamaged.js';
import type { VerifyOptions } from '../verify.js';
import { decodeHead, decodeManifest, encodeHead, type HeadManifest } from './head.js';
import { keptBy } from './head-protocol.js';
import { headName } from './head-register.js';

/**
 * Nobody knows how far the lost HEAD was: ids and epochs go on this far above all that is seen, so that nothing which was
 * named after one of those (a sink's files, objects of a leader that is still paused somewhere) is met again.
 */
const idsApart = 1_000_000;
const epochsApart = 1000;

export interface RepairOptions extends VerifyOptions {
  readonly random: Random;
  /** Looks only. */
  readonly dryRun: boolean;
}

export interface RepairedHead {
  /** What was wrong with HEAD. */
  readonly problem: string;
  /** Where the checkpoint was found: `HEAD version 41`, or the name of a pin. */
  readonly from: string;
  /** The id it had, and the one it has from now on. */
  readonly was: number;
  readonly checkpointId: number;
  readonly epoch: number;
  /** Older than it, as they stood beside it; not looked at. */
  readonly retained: readonly number[];
  /** Checkpoints that are newer and damaged, newest first. */
  readonly damaged: readonly number[];
}

/** A checkpoint that some remains of HEAD speak of. */
interface Found {
  readonly from: string;
  readonly kept: HeadManifest;
  readonly older: readonly HeadManifest[];
}

/**
 * Makes a HEAD where it is gone or damaged, from what else speaks of checkpoints: older versions of HEAD, where the store has
 * them (a folder does), and pins. It keeps the newest of them that is whole. What came after that is given up, so whoever
 * asks for this must know that rows which sinks have made visible since may be written again.
 * Nobody may lead the store meanwhile: one who does is fenced.
 * @throws MillraceError `HEAD_WHOLE` (invalid): there is nothing to repair; `HEAD_VERSION`; `HEAD_UNREPAIRABLE` (corrupt);
 *   `CAS_CONFLICT` (fenced): somebody else moved it; `STORE_UNAVAILABLE`, `STOPPED`.
 */
export async function repairHead(store: BlobStore, options: RepairOptions): Promise<RepairedHead> {
  const { version, problem } = await brokenHead(store);
  const { found, epochMax } = await remains(store);
  const names = await store.list('');
  const parsed = names.flatMap((name) => parseObjectName(name) ?? []);
  const epoch = Math.max(epochMax, ...parsed.map((name) => name.epoch)) + epochsApart;
  const ids = [...found.map(({ kept }) => kept.checkpointId), ...parsed.map((name) => name.checkpointId)];
  const checkpointId = Math.max(0, ...ids) + idsApart;
  const damaged: number[] = [];
  const looked = new Set<string>();
  for (const { from, kept, older } of found) {
    const key = `${kept.epoch}-${kept.checkpointId}`;
    if (looked.has(key)) continue;
    looked.add(key);
    const { manifest, problems } = await look(store, kept, { ...options, deep: true });
    if (manifest === undefined || problems.length > 0) {
      damaged.push(kept.checkpointId);
      continue;
    }
    const latest: Manifest = { ...manifest, checkpointId, epoch };
    const head = { epoch, nonce: options.random.nonce(), line: checkpointId + 1, latest, retained: older };
    if (!options.dryRun) await store.compareAndSet(headName, version, encodeHead(head));
    const retained = older.map((each) => each.checkpointId);
    return { problem, from, was: kept.checkpointId, checkpointId, epoch, retained, damaged };
  }
  const what =
    found.length === 0 ? 'nothing else speaks of a checkpoint' : `checkpoints ${damaged.join(', ')} are damaged`;
  throw new MillraceError(
    'corrupt',
    'HEAD_UNREPAIRABLE',
    `${store.location}: ${problem}; ${what}: restore a savepoint to another place, or start anew there`,
  );
}

/** The version that HEAD has, undefined for none, and what is wrong with it. */
async function brokenHead(
  store: BlobStore,
): Promise<{ readonly version: string | undefined; readonly problem: string }> {
  const [newest] = await valueVersions(store, headName);
  if (newest === undefined) {
    if ((await store.list('segments/')).length > 0) return { version: undefined, problem: 'HEAD is gone' };
    throw whole(store, 'there are neither HEAD nor segments');
  }
  try {
    if (newest.bytes !== undefined) decodeHead(newest.bytes, store.location);
  } catch (thrown) {
    const { code, message } = MillraceError.from(thrown);
    if (code !== 'HEAD_CORRUPT') throw thrown;
    return { version: newest.version, problem: message };
  }
  if (newest.bytes === undefined) return { version: newest.version, problem: 'HEAD cannot be read' };
  throw whole(store, 'HEAD is whole');
}

/** Newest first. */
async function remains(store: BlobStore): Promise<{ readonly found: readonly Found[]; readonly epochMax: number }> {
  const found: Found[] = [];
  let epochMax = 0;
  for (const { bytes, version } of await valueVersions(store, headName)) {
    try {
      if (bytes === undefined) continue;
      const head = decodeHead(bytes, store.location);
      epochMax = Math.max(epochMax, head.epoch);
      const kept = keptBy(head);
      kept.forEach((each, at) => {
        found.push({ from: `HEAD version ${version}`, kept: each, older: kept.slice(at + 1) });
      });
    } catch (thrown) {
      if (MillraceError.from(thrown).code !== 'HEAD_CORRUPT') throw thrown;
    }
  }
  for (const name of await store.list('pins/')) {
    try {
      const kept = decodeManifest(await store.get(name), name);
      epochMax = Math.max(epochMax, kept.epoch);
      found.push({ from: name, kept, older: [] });
    } catch (thrown) {
      // A pin that is damaged, or taken away meanwhile, is no help.
      if (MillraceError.from(thrown).kind !== 'corrupt' && !hasCode(thrown, 'BLOB_NOT_FOUND')) throw thrown;
    }
  }
  // A later epoch counts more: ids alone begin anew after a reset.
  found.sort((a, b) => b.kept.epoch - a.kept.epoch || b.kept.checkpointId - a.kept.checkpointId);
  return { found, epochMax };
}

function whole(store: BlobStore, why: string): MillraceError {
  return new MillraceError('invalid', 'HEAD_WHOLE', `${store.location}: ${why}; there is nothing to repair`);
}
