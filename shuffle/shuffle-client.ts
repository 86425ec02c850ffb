import type { Clock, SharedMemory } from '../base/index.js';
import type { RpcPeer } from '../base/rpc/index.js';
import { HeldT } from './generated/millrace/shuffle.js';
import { LocalEnvironment } from './local-environment.js';
import { encode, SHUFFLE_SERVICES } from './message.js';
import type { ShuffleMetrics } from './metrics.js';
import { remoteDoorbell } from './remote-doorbell.js';
import { RemoteMaster } from './remote-master.js';
import type { ShuffleFaults, ShuffleSettings } from './settings.js';
import type { ShuffleEnvironment, ShuffleMaster } from './spi.js';
import { readSpilledOver } from './spilled-messages.js';
import { WireEnvironment } from './wire-environment.js';

export interface ShuffleClientOptions {
  readonly peer: RpcPeer;
  readonly clock: Clock;
  /** The service's own memory, where it can be shared; without it all buffers travel over the connection. */
  readonly memory?: SharedMemory;
  /** The thread that maps it; this one, by default. */
  readonly holder?: string;
  /** The same as the service's. */
  readonly settings?: Partial<ShuffleSettings>;
  readonly faults?: ShuffleFaults;
}

export interface ShuffleClient {
  readonly master: ShuffleMaster;
  readonly environment: ShuffleEnvironment & { readonly metrics: ShuffleMetrics };
  /** Detaches everything; the connection stays its owner's. */
  close(): Promise<void>;
}

/** A thread's end of one connection to a shuffle service. At most one client a connection. */
export function shuffleClient(options: ShuffleClientOptions): ShuffleClient {
  const { peer, clock, memory } = options;
  const master = new RemoteMaster(peer);
  const environment =
    memory === undefined ? new WireEnvironment(peer, clock) : mappedEnvironment({ ...options, memory });
  return {
    master,
    environment,
    async close() {
      await environment.close();
      await master.close();
    },
  };
}

function mappedEnvironment(options: ShuffleClientOptions & { readonly memory: SharedMemory }): LocalEnvironment {
  const { peer } = options;
  return new LocalEnvironment({
    ...options,
    doorbell: remoteDoorbell(peer),
    readSpilled: readSpilledOver(peer),
    onWriter: (writer, epoch, state) =>
      peer.notify(SHUFFLE_SERVICES.held, encode(new HeldT(writer, epoch, state === 'closed'))),
  });
}
