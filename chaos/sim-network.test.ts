import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Connection } from '../base/index.js';
import type { SimContext } from './sim-process.js';
import { SimWorld } from './sim-world.js';

interface Pair {
  readonly world: SimWorld;
  readonly client: SimContext;
  readonly server: SimContext;
  readonly connection: Connection;
  readonly accepted: Connection;
  readonly log: string[];
}

async function connected(seed: number, hosts: readonly [string, string] = ['h1', 'h2']): Promise<Pair> {
  const world = new SimWorld({ seed });
  const log: string[] = [];
  let client: SimContext | undefined;
  let server: SimContext | undefined;
  let connection: Connection | undefined;
  let accepted: Connection | undefined;
  const watch = (name: string, side: Connection) => {
    side.onFrame((frame) => log.push(`${name} got ${frame.join()}`));
    side.onClose((reason) => log.push(`${name} closed ${(reason as { code?: string } | undefined)?.code ?? 'clean'}`));
  };
  world.spawn('server', hosts[0], async (context) => {
    server = context;
    await context.network.listen(`ws://${hosts[0]}:9000/data`, (side) => {
      accepted = side;
      watch('server', side);
    });
  });
  await world.run();
  world.spawn('client', hosts[1], async (context) => {
    client = context;
    connection = await context.network.connect(`ws://${hosts[0]}:9000/data`);
    watch('client', connection);
  });
  await world.run();
  assert(client && server && connection && accepted);
  return { world, client, server, connection, accepted, log };
}

describe('SimNetwork', () => {
  it('tells the peer of a killed process, after what the operating system had already', async () => {
    const { world, client, connection, log } = await connected(1);
    connection.send(Uint8Array.of(1));
    await world.run({ untilMs: world.clock.timeMs + 0.05 });
    connection.send(new Uint8Array(50_000_000));
    client.process.kill();
    connection.send(Uint8Array.of(3));
    const killedMs = world.clock.timeMs;
    await world.run();
    assert.deepEqual(log, ['server got 1', 'server closed CONNECTION_LOST']);
    assert(world.clock.timeMs - killedMs < 10);
    assert.equal(world.network.openConnections, 0);
  });

  it('is silent about a host that lost power, until its peers notice by themselves', async () => {
    const { world, log } = await connected(1);
    world.reboot('h2');
    const beforeMs = world.clock.timeMs;
    await world.run();
    assert.deepEqual(log, ['server closed CONNECTION_LOST']);
    assert(world.clock.timeMs - beforeMs > 5000);
  });

  it('keeps what comes for a paused process until it resumes', async () => {
    const { world, connection, server, log } = await connected(1);
    server.process.pause();
    for (let i = 0; i < 3; i++) connection.send(Uint8Array.of(i));
    await world.run();
    assert.deepEqual(log, []);
    server.process.resume();
    await world.run();
    assert.deepEqual(log, ['server got 0', 'server got 1', 'server got 2']);
  });

  it('holds frames of a blocked direction, in order, while the other direction works', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const { world, connection, accepted, log } = await connected(seed);
      connection.send(Uint8Array.of(0));
      world.network.block('h2', 'h1');
      for (let i = 1; i < 5; i++) connection.send(Uint8Array.of(i));
      accepted.send(Uint8Array.of(9));
      await world.run();
      assert.deepEqual(log, ['client got 9']);
      world.network.unblock('h2', 'h1');
      connection.send(Uint8Array.of(5));
      await world.run();
      assert.deepEqual(
        log.slice(1),
        [0, 1, 2, 3, 4, 5].map((i) => `server got ${i}`),
      );
    }
  });

  it('breaks connections on both sides, with a prefix of the frames delivered', async () => {
    const delivered = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { world, connection, log } = await connected(seed);
      for (let i = 0; i < 5; i++) connection.send(new Uint8Array(400_000).fill(i, 0, 1));
      world.clock.at(world.random.float() * 8, 'cut', () => world.network.sever(() => true));
      await world.run();
      connection.send(Uint8Array.of(1));
      await world.run();
      const got = log.filter((line) => line.startsWith('server got')).map((line) => Number(line.slice(11, 12)));
      assert.deepEqual(got, [0, 1, 2, 3, 4].slice(0, got.length));
      assert.deepEqual(log.filter((line) => line.includes('closed')).sort(), [
        'client closed CONNECTION_LOST',
        'server closed CONNECTION_LOST',
      ]);
      delivered.add(got.length);
    }
    assert(delivered.size >= 3, `prefixes of lengths ${[...delivered]} only`);
  });

  it('refuses when nobody listens, or the listener dies before it accepts', async () => {
    const { world, server, client } = await connected(1);
    const codes: unknown[] = [];
    const attempt = (address: string) =>
      client.network.connect(address).then(
        () => codes.push('connected'),
        (error: { code: unknown }) => codes.push(error.code),
      );
    void attempt('ws://h1:9001/data');
    void attempt('ws://h1:9000/other');
    void attempt('unix:/server.sock');
    void attempt('http://x');
    await world.run();
    assert.deepEqual(codes.sort(), ['ADDRESS_INVALID', 'CONNECT_FAILED', 'CONNECT_FAILED', 'CONNECT_FAILED']);
    server.process.pause();
    void attempt('ws://h1:9000/data');
    await world.run();
    assert.equal(codes.length, 4);
    server.process.kill();
    await world.run();
    assert.equal(codes[4], 'CONNECT_FAILED');
  });

  it('frees the address of a killed listener, and gives out free ports', async () => {
    const { world, server } = await connected(1);
    const seen: string[] = [];
    const listen = async ({ network }: SimContext) => {
      for (const address of ['ws://h1:9000/data', 'ws://127.0.0.1:0/a', 'ws://127.0.0.1:0/b', 'unix:/a', 'unix:/a']) {
        await network
          .listen(address, () => {})
          .then(
            (listener) => seen.push(listener.address),
            (error: { code: string }) => seen.push(error.code),
          );
      }
    };
    world.spawn('second', 'h1', listen);
    await world.run();
    assert.deepEqual([seen[0], seen[4]], ['ADDRESS_IN_USE', 'ADDRESS_IN_USE']);
    assert.notEqual(seen[1]?.split('/')[2], seen[2]?.split('/')[2]);
    server.process.kill();
    world.process('second')?.kill();
    seen.length = 0;
    world.spawn('third', 'h1', listen);
    await world.run();
    assert.equal(seen[0], 'ws://h1:9000/data');
    assert.equal(seen[3], 'unix:/a');
  });

  it('fails the run when a frame is changed after it was sent', async () => {
    const { world, connection } = await connected(1);
    const frame = Uint8Array.of(1, 2);
    connection.send(frame);
    frame[0] = 9;
    await assert.rejects(world.run(), { code: 'BYTES_CHANGED' });
  });
});
