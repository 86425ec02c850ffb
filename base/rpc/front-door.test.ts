import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { systemClock, yieldTurn } from '../clock.js';
import { runContractCase } from '../contract-case.js';
import { MillraceError } from '../errors.js';
import { silentLogger } from '../logger.js';
import { type Connection, FRAME_BYTES_MAX } from '../network.js';
import { acceptPeer, connectPeer } from './auth.js';
import type { FrontDoor, FrontDoorImplementation, FrontDoorOptions } from './front-door.js';
import { BODY_BYTES_MAX, bearerToken, jsonResponse } from './http-router.js';
import { type CuttableNetwork, networkContract, networkCutContract } from './network-contract.js';
import { openFrontDoor } from './open-front-door.js';
import { loadUws } from './uws-binding.js';
import { webSocketNetwork } from './web-socket-network.js';
import { WsConnection } from './ws-connection.js';

const clock = systemClock();
const logger = silentLogger();
const network = webSocketNetwork({ clock });

const implementations: FrontDoorImplementation[] = ['node'];
if (!(loadUws() instanceof Error)) implementations.push('uws');

/** A port on which nothing listens, for as long as nobody else takes it. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

for (const implementation of implementations) {
  const open = (options: Partial<FrontDoorOptions> = {}) =>
    openFrontDoor({ port: 0, clock, logger, implementation, ...options });

  const withDoor = async (options: Partial<FrontDoorOptions>, body: (door: FrontDoor) => Promise<void>) => {
    const door = await open(options);
    try {
      await body(door);
    } finally {
      await door.close();
    }
  };

  const openNetwork = async (): Promise<CuttableNetwork> => {
    const sockets = new WeakMap<Connection, Socket>();
    const doors: FrontDoor[] = [];
    const nowhere = `ws://127.0.0.1:${await freePort()}/data`;
    return {
      async connect(address) {
        if (!doors.some((door) => address === door.webSocketAddress('/data'))) return network.connect(address);
        const { hostname, port } = new URL(address);
        const socket = connect({ host: hostname, port: Number(port) });
        const options = { perMessageDeflate: false, createConnection: (() => socket) as never };
        const ws = new WebSocket(address, options);
        await once(ws, 'open');
        const connection = new WsConnection(ws, socket, address, clock);
        sockets.set(connection, socket);
        return connection;
      },
      async listen(onConnection) {
        const door = await open();
        doors.push(door);
        door.onConnection('/data', onConnection);
        return {
          address: door.webSocketAddress('/data'),
          close: async () => {
            doors.splice(doors.indexOf(door), 1);
            await door.close();
          },
        };
      },
      nowhere,
      cut: (connection) => sockets.get(connection)?.destroy(),
      turn: () => yieldTurn(clock),
      close: async () => {
        for (const door of doors) await door.close();
      },
    };
  };

  describe(`front door on ${implementation}: the network contract`, () => {
    // A front door closes its connections with it, so the case of a listener that leaves them is not for it.
    const apart = networkContract.filter((contractCase) => !contractCase.name.includes('keeps the connections it has'));
    assert.equal(apart.length, networkContract.length - 1);
    for (const contractCase of apart) it(contractCase.name, () => runContractCase(contractCase, openNetwork));
    for (const contractCase of networkCutContract) {
      it(contractCase.name, () => runContractCase(contractCase, openNetwork));
    }
  });

  describe(`front door on ${implementation}: connections`, () => {
    it('carries RPC both ways through the client network, hello included', async () => {
      await withDoor({}, async (door) => {
        const token = new Uint8Array(16).fill(1);
        const refused: unknown[] = [];
        door.onConnection('/rpc', async (connection) => {
          try {
            const peer = await acceptPeer(connection, { token, role: 'daemon', clock });
            peer.serve('double', async (body) => peer.request('add', body));
          } catch (error) {
            refused.push((error as MillraceError).code);
          }
        });
        const peer = await connectPeer(network, door.webSocketAddress('/rpc'), { token, role: 'worker', clock });
        peer.serve('add', (body) => body.map((byte) => byte + byte));
        const answers = await Promise.all([1, 2, 3].map((n) => peer.request('double', new Uint8Array(70_000).fill(n))));
        assert.deepEqual(
          answers.map((answer) => [answer.length, answer[69_999]]),
          [
            [70_000, 2],
            [70_000, 4],
            [70_000, 6],
          ],
        );
        const bad = { token: new Uint8Array(16), role: 'worker', clock };
        await assert.rejects(connectPeer(network, door.webSocketAddress('/rpc'), bad), { code: 'AUTH_FAILED' });
        assert.deepEqual(refused, ['AUTH_FAILED']);
        peer.close();
      });
    });

    it('refuses an upgrade at a path that takes none, naming the address', async () => {
      await withDoor({}, async (door) => {
        door.onConnection('/data', () => assert.fail('accepted'));
        const address = door.webSocketAddress('/other');
        await assert.rejects(network.connect(address), (error: MillraceError) => {
          assert.deepEqual([error.code, error.context], ['CONNECT_FAILED', { address }]);
          assert.match(error.message, /404/);
          return true;
        });
      });
    });

    it('does not stall half way when the reader is slow: sends all that is queued, far beyond what sockets hold', async () => {
      await withDoor({}, async (door) => {
        const count = 200;
        const accepted = new Promise<Connection>((resolve) => door.onConnection('/data', resolve));
        const socketPaused: Socket[] = [];
        const client = new WebSocket(door.webSocketAddress('/data'), {
          createConnection: ((options: { port: number; host: string }) => {
            const socket = connect(options);
            socketPaused.push(socket);
            return socket;
          }) as never,
        });
        const received: number[] = [];
        client.on('message', (data: Buffer) => received.push(data.readUInt32LE(0)));
        const server = await accepted;
        server.onFrame(() => undefined);
        await once(client, 'open');
        client.pause();
        for (let i = 0; i < count; i++) {
          const frame = new Uint8Array(300_000);
          new DataView(frame.buffer).setUint32(0, i, true);
          server.send(frame);
        }
        for (let i = 0; i < 20; i++) await yieldTurn(clock);
        assert(server.queuedBytes > 20_000_000, `only ${server.queuedBytes} bytes were queued`);
        const closed = new Promise((resolve) => server.onClose(resolve));
        server.close();
        client.resume();
        assert.equal(await closed, undefined);
        while (client.readyState !== WebSocket.CLOSED) await yieldTurn(clock);
        assert.deepEqual(
          received,
          Array.from({ length: count }, (_, i) => i),
        );
      });
    });

    it('refuses a message beyond the most without waiting for its bytes', async () => {
      await withDoor({}, async (door) => {
        const accepted = new Promise<Connection>((resolve) => door.onConnection('/data', resolve));
        const socket = connect(door.port, door.host);
        socket.on('error', () => undefined);
        socket.write(
          'GET /data HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
            'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
        );
        const server = await accepted;
        server.onFrame(() => assert.fail('a frame came'));
        const reason = new Promise<Error | undefined>((resolve) => server.onClose(resolve));
        await once(socket, 'data');
        const header = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.writeUInt32BE(FRAME_BYTES_MAX + 1, 6);
        socket.write(header);
        const error = (await reason) as MillraceError;
        assert.deepEqual([error.kind, error.code], ['corrupt', 'FRAME_TOO_LARGE']);
        socket.destroy();
      });
    });

    it('ends a connection that sends text', async () => {
      await withDoor({}, async (door) => {
        const accepted = new Promise<Connection>((resolve) => door.onConnection('/data', resolve));
        const client = new WebSocket(door.webSocketAddress('/data'));
        const server = await accepted;
        server.onFrame(() => assert.fail('a frame came'));
        const reason = new Promise<Error | undefined>((resolve) => server.onClose(resolve));
        await once(client, 'open');
        const clientClosed = once(client, 'close');
        client.send('hello');
        assert.match(((await reason) as Error).message, /text message/);
        await clientClosed;
      });
    });

    it('closes every connection with it, and answers no more', async () => {
      const door = await open();
      door.onConnection('/data', (connection) => connection.onFrame(() => undefined));
      const connections = await Promise.all([1, 2, 3].map(() => network.connect(door.webSocketAddress('/data'))));
      const reasons = Promise.all(
        connections.map((connection) => new Promise((resolve) => connection.onClose(resolve))),
      );
      await door.close();
      assert.deepEqual(await reasons, [undefined, undefined, undefined]);
      await assert.rejects(network.connect(door.webSocketAddress('/data')), { code: 'CONNECT_FAILED' });
      await assert.rejects(fetch(`${door.address}/health`));
    });
  });

  describe(`front door on ${implementation}: HTTP`, () => {
    it('is on loopback, on the port that was chosen', async () => {
      await withDoor({}, async (door) => {
        assert.equal(door.implementation, implementation);
        assert.equal(door.address, `http://127.0.0.1:${door.port}`);
        assert(door.port > 0);
      });
    });

    it('names host and port when the port is taken, by itself or by another server', async () => {
      await withDoor({}, async (door) => {
        await assert.rejects(open({ port: door.port }), (error: MillraceError) => {
          assert.deepEqual([error.kind, error.code], ['invalid', 'ADDRESS_IN_USE']);
          assert.match(error.message, new RegExp(`^127.0.0.1:${door.port} is already in use: .*choose another port`));
          return true;
        });
      });
    });

    it('says why it cannot listen on an address that is not of this machine', async () => {
      await assert.rejects(open({ host: '192.0.2.1' }), (error: MillraceError) => {
        assert.deepEqual([error.kind, error.code], ['invalid', 'LISTEN_FAILED']);
        assert.match(error.message, /192\.0\.2\.1:0.*EADDRNOTAVAIL/);
        return true;
      });
    });

    it('tells its health and metrics', async () => {
      let ok = true;
      await withDoor({ health: () => ({ ok, role: 'daemon' }), metrics: () => 'millrace_up 1\n' }, async (door) => {
        const healthy = await fetch(`${door.address}/health`);
        assert.deepEqual([healthy.status, await healthy.json()], [200, { ok: true, role: 'daemon' }]);
        ok = false;
        assert.equal((await fetch(`${door.address}/health`)).status, 503);
        const metrics = await fetch(`${door.address}/metrics`);
        assert.match(metrics.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
        assert.equal(await metrics.text(), 'millrace_up 1\n');
      });
    });

    it('gives a handler the method, path, parameters, query, headers and body', async () => {
      await withDoor({}, async (door) => {
        door.route('POST', '/jobs/:job/savepoints/:name', async ({ params, query, headers, body, method, path }) => {
          const text = Buffer.from(body).toString();
          return jsonResponse(
            { method, path, params, mode: query.get('mode'), custom: headers.get('x-custom'), text },
            202,
          );
        });
        const answer = await fetch(`${door.address}/jobs/late%20one/savepoints/s1?mode=full`, {
          method: 'POST',
          headers: { 'X-Custom': 'yes' },
          body: 'the body: é',
        });
        assert.equal(answer.status, 202);
        assert.equal(answer.headers.get('content-type'), 'application/json');
        assert.deepEqual(await answer.json(), {
          method: 'POST',
          path: '/jobs/late%20one/savepoints/s1',
          params: { job: 'late one', name: 's1' },
          mode: 'full',
          custom: 'yes',
          text: 'the body: é',
        });
      });
    });

    it('tells a path it does not know from a method it does not take', async () => {
      await withDoor({}, async (door) => {
        assert.equal((await fetch(`${door.address}/nothing`)).status, 404);
        assert.equal((await fetch(`${door.address}/health/more`)).status, 404);
        assert.equal((await fetch(`${door.address}/health`, { method: 'DELETE' })).status, 405);
        door.route('GET', '/x/:name', () => jsonResponse(1));
        assert.equal((await fetch(`${door.address}/x/%zz`)).status, 404);
        assert.equal((await fetch(`${door.address}/x/`)).status, 404);
      });
    });

    it('serves routes only with the token, except open ones', async () => {
      await withDoor({ authorize: bearerToken('s3cret') }, async (door) => {
        let calls = 0;
        door.route('POST', '/cancel', () => jsonResponse({ calls: ++calls }));
        door.route('GET', '/open', () => jsonResponse('open'), { open: true });
        const cancel = (authorization: string) =>
          fetch(`${door.address}/cancel`, { method: 'POST', headers: { authorization } });
        for (const wrong of ['', 'Bearer', 'Bearer s3cre', 'Bearer s3cret2', 'bearer s3cret', 's3cret']) {
          assert.equal((await cancel(wrong)).status, 401, wrong);
        }
        assert.equal(calls, 0);
        assert.equal((await cancel('Bearer s3cret')).status, 200);
        assert.equal((await fetch(`${door.address}/open`)).status, 200);
        assert.equal((await fetch(`${door.address}/health`)).status, 200);
      });
    });

    it('answers a thrown error with its code, and a status by its kind', async () => {
      await withDoor({}, async (door) => {
        door.route('GET', '/invalid', () => {
          throw new MillraceError('invalid', 'BAD_NAME', 'no such job', { context: { job: 'x' } });
        });
        door.route('GET', '/fenced', async () => {
          throw new MillraceError('fenced', 'EPOCH_OLD', 'old');
        });
        door.route('GET', '/bug', () => {
          throw new Error('oops');
        });
        const get = async (path: string) => {
          const answer = await fetch(door.address + path);
          return [answer.status, await answer.json()];
        };
        assert.deepEqual(await get('/invalid'), [
          400,
          { code: 'BAD_NAME', message: 'no such job', context: { job: 'x' } },
        ]);
        assert.deepEqual(await get('/fenced'), [409, { code: 'EPOCH_OLD', message: 'old', context: {} }]);
        assert.deepEqual(await get('/bug'), [500, { code: 'UNEXPECTED', message: 'oops', context: {} }]);
      });
    });

    it('takes bodies up to the limit and refuses more, announced or not', async () => {
      await withDoor({}, async (door) => {
        door.route('POST', '/size', ({ body }) => jsonResponse(body.length));
        const post = (body: Uint8Array) =>
          fetch(`${door.address}/size`, { method: 'POST', body: new Blob([new Uint8Array(body)]) });
        assert.equal(await (await post(new Uint8Array(BODY_BYTES_MAX))).json(), BODY_BYTES_MAX);
        assert.equal((await rawRequest(door, `Content-Length: ${BODY_BYTES_MAX + 1}`, '')).status, 413);
        const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
        assert.equal((await rawRequest(door, 'Transfer-Encoding: chunked', chunk.repeat(17))).status, 413);
      });
    });

    it('refuses a body that does not arrive in time', async () => {
      await withDoor({ bodyTimeoutMs: 50 }, async (door) => {
        door.route('POST', '/size', () => assert.fail('handled'));
        const { status, closed } = await rawRequest(door, 'Content-Length: 100', 'only this');
        assert.equal(status, 408);
        await closed;
      });
    });

    it('survives a client that leaves before its answer', async () => {
      await withDoor({}, async (door) => {
        let answer: () => void = () => undefined;
        const asked = new Promise<void>((told) => {
          door.route('GET', '/slow', async () => {
            told();
            await new Promise<void>((resolve) => {
              answer = resolve;
            });
            return jsonResponse('late');
          });
        });
        const leaving = new AbortController();
        const request = assert.rejects(fetch(`${door.address}/slow`, { signal: leaving.signal }), {
          name: 'AbortError',
        });
        await asked;
        leaving.abort();
        await request;
        for (let i = 0; i < 20; i++) await yieldTurn(clock);
        answer();
        assert.equal((await fetch(`${door.address}/health`)).status, 200);
      });
    });
  });
}

/** POSTs `body` to /size by hand, so that it need not be what the headers announce. */
async function rawRequest(door: FrontDoor, header: string, body: string) {
  const socket = connect(door.port, door.host);
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  socket.write(`POST /size HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n${body}`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString())?.[1]);
  return { status, closed: closed.finally(() => socket.destroy()) };
}

