import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { systemClock, yieldTurn } from '../clock.js';
import { runContractCase } from '../contract-case.js';
import type { MillraceError } from '../errors.js';
import type { Connection } from '../network.js';
import { type CuttableNetwork, networkContract, networkCutContract } from './network-contract.js';
import { connectSocket } from './scratch-socket.js';
import { SocketConnection } from './socket-connection.js';
import { unixNetwork } from './unix-network.js';

const clock = systemClock();
const folder = mkdtempSync(join(tmpdir(), 'millrace-unix-'));
after(() => rmSync(folder, { recursive: true }));
let paths = 0;
const freshAddress = () => `unix:${folder}/${++paths}.sock`;
const network = unixNetwork({ clock });

/** The client's sockets by connection, so that the contract can cut one. */
const sockets = new WeakMap<Connection, Socket>();

async function open(): Promise<CuttableNetwork> {
  return {
    async connect(address) {
      if (!existsSync(address.slice(5))) return network.connect(address);
      const { socket, reads } = connectSocket(address.slice(5));
      await once(socket, 'connect');
      const connection = new SocketConnection(socket, reads, address, clock);
      sockets.set(connection, socket);
      return connection;
    },
    listen: (onConnection) => network.listen(freshAddress(), onConnection),
    nowhere: `unix:${folder}/nowhere.sock`,
    cut: (connection) => sockets.get(connection)?.destroy(),
    turn: () => yieldTurn(clock),
    close: async () => undefined,
  };
}

describe('unix network: the contract', () => {
  for (const contractCase of networkContract) it(contractCase.name, () => runContractCase(contractCase, open));
  for (const contractCase of networkCutContract) it(contractCase.name, () => runContractCase(contractCase, open));
});

