import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '../clock.js';
import { MillraceError } from '../errors.js';
import type { Connection } from '../network.js';
import { memoryNetwork } from './memory-network.js';
import { type RpcPeerOptions, rpcPeer } from './rpc-peer.js';

const clock = systemClock();
const text = (value: string) => new TextEncoder().encode(value);
const string = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function connectionPair(): Promise<[Connection, Connection]> {
  const network = memoryNetwork({ clock });
  let accepted: Connection | undefined;
  await network.listen('memory:x', (connection) => {
    accepted = connection;
  });
  const connected = await network.connect('memory:x');
  assert(accepted !== undefined);
  return [connected, accepted];
}

async function peers(options: Partial<RpcPeerOptions> = {}) {
  const [a, b] = await connectionPair();
  return { client: rpcPeer(a, { clock, ...options }), server: rpcPeer(b, { clock }) };
}

describe('RpcPeer', () => {
  it('answers each request with the answer to that request, whatever order answers are made in', async () => {
    const { client, server } = await peers();
    const releases: (() => void)[] = [];
    server.serve('echo', async (body) => {
      await new Promise<void>((resolve) => releases.push(resolve));
      return body;
    });
    const answers = Promise.all(['a', 'b', 'c', 'd'].map((word) => client.request('echo', text(word))));
    while (releases.length < 4) await new Promise((resolve) => clock.soon(() => resolve(undefined)));
    for (const release of releases.reverse()) release();
    assert.deepEqual((await answers).map(string), ['a', 'b', 'c', 'd']);
    client.close();
  });

  it('starts handlers in the order of arrival, requests and notices mixed, from before they were registered on', async () => {
    const { client, server } = await peers();
    const started: string[] = [];
    const sent: string[] = [];
    for (let i = 0; i < 20; i++) {
      sent.push(`${i}`);
      if (i % 3 === 0) client.notify('note', text(`${i}`));
      else client.request('ask', text(`${i}`)).catch(() => undefined);
    }
    server.serve('note', (body) => {
      started.push(string(body));
      return undefined;
    });
    server.serve('ask', async (body) => {
      started.push(string(body));
      return undefined;
    });
    assert.equal((await client.request('ask', text('last'))).length, 0);
    assert.deepEqual(started, [...sent, 'last']);
    client.close();
  });

  it('hands on bodies that start 8-aligned, of every length', async () => {
    const { client, server } = await peers();
    server.serve('echo', (body) => {
      assert.equal(body.byteOffset % 8, 0);
      return body;
    });
    for (const length of [0, 1, 7, 8, 9, 100, 2048, 4096, 65_536]) {
      const body = new Uint8Array(length).fill(length % 251);
      const answer = await client.request('echo', body);
      assert.deepEqual(answer, body);
      assert.equal(answer.byteOffset % 8, 0);
    }
    client.close();
  });

  it('carries a MillraceError whole: kind, code, message, context and the stack of where it was thrown', async () => {
    const { client, server } = await peers();
    const context = { partition: 'p7', seq: 2 ** 53 - 1, sealed: true, open: false };
    server.serve('fence', () => {
      throw new MillraceError('fenced', 'EPOCH_OLD', 'epoch 3 of p7 is over: é', { context });
    });
    server.serve('fence later', async () => {
      throw new MillraceError('fenced', 'EPOCH_OLD', 'epoch 3 of p7 is over: é', { context });
    });
    for (const service of ['fence', 'fence later']) {
      await assert.rejects(client.request(service, text('')), (error: MillraceError) => {
        assert(error instanceof MillraceError);
        assert.equal(error.kind, 'fenced');
        assert.equal(error.code, 'EPOCH_OLD');
        assert.equal(error.message, 'epoch 3 of p7 is over: é');
        assert.deepEqual(error.context, context);
        assert.match(error.stack ?? '', /rpc-peer\.test/);
        return true;
      });
    }
    client.close();
  });

  it('turns a plain Error, and anything else thrown, into an internal UNEXPECTED with its message', async () => {
    const { client, server } = await peers();
    server.serve('bug', () => {
      throw new TypeError('x is not a function');
    });
    server.serve('odd', () => Promise.reject('just words'));
    const expected = { kind: 'internal', code: 'UNEXPECTED' };
    await assert.rejects(client.request('bug', text('')), { ...expected, message: 'x is not a function' });
    await assert.rejects(client.request('odd', text('')), { ...expected, message: 'just words' });
    client.close();
  });

  it('names a service that nobody serves', async () => {
    const { client } = await peers();
    await assert.rejects(client.request('nosuch', text('')), {
      code: 'UNKNOWN_SERVICE',
      context: { service: 'nosuch' },
    });
    client.close();
  });

  it('fails all pending requests, and later ones, with PEER_GONE when either side closes', async () => {
    for (const side of ['client', 'server'] as const) {
      const { client, server } = await peers({ requestTimeoutMs: 60_000 });
      server.serve('never', () => new Promise(() => undefined));
      const pending = [client.request('never', text('')), client.request('never', text(''))];
      await new Promise((resolve) => clock.soon(() => resolve(undefined)));
      (side === 'client' ? client : server).close();
      for (const request of pending) {
        await assert.rejects(request, {
          kind: 'unavailable',
          code: 'PEER_GONE',
          context: { peer: 'memory:x', service: 'never' },
        });
      }
      await assert.rejects(client.request('never', text('')), { code: 'PEER_GONE' });
      client.notify('never', text(''));
      assert.equal(await client.closed, undefined);
      assert.equal(await server.closed, undefined);
    }
  });

  it('fails a request that is not answered in time, and ignores the answer when it comes', async () => {
    const { client, server } = await peers();
    let answerNow: (body: Uint8Array) => void = () => undefined;
    server.serve(
      'slow',
      () =>
        new Promise<Uint8Array>((resolve) => {
          answerNow = resolve;
        }),
    );
    server.serve('fast', (body) => body);
    await assert.rejects(client.request('slow', text(''), { timeoutMs: 20 }), {
      kind: 'unavailable',
      code: 'REQUEST_TIMEOUT',
      context: { peer: 'memory:x', service: 'slow', timeoutMs: 20 },
    });
    answerNow(text('late'));
    assert.equal(string(await client.request('fast', text('x'), { timeoutMs: 1000 })), 'x');
    client.close();
  });

  it('closes the connection on a message that cannot be read', async () => {
    for (const garbage of ['', 'abc', 'garbage that is no envelope at all', '\x08\0\0\0\xff\xff\xff\x7f']) {
      const [a, b] = await connectionPair();
      const server = rpcPeer(b, { clock });
      const closed = new Promise((resolve) => a.onClose(resolve));
      a.send(Uint8Array.from(garbage, (char) => char.charCodeAt(0)));
      assert.equal(((await server.closed) as MillraceError).code, 'BAD_ENVELOPE');
      await closed;
    }
  });

  it('does not lose what was sent before a clean close, nor before its handlers were registered in a later microtask', async () => {
    const [a, b] = await connectionPair();
    const client = rpcPeer(a, { clock });
    for (let i = 0; i < 10; i++) client.notify('note', Uint8Array.of(i));
    client.close();
    await new Promise((resolve) => clock.soon(() => resolve(undefined)));
    const server = rpcPeer(b, { clock });
    const seen: number[] = [];
    for (let i = 0; i < 10; i++) await null;
    server.serve('note', (body) => {
      seen.push(body[0] as number);
      return undefined;
    });
    await server.closed;
    assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});
