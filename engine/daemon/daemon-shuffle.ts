import { mappedMemory } from '../../base/index.js';
import type { ShufflePlugin } from '../../shuffle/index.js';
import { loadShuffle } from '../runtime/index.js';
import type { DaemonSettings } from './daemon.js';

/** The shuffle that a daemon process serves, by the way buffers are to travel. @throws MillraceError `SHUFFLE_MODULE`. */
export async function daemonShuffle({ shuffle, memoryFolder }: DaemonSettings): Promise<ShufflePlugin> {
  const mapped = shuffle === 'mapped';
  return loadShuffle(shuffle, mapped ? { memory: mappedMemory({ folder: memoryFolder as string }) } : {});
}
