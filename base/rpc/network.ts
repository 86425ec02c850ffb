import type { Clock } from '../clock.js';
import type { Network } from '../network.js';
import { addressInvalid } from './connection-errors.js';
import { memoryNetwork } from './memory-network.js';
import { unixNetwork } from './unix-network.js';
import { webSocketNetwork } from './web-socket-network.js';

export interface NodeNetworkOptions {
  readonly clock: Clock;
  /** Shared by those that must reach each other by `memory:` addresses; by default this network has its own. */
  readonly memory?: Network;
}

/** The machine's network: chooses by the scheme of the address (`unix:`, `ws:`, `memory:`). */
export function nodeNetwork(options: NodeNetworkOptions): Network {
  const networks = new Map<string, Network>([
    ['unix', unixNetwork(options)],
    ['ws', webSocketNetwork(options)],
    ['memory', options.memory ?? memoryNetwork(options)],
  ]);
  const choose = (address: string): Network => {
    const network = networks.get(address.slice(0, Math.max(0, address.indexOf(':'))));
    if (network === undefined) throw addressInvalid(address, 'it must begin with unix:, ws: or memory:');
    return network;
  };
  return {
    connect: async (address) => choose(address).connect(address),
    listen: async (address, onConnection) => choose(address).listen(address, onConnection),
  };
}
