import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { systemClock, yieldTurn } from '../clock.js';
import type { MillraceError } from '../errors.js';
import type { Connection } from '../network.js';
import { type CuttableNetwork, networkContract, networkCutContract, runNetworkCase } from './network-contract.js';
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
  for (const contractCase of networkContract) it(contractCase.name, () => runNetworkCase(contractCase, open));
  for (const contractCase of networkCutContract) it(contractCase.name, () => runNetworkCase(contractCase, open));
});

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
