import {
  type ByteFiles,
  type Clock,
  checksumHex,
  type Disk,
  type Logger,
  type Random,
  xxh64,
} from '../../base/index.js';
import { type BlobStore, openCheckpointPlace } from '../../checkpoint/index.js';
import { type BaseStores, type FolderSettings, HostState } from '../../statestore/index.js';
import { KEY_GROUPS } from '../graph/index.js';
import { readHeadState } from './operator-parts.js';
import type { StateCall, StateThreadSettings } from './state-thread.js';

/** What the state of a host stands on. */
export interface StateCallsParts {
  /** Other hosts may have a folder of this path too. */
  readonly host: string;
  readonly disk: Disk;
  readonly files: ByteFiles;
  readonly bases: BaseStores;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly folderSettings?: Partial<FolderSettings>;
  /** Stands in for what is in S3, in the simulator. */
  readonly remote?: BlobStore | undefined;
}

/**
 * Opens a `HostState`, in the thread of a `StateThread`: what this returns answers what that posts. Calls come in order, and are
 * answered in any.
 */
export async function openStateCalls(
  { root, bootId, checkpoints }: StateThreadSettings,
  { host, folderSettings = {}, remote, ...parts }: StateCallsParts,
): Promise<(call: StateCall) => Promise<unknown>> {
  const place = await openCheckpointPlace(checkpoints, { ...parts, remote }, { probe: false });
  const state = new HostState({
    ...parts,
    root,
    bootId,
    keyGroups: KEY_GROUPS,
    owner: `state-${checksumHex(xxh64(Buffer.from(`${host} ${root}`)))}`,
    store: place.store,
    readHead: () => readHeadState(place.store),
    settings: folderSettings,
  });
  return async (call) => {
    switch (call.kind) {
      case 'hold':
        return state.hold(call.operator, call.segment);
      case 'stored':
        return state.stored(call.checkpoint, call.epoch, call.segments);
      case 'completed':
        return state.completed(call.checkpoint, call.epoch);
      case 'aborted':
        return state.aborted(call.checkpoint);
      case 'describe':
        return state.describe(call.operator, call.heat);
      case 'restore':
        return state.restore(call.operator, call.range, call.segments);
      case 'distrust':
        return state.distrust(call.operator);
      case 'checkReaders':
        return state.checkReaders();
      case 'idle':
        return state.idle();
      default:
        await state.close();
        return place.close();
    }
  };
}
