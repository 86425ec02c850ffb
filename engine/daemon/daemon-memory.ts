import { heapMemory, mappedMemory, type SharedMemory, sharedArrayMemory } from '../../base/index.js';
import type { DaemonSettings } from './daemon.js';

/** The memory a daemon's regions live in, by the way its buffers travel. */
export function daemonMemory(settings: DaemonSettings): SharedMemory {
  if (settings.shuffle === 'mapped') return mappedMemory({ folder: settings.memoryFolder as string });
  return settings.shuffle === 'memory' ? sharedArrayMemory() : heapMemory();
}
