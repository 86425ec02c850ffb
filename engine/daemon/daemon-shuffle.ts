import { bootId, type Clock, type Disk, type Logger, mappedMemory, type Random } from '../../base/index.js';
import { type BuiltInOptions, RegionStore, type ShufflePlugin } from '../../shuffle/index.js';
import { isShuffleModule, loadShuffle } from '../runtime/index.js';
import type { DaemonSettings } from './daemon.js';

export interface DaemonShuffleSurroundings {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  readonly logger: Logger;
}

/** The shuffle that a daemon process serves, by the way buffers are to travel. @throws MillraceError `SHUFFLE_MODULE`. */
export async function daemonShuffle(
  settings: DaemonSettings,
  surroundings: DaemonShuffleSurroundings,
): Promise<ShufflePlugin> {
  const { shuffle, memoryFolder } = settings;
  if (isShuffleModule(shuffle)) return loadShuffle(shuffle);
  return loadShuffle(shuffle, {
    ...(shuffle === 'mapped' ? { memory: mappedMemory({ folder: memoryFolder as string }) } : {}),
    ...(await spillOptions(settings, surroundings)),
  });
}

/** Where the built-in shuffle puts what has no room in memory. */
export async function spillOptions(
  { spillFolders = [], spillBytesMax }: DaemonSettings,
  surroundings: DaemonShuffleSurroundings,
): Promise<BuiltInOptions> {
  if (spillFolders.length === 0) return {};
  const limit = spillBytesMax === undefined ? {} : { diskBytesMax: spillBytesMax };
  return { regions: await RegionStore.open({ ...surroundings, ...limit, folders: spillFolders, bootId: bootId() }) };
}
