import { deepEqual, equal } from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { silentLogger, sleep, systemClock } from '../base/index.js';
import { nodeNetwork, type RpcPeer, rpcPeer } from '../base/rpc/index.js';
import { shuffleConformance } from './conformance.js';
import type { ShuffleUnderTest } from './conformance-kit.js';
import example from './example-plugin.js';
import { notAPlugin, type ShuffleClientEnd } from './plugin.js';
import { TEST_SETTINGS } from './settings.test.support.js';

const clock = systemClock();
const host = { clock, logger: silentLogger(), settings: TEST_SETTINGS };
const folder = mkdtempSync(join(tmpdir(), 'millrace-example-plugin-'));
let sockets = 0;
after(() => rmSync(folder, { recursive: true, force: true }));

/** The example's service, and two clients on connections of their own: a producer's and a consumer's. */
async function overConnections(): Promise<ShuffleUnderTest & { readonly peers: readonly RpcPeer[] }> {
  const network = nodeNetwork({ clock });
  const service = await example.openService(host);
  const address = `unix:${join(folder, `${sockets++}.sock`)}`;
  const listener = await network.listen(address, (connection) => service.attach(rpcPeer(connection, { clock })));
  const peers: RpcPeer[] = [];
  const clients: ShuffleClientEnd[] = [];
  for (let i = 0; i < 2; i++) {
    const peer = rpcPeer(await network.connect(address), { clock });
    peers.push(peer);
    clients.push(await example.openClient({ ...host, peer }));
  }
  const [producer, consumer] = clients as [ShuffleClientEnd, ShuffleClientEnd];
  return {
    peers,
    master: producer.master,
    producer: producer.environment,
    consumer: consumer.environment,
    unconsumedBytesMax: TEST_SETTINGS.unconsumedBytesMax,
    turn: () => sleep(clock, 3),
    async close() {
      for (const client of clients) await client.close();
      for (const peer of peers) peer.close();
      await service.close();
      await listener.close();
    },
  };
}

describe('the example plug-in', () => {
  shuffleConformance('conformance', overConnections, (name, run) => it(name, run));

  it('keeps out what a fenced writer sends that never heard of its fence', async () => {
    const shuffle = await overConnections();
    const peer = shuffle.peers[1] as RpcPeer;
    // Deaf: nothing that the service says of its own accord arrives.
    const deaf: RpcPeer = {
      peer: peer.peer,
      closed: peer.closed,
      queuedBytes: 0,
      request: (...request) => peer.request(...request),
      notify: (...notice) => peer.notify(...notice),
      serve: () => {},
      recycle: () => {},
      flush: () => peer.flush(),
      close: () => {},
    };
    const zombie = await example.openClient({ ...host, peer: deaf });
    const partition = { partition: 'p', type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
    const task = { writer: 'w', epoch: 1, partitions: [partition] };
    await shuffle.master.register(task);
    const writer = await zombie.environment.openWriter(task);
    const publish = () => {
      writer.partitions[0]?.emit(0, Buffer.from('bytes'), 1);
      writer.publish(new Uint8Array(0));
    };
    publish();
    await zombie.master.list();
    deepEqual(await shuffle.master.seal('w', 2), { tail: 1 });
    publish();
    await zombie.master.list();
    const [status] = await shuffle.master.list();
    deepEqual([status?.tail, status?.partitions[0]?.nextSeqs], [1, [1]]);
    await shuffle.close();
  });

  it('tells a later attachment from an earlier one of the same consumer', async () => {
    const shuffle = await overConnections();
    const partition = { partition: 'p', type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
    await shuffle.master.register({ writer: 'w', epoch: 1, partitions: [partition] });
    const channel = { partition: 'p', subpartition: 0, consumer: 0, from: { seq: 0, chain: 0n } };
    const earlier = await shuffle.consumer.openGate([channel]);
    await shuffle.consumer.openGate([channel]);
    await earlier.whenAvailable(5000);
    let code: unknown;
    try {
      earlier.poll();
    } catch (thrown) {
      code = (thrown as { code?: string }).code;
    }
    equal(code, 'CONSUMER_FENCED');
    await shuffle.close();
  });

  it('gives a dead consumer its place back: another reads on from a retained position', async () => {
    const shuffle = await overConnections();
    const partition = { partition: 'p', type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
    const task = { writer: 'w', epoch: 1, partitions: [partition] };
    await shuffle.master.register(task);
    const writer = await shuffle.producer.openWriter(task);
    writer.partitions[0]?.emit(0, Buffer.from('one'), 1);
    writer.publish(new Uint8Array(0));
    const channel = { partition: 'p', subpartition: 0, consumer: 0, from: { seq: 0, chain: 0n } };
    const gate = await shuffle.consumer.openGate([channel]);
    await gate.whenAvailable(5000);
    gate.poll()?.release();
    shuffle.peers[1]?.close();
    const again = await shuffle.producer.openGate([channel]);
    await again.whenAvailable(5000);
    deepEqual(Buffer.from(again.poll()?.bytes ?? []).toString(), 'one');
    await shuffle.close();
  });
});

describe('a module that is no plug-in', () => {
  it('is told what it lacks', () => {
    equal(notAPlugin(undefined), 'it has no default export');
    equal(notAPlugin('wire'), 'its default export is no object');
    equal(notAPlugin({}), 'its default export has no name');
    equal(notAPlugin({ name: 'x', openService: () => {} }), 'its default export has no method openClient');
    equal(notAPlugin(example), undefined);
  });
});
