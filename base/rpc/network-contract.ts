import assert from 'node:assert/strict';
import type { ContractCase } from '../contract-case.js';
import { MillraceError } from '../errors.js';
import type { Connection, Listener } from '../network.js';

/** One network under test, made afresh for every case. */
export interface NetworkUnderTest {
  connect(address: string): Promise<Connection>;
  /** Listens somewhere free; a front door, for networks whose listening is not their own. */
  listen(onConnection: (connection: Connection) => void): Promise<Listener>;
  /** An address of this network where nobody listens. */
  readonly nowhere: string;
  /** The largest frame that is tried; 32 MiB by default. */
  readonly largeFrameBytes?: number;
  /** Lets other work of this network happen: a turn of the event loop, or of virtual time. */
  turn(): Promise<void>;
  close(): Promise<void>;
}

/** A network whose connections can end as the death of their process would end them. */
export interface CuttableNetwork extends NetworkUnderTest {
  cut(connection: Connection): void;
}

/**
 * What every Network must do (`base/network.ts`). Each transport runs these in its own test file, the simulator's
 * virtual network included. Each case wants a fresh network, and closes it: `runContractCase`.
 */
export const networkContract: readonly ContractCase<NetworkUnderTest>[] = [
  {
    name: 'delivers frames of every size whole, in order, 8-aligned, as plain Uint8Arrays',
    run: (network) =>
      pair(network, async (client, server) => {
        const large = network.largeFrameBytes ?? 32 * 1024 * 1024;
        const sizes = [1, 0, 2, 7, 8, 9, 125, 126, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20, 3, large, 1];
        const frames = sizes.map((size, i) => patterned(size, i));
        for (const frame of frames) client.connection.send(frame);
        for (const frame of frames) assertSameFrame(await server.next(), frame);
      }),
  },

  {
    name: 'delivers many small frames in order, both ways at once',
    run: (network) =>
      pair(network, async (client, server) => {
        const count = 5_000;
        for (let i = 0; i < count; i++) {
          client.connection.send(numbered(i, i % 100));
          server.connection.send(numbered(i, i % 37));
        }
        for (let i = 0; i < count; i++) {
          assertSameFrame(await server.next(), numbered(i, i % 100));
          assertSameFrame(await client.next(), numbered(i, i % 37));
        }
      }),
  },

  {
    name: 'gives each received frame to its handler for good: later frames do not overwrite it',
    run: (network) =>
      pair(network, async (client, server) => {
        for (let i = 0; i < 300; i++) client.connection.send(patterned(i * 31, i));
        const received: Uint8Array[] = [];
        for (let i = 0; i < 300; i++) received.push(await server.next());
        for (const [i, frame] of received.entries()) {
          assertSameFrame(frame, patterned(i * 31, i));
          frame.fill(0xee);
        }
        for (const frame of received) assert(frame.every((byte) => byte === 0xee));
      }),
  },

  {
    name: 'is unchanged for the sender when the receiver writes into a frame',
    run: (network) =>
      pair(network, async (client, server) => {
        const sent = patterned(10_000, 1);
        client.connection.send(sent);
        (await server.next()).fill(0);
        assertSameFrame(sent, patterned(10_000, 1));
      }),
  },

  {
    name: 'carries a conversation: each answer after its question',
    run: (network) =>
      pair(network, async (client, server) => {
        for (let i = 0; i < 50; i++) {
          client.connection.send(numbered(i, 10));
          server.connection.send(await server.next());
          assertSameFrame(await client.next(), numbered(i, 10));
        }
      }),
  },

  {
    name: 'counts what is queued, down to 0 once the other side has it',
    run: (network) =>
      pair(network, async (client, server) => {
        const frame = patterned(1 << 20, 5);
        for (let i = 0; i < 8; i++) client.connection.send(frame);
        assert(client.connection.queuedBytes > 0, 'nothing was counted');
        for (let i = 0; i < 8; i++) await server.next();
        for (let i = 0; client.connection.queuedBytes > 0 && i < 10_000; i++) await network.turn();
        assert.equal(client.connection.queuedBytes, 0);
      }),
  },

  {
    name: 'sends what is queued before it closes; both sides are told once, without a reason',
    run: (network) =>
      pair(network, async (client, server) => {
        for (let i = 0; i < 20; i++) client.connection.send(numbered(i, 100_000));
        client.connection.close();
        client.connection.close();
        for (let i = 0; i < 20; i++) assertSameFrame(await server.next(), numbered(i, 100_000));
        assert.equal(await server.closed, undefined);
        assert.equal(await client.closed, undefined);
        assert.deepEqual([client.timesClosed, server.timesClosed], [1, 1]);
      }),
  },

  {
    name: 'closes in the same way from the side that accepted',
    run: (network) =>
      pair(network, async (client, server) => {
        server.connection.send(numbered(1, 10));
        server.connection.close();
        assertSameFrame(await client.next(), numbered(1, 10));
        assert.equal(await client.closed, undefined);
        assert.equal(await server.closed, undefined);
      }),
  },

  {
    name: 'ignores what is sent after a close, and delivers nothing to the side that closed',
    run: (network) =>
      pair(network, async (client, server) => {
        client.connection.close();
        client.connection.send(numbered(1, 10));
        server.connection.send(numbered(2, 10));
        await client.closed;
        await server.closed;
        client.connection.send(numbered(3, 10));
        server.connection.send(numbered(4, 10));
        assert.deepEqual([client.waiting, server.waiting], [0, 0]);
      }),
  },

  {
    name: 'keeps the connections of one listener apart',
    async run(network) {
      const listener = await network.listen((connection) => {
        connection.onFrame((frame) => connection.send(frame));
      });
      const ends = [];
      for (let i = 0; i < 5; i++) ends.push(new End(await network.connect(listener.address), network));
      for (const [i, end] of ends.entries()) end.connection.send(numbered(i, 50));
      for (const [i, end] of ends.entries()) assertSameFrame(await end.next(), numbered(i, 50));
      for (const end of ends) end.connection.close();
      for (const end of ends) await end.closed;
      await listener.close();
    },
  },

  {
    name: 'accepts nobody after the listener closed, and keeps the connections it has',
    async run(network) {
      const listener = await network.listen((connection) => {
        connection.onFrame((frame) => connection.send(frame));
      });
      const client = new End(await network.connect(listener.address), network);
      await listener.close();
      await assert.rejects(network.connect(listener.address), isConnectFailed(listener.address));
      client.connection.send(numbered(1, 10));
      assertSameFrame(await client.next(), numbered(1, 10));
      client.connection.close();
      await client.closed;
    },
  },

  {
    name: 'names the address when nobody listens there',
    async run(network) {
      await assert.rejects(network.connect(network.nowhere), isConnectFailed(network.nowhere));
    },
  },
];

