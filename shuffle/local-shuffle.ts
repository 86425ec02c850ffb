import type { Clock, SharedMemory } from '../base/index.js';
import { directDoorbell } from './doorbell.js';
import { LocalEnvironment } from './local-environment.js';
import { LocalMaster } from './local-master.js';
import type { RegionStore } from './region-store.js';
import type { ShuffleFaults, ShuffleSettings } from './settings.js';

export interface LocalShuffle {
  readonly master: LocalMaster;
  readonly environment: LocalEnvironment;
  close(): Promise<void>;
}

/** Master and environment in one thread, over any memory: for tests, tools and programs of one thread. */
export async function openLocalShuffle(options: {
  readonly memory: SharedMemory;
  readonly clock: Clock;
  readonly settings?: Partial<ShuffleSettings>;
  readonly faults?: ShuffleFaults;
  /** Where data goes that has no room in memory; closed with this. */
  readonly regions?: RegionStore;
}): Promise<LocalShuffle> {
  const doorbell = directDoorbell();
  const master = await LocalMaster.open({ ...options, doorbell });
  const environment = new LocalEnvironment({ ...options, doorbell, readSpilled: master.readSpilled });
  return {
    master,
    environment,
    async close() {
      await environment.close();
      await master.close();
    },
  };
}
