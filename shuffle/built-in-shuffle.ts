import { heapMemory, type SharedMemory } from '../base/index.js';
import type { ShuffleHost, ShufflePlugin } from './plugin.js';
import { shuffleClient } from './shuffle-client.js';
import { ShuffleService, type ShuffleServiceOptions } from './shuffle-service.js';

export type BuiltInOptions = Partial<Omit<ShuffleServiceOptions, keyof ShuffleHost>>;

/**
 * The service of this project as a plug-in like any other. Which memory this process has decides how buffers travel:
 * `mapped`, mapped files; `memory`, SharedArrayBuffers; `wire`, none in clients and the daemon's own heap.
 */
export function builtInShuffle(options: BuiltInOptions = {}): ShufflePlugin {
  return {
    name: 'built in',
    openService: (host) => ShuffleService.open({ ...options, ...host, memory: options.memory ?? heapMemory() }),
    openClient: async (host) => shuffleClient({ ...host, ...clientMemory(options.memory) }),
  };
}

function clientMemory(memory: SharedMemory | undefined): { memory?: SharedMemory } {
  return memory === undefined ? {} : { memory };
}