describe('unix network: frames in pieces', () => {
  it('carries a frame of two pieces whole, whatever their sizes', async () => {
    const frames: Uint8Array[] = [];
    const listener = await network.listen(freshAddress(), (connection) => connection.onFrame((f) => frames.push(f)));
    const client = await network.connect(listener.address);
    const sizes = [0, 1, 8, 4096, 4097, 70_000, 300_000];
    const pieces = sizes.flatMap((a) => sizes.map((b) => [bytesOf(a, 1), bytesOf(b, 2)] as const));
    for (const [head, payload] of pieces) client.sendParts?.(head, payload);
    while (frames.length < pieces.length) await yieldTurn(clock);
    for (const [i, [head, payload]] of pieces.entries()) {
      assert.equal(Buffer.compare(Buffer.concat([head, payload]), frames[i] as Uint8Array), 0);
    }
    client.close();
    await listener.close();
  });

  it('uses the memory of a recycled frame for a later one, and of no other', async () => {
    const frames: Uint8Array[] = [];
    let server: Connection | undefined;
    const listener = await network.listen(freshAddress(), (connection) => {
      server = connection;
      connection.onFrame((frame) => frames.push(frame));
    });
    const client = await network.connect(listener.address);
    const receive = async (value: number) => {
      const count = frames.length;
      client.send(bytesOf(100_000, value));
      while (frames.length === count) await yieldTurn(clock);
    };
    await receive(1);
    await receive(2);
    server?.recycle?.((frames[0] as Uint8Array).subarray(64));
    await receive(3);
    await receive(4);
    assert.equal(frames[2]?.buffer, frames[0]?.buffer);
    assert.notEqual(frames[3]?.buffer, frames[0]?.buffer);
    assert.deepEqual(
      frames.slice(1).map((frame) => [frame.length, frame[0], frame[99_999]]),
      [2, 3, 4].map((value) => [100_000, value, value]),
    );
    client.close();
    await listener.close();
  });

  it('lets what was flushed arrive while the sender does not end its turn', async () => {
    const address = freshAddress();
    const reader = spawn(process.execPath, ['-e', READER, address.slice(5)], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(reader.stdout, 'data');
    const client = await network.connect(address);
    client.send(Uint8Array.of(7));
    client.flush?.();
    const marker = `${address.slice(5)}.arrived`;
    for (const end = clock.monotonicMs() + 10_000; !existsSync(marker) && clock.monotonicMs() < end; );
    assert(existsSync(marker), 'nothing arrived before the turn ended');
    client.close();
    await once(reader, 'exit');
  });
});

/** Listens, says so, and leaves a file behind when the first bytes come. */
const READER = `
const { createServer } = require('node:net');
const path = process.argv[1];
const server = createServer((socket) => {
  socket.once('data', () => require('node:fs').writeFileSync(path + '.arrived', ''));
  socket.once('close', () => server.close());
});
server.listen(path, () => console.log('listening'));
`;

function bytesOf(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

/** A listener that gives its first connection's close reason, and a raw socket to it. */
async function rawClient(): Promise<{ socket: Socket; reason: Promise<MillraceError>; frames: Uint8Array[] }> {
  const address = freshAddress();
  const frames: Uint8Array[] = [];
  let tell: (reason: MillraceError) => void = () => undefined;
  const reason = new Promise<MillraceError>((resolve) => {
    tell = resolve;
  });
  const listener = await network.listen(address, (connection) => {
    connection.onFrame((frame) => frames.push(frame));
    connection.onClose((error) => tell(error as MillraceError));
  });
  const socket = createConnection(address.slice(5));
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  await listener.close();
  return { socket, reason, frames };
}

describe('unix network', () => {
  it('says how much of a frame was missing when the stream ended inside it', async () => {
    const { socket, reason, frames } = await rawClient();
    socket.end(Buffer.from([2, 0, 0, 0, 7, 7, 10, 0, 0, 0, 1, 2, 3]));
    const error = await reason;
    assert.deepEqual([error.kind, error.code], ['unavailable', 'CONNECTION_LOST']);
    assert.match(error.message, /in the middle of a frame \(3 of 10 bytes\)/);
    assert.deepEqual(frames, [Uint8Array.of(7, 7)]);
  });

  it('closes on a length beyond the most, naming the peer, without waiting for the bytes', async () => {
    const { socket, reason, frames } = await rawClient();
    const ended = once(socket, 'close');
    socket.write(Buffer.from([0x01, 0, 0, 0x10, 1, 0, 0, 0, 9]));
    const error = await reason;
    assert.deepEqual([error.kind, error.code], ['corrupt', 'FRAME_TOO_LARGE']);
    assert.match(error.message, /a client of unix:.*\.sock announced a frame of 268435457 bytes/);
    assert.deepEqual(frames, []);
    await ended;
  });

  it('refuses to send a frame beyond the most, and stays usable', async () => {
    const address = freshAddress();
    const listener = await network.listen(address, (connection) =>
      connection.onFrame((frame) => connection.send(frame)),
    );
    const connection = await network.connect(address);
    const echoed = new Promise((resolve) => connection.onFrame(resolve));
    assert.throws(() => connection.send(new Uint8Array(256 * 1024 * 1024 + 1)), {
      kind: 'invalid',
      code: 'FRAME_TOO_LARGE',
    });
    connection.send(Uint8Array.of(1));
    assert.deepEqual(await echoed, Uint8Array.of(1));
    connection.close();
    await listener.close();
  });

  it('takes over the socket file of a killed process, but not one that answers', async () => {
    const address = freshAddress();
    const path = address.slice(5);
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
    const owner = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(owner.stdout, 'data');
    await assert.rejects(
      network.listen(address, () => undefined),
      (error: MillraceError) => {
        assert.deepEqual([error.kind, error.code, error.context], ['invalid', 'ADDRESS_IN_USE', { address }]);
        assert.match(error.message, /another process answers there/);
        return true;
      },
    );
    owner.kill('SIGKILL');
    await once(owner, 'exit');
    assert(existsSync(path), 'a killed process leaves its socket file');
    await assert.rejects(network.connect(address), { code: 'CONNECT_FAILED' });
    const listener = await network.listen(address, () => undefined);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await listener.close();
    assert(!existsSync(path));
  });

  it('never removes a file that is not a socket', async () => {
    const address = freshAddress();
    writeFileSync(address.slice(5), 'precious');
    await assert.rejects(
      network.listen(address, () => undefined),
      { code: 'ADDRESS_IN_USE' },
    );
    assert(existsSync(address.slice(5)));
  });

  it('refuses a path the kernel would cut, on both sides', async () => {
    const long = `unix:${folder}/${'x'.repeat(108 - folder.length - 1)}`;
    assert.equal(long.length, 'unix:'.length + 108);
    const expected = { kind: 'invalid', code: 'ADDRESS_INVALID', message: /at most 107 bytes, this one has 108/ };
    await assert.rejects(network.connect(long), expected);
    await assert.rejects(
      network.listen(long, () => undefined),
      expected,
    );
    const fits = await network.listen(long.slice(0, -1), () => undefined);
    await fits.close();
  });

  it('gives up a close that the other side never lets finish', async () => {
    const address = freshAddress();
    const server = createServer((socket) => socket.pause());
    server.listen(address.slice(5));
    await once(server, 'listening');
    const due: (() => void)[] = [];
    const impatient = unixNetwork({
      clock: {
        ...clock,
        schedule: (_, fn) => {
          due.push(fn);
          return { cancel: () => undefined };
        },
      },
    });
    const connection = await impatient.connect(address);
    const closed = new Promise((resolve) => connection.onClose(resolve));
    connection.send(new Uint8Array(4 << 20));
    connection.close();
    for (let i = 0; i < 20; i++) await yieldTurn(clock);
    assert(connection.queuedBytes > 0);
    for (let fn = due.shift(); fn !== undefined; fn = due.shift()) fn();
    assert.equal(await closed, undefined);
    server.close();
  });
});