describe('openFrontDoor', () => {
  it('logs which implementation serves', async () => {
    const logged: object[] = [];
    const recording = { ...logger, info: (fields: object) => void logged.push(fields) };
    const door = await openFrontDoor({ port: 0, clock, logger: recording });
    assert.deepEqual(logged, [{ implementation: door.implementation, address: door.address }]);
    assert.equal(door.implementation, implementations.at(-1));
    await door.close();
  });

  it('falls back where the native library does not load, saying so, unless it was forced', async () => {
    const arch = Object.getOwnPropertyDescriptor(process, 'arch') as PropertyDescriptor;
    Object.defineProperty(process, 'arch', { ...arch, value: 'unheard-of' });
    try {
      const warnings: object[] = [];
      const recording = { ...logger, warn: (fields: object) => void warnings.push(fields) };
      const door = await openFrontDoor({ port: 0, clock, logger: recording });
      assert.equal(door.implementation, 'node');
      assert.equal((await fetch(`${door.address}/health`)).status, 200);
      await door.close();
      assert.match((warnings[0] as { reason: string }).reason, /not built for this Node \(uws_.*_unheard-of_/);
      const forced = openFrontDoor({ port: 0, clock, logger, implementation: 'uws' });
      await assert.rejects(forced, { kind: 'unavailable', code: 'UWS_UNAVAILABLE' });
    } finally {
      Object.defineProperty(process, 'arch', arch);
    }
  });
});