/** What a Network must do besides, where a connection can be cut. */
export const networkCutContract: readonly ContractCase<CuttableNetwork>[] = [
  {
    name: 'gives a reason when the other side dies, after the frames that arrived',
    run: (network) =>
      pair(network, async (client, server) => {
        client.connection.send(numbered(1, 10));
        assertSameFrame(await server.next(), numbered(1, 10));
        network.cut(client.connection);
        const reason = await server.closed;
        assert(reason instanceof MillraceError, `no reason but ${String(reason)}`);
        assert.deepEqual([reason.kind, reason.code], ['unavailable', 'CONNECTION_LOST']);
        server.connection.send(numbered(2, 10));
        assert.equal(server.timesClosed, 1);
      }),
  },
];

/** Runs `body` with both ends of one connection, then closes both. */
async function pair(network: NetworkUnderTest, body: (client: End, server: End) => Promise<void>): Promise<void> {
  let arrived: (end: End) => void = () => undefined;
  const accepted = new Promise<End>((resolve) => {
    arrived = resolve;
  });
  const listener = await network.listen((connection) => arrived(new End(connection, network)));
  const client = new End(await network.connect(listener.address), network);
  const server = await accepted;
  await body(client, server);
  client.connection.close();
  server.connection.close();
  await client.closed;
  await server.closed;
  await listener.close();
}

/** One end of a connection: what arrived, to be awaited frame by frame. */
class End {
  readonly connection: Connection;
  readonly closed: Promise<Error | undefined>;
  timesClosed = 0;
  readonly #network: NetworkUnderTest;
  readonly #frames: Uint8Array[] = [];

  constructor(connection: Connection, network: NetworkUnderTest) {
    this.connection = connection;
    this.#network = network;
    connection.onFrame((frame) => this.#frames.push(frame));
    this.closed = new Promise((resolve) => {
      connection.onClose((reason) => {
        this.timesClosed += 1;
        resolve(reason);
      });
    });
  }

  get waiting(): number {
    return this.#frames.length;
  }

  async next(): Promise<Uint8Array> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) return frame;
      assert.equal(this.timesClosed, 0, 'closed before the frame came');
      await this.#network.turn();
    }
  }
}

function isConnectFailed(address: string): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof MillraceError, String(error));
    assert.deepEqual([error.kind, error.code, error.context], ['unavailable', 'CONNECT_FAILED', { address }]);
    assert(error.message.includes(address), error.message);
    return true;
  };
}

function patterned(size: number, seed: number): Uint8Array {
  const frame = new Uint8Array(size);
  for (let i = 0; i < size; i++) frame[i] = (i * 31 + (i >>> 8) * 7 + seed) & 0xff;
  return frame;
}

function numbered(n: number, size: number): Uint8Array {
  const frame = new Uint8Array(4 + size).fill(n & 0xff);
  new DataView(frame.buffer).setUint32(0, n);
  return frame;
}

function assertSameFrame(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(Object.getPrototypeOf(actual), Uint8Array.prototype);
  assert.equal(actual.byteOffset % 8, 0, 'not 8-aligned');
  assert.equal(actual.length, expected.length);
  assert.equal(Buffer.compare(actual, expected), 0, 'other bytes arrived');
}
