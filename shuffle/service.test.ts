import { join } from 'node:path';
import { test } from 'node:test';
import {
  type Connection,
  heapMemory,
  type Listener,
  mappedMemory,
  type SharedMemory,
  silentLogger,
  sleep,
  systemClock,
} from '../base/index.js';
import { nodeNetwork, openFrontDoor, type RpcPeer, rpcPeer } from '../base/rpc/index.js';
import { shuffleConformance } from './conformance.js';
import type { ShuffleUnderTest } from './conformance-kit.js';
import { leavesNothing, type TestGround } from './leftovers.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import { type ShuffleClient, shuffleClient } from './shuffle-client.js';
import { ShuffleService } from './shuffle-service.js';
import { temporaryRegions } from './temporary-regions.test.support.js';

/** WebSockets are accepted by a front door. */
async function listenOnFrontDoor(address: string, accept: (connection: Connection) => void): Promise<Listener> {
  const fallback = address === 'ws:node' ? ({ implementation: 'node' } as const) : {};
  const door = await openFrontDoor({ port: 0, clock: systemClock(), logger: silentLogger(), ...fallback });
  door.onConnection('/shuffle', accept);
  return { address: door.webSocketAddress('/shuffle'), close: () => door.close() };
}

/** A service and two clients on connections of their own: a producer's and a consumer's. */
async function overConnections(
  address: string,
  spills: boolean,
  ofService: SharedMemory,
  ofClient?: () => SharedMemory,
): Promise<ShuffleUnderTest> {
  const clock = systemClock();
  const disk = spills ? await temporaryRegions() : undefined;
  const network = nodeNetwork({ clock });
  const options = { memory: ofService, clock, logger: silentLogger(), settings: TEST_SETTINGS };
  const service = await ShuffleService.open({ ...options, ...(disk === undefined ? {} : { regions: disk.regions }) });
  const accept = (connection: Connection) => service.attach(rpcPeer(connection, { clock }));
  const listener = address.startsWith('ws:')
    ? await listenOnFrontDoor(address, accept)
    : await network.listen(address, accept);
  const clients: { readonly peer: RpcPeer; readonly client: ShuffleClient }[] = [];
  for (let i = 0; i < 2; i++) {
    const peer = rpcPeer(await network.connect(listener.address), { clock });
    const memory = ofClient?.();
    const client = shuffleClient({ peer, clock, settings: TEST_SETTINGS, ...(memory === undefined ? {} : { memory }) });
    clients.push({ peer, client });
  }
  const [producer, consumer] = clients as [(typeof clients)[0], (typeof clients)[0]];
  return {
    master: producer.client.master,
    producer: producer.client.environment,
    consumer: consumer.client.environment,
    unconsumedBytesMax: TEST_SETTINGS.unconsumedBytesMax,
    spills,
    turn: () => sleep(clock, 3),
    async close() {
      const { master } = producer.client;
      for (const { writer } of await master.list()) await master.release(writer);
      for (const { client, peer } of clients) {
        await client.close();
        peer.close();
        await peer.closed;
      }
      await service.close();
      await listener.close();
      disk?.remove();
    },
  };
}

/** Of the test that runs now: it must leave nothing behind. */
let place: TestGround;
const socket = () => `unix:${join(place.folder, 'shuffle.sock')}`;
const checked = (name: string, run: () => Promise<void>) =>
  void test(name, (t) => {
    place = leavesNothing(t);
    return run();
  });

for (const spills of [false, true]) {
  const suffix = spills ? ', with a disk' : '';
  shuffleConformance(
    `wire over a Unix socket${suffix}`,
    () => overConnections(socket(), spills, heapMemory()),
    checked,
  );
  shuffleConformance(`wire over WebSocket${suffix}`, () => overConnections('ws:', spills, heapMemory()), checked);
  shuffleConformance(
    `wire over WebSocket without uWebSockets.js${suffix}`,
    () => overConnections('ws:node', spills, heapMemory()),
    checked,
  );
  shuffleConformance(
    `mapped${suffix}`,
    () => {
      const memory = () => mappedMemory({ folder: place.memoryFolder });
      return overConnections(socket(), spills, memory(), memory);
    },
    checked,
  );
}
