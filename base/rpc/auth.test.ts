import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Clock, systemClock, yieldTurn } from '../clock.js';
import { MillraceError } from '../errors.js';
import type { Connection } from '../network.js';
import { acceptAuthenticated, acceptPeer, connectAuthenticated, PROTOCOL_VERSION } from './auth.js';
import { memoryNetwork } from './memory-network.js';
import { unixNetwork } from './unix-network.js';

const clock = systemClock();
const token = new Uint8Array(16).fill(3);
const otherToken = new Uint8Array(16).fill(4);
const address = 'memory:auth';

/** What acceptance of the first connection came to, for a network with one listener. */
async function acceptor(clockOfHello: Clock = clock) {
  const network = memoryNetwork({ clock });
  const outcome = new Promise<unknown>((resolve) => {
    network.listen(address, (connection) => {
      acceptAuthenticated(connection, { token, role: 'daemon', clock: clockOfHello }).then(resolve, resolve);
    });
  });
  return { network, outcome };
}

/** Says `hello` as the connecting side and gives what came back. */
async function say(hello: Uint8Array) {
  const { network, outcome } = await acceptor();
  const connection = await network.connect(address);
  const answers: Uint8Array[] = [];
  connection.onFrame((frame) => answers.push(frame));
  const closed = new Promise((resolve) => connection.onClose(resolve));
  connection.send(hello);
  const error = (await outcome) as MillraceError;
  assert(error instanceof MillraceError, 'it was accepted');
  await closed;
  return { error, answers };
}

function helloBytes(version: number, secret: Uint8Array): Uint8Array {
  return Uint8Array.of(0x4d, 0x4c, 0x52, 0x43, version, 0, 0, 1, secret.length, 0, ...secret, 0x77);
}

describe('hello', () => {
  it('tells each side the role of the other; what was sent right behind it arrives', async () => {
    const { network, outcome } = await acceptor();
    const client = await connectAuthenticated(network, address, { token, role: 'worker 2', clock });
    client.send(Uint8Array.of(1));
    client.send(Uint8Array.of(2));
    const server = (await outcome) as Awaited<ReturnType<typeof acceptAuthenticated>>;
    await yieldTurn(clock);
    const frames: Uint8Array[] = [];
    server.onFrame((frame) => frames.push(frame));
    assert.deepEqual([client.role, server.role], ['daemon', 'worker 2']);
    assert.equal(server.peer, 'worker 2 at a client of memory:auth');
    await yieldTurn(clock);
    assert.deepEqual(frames, [Uint8Array.of(1), Uint8Array.of(2)]);
    const closed = new Promise((resolve) => server.onClose(resolve));
    client.close();
    assert.equal(await closed, undefined);
  });

  it('refuses another token on both sides, without giving its own away', async () => {
    const { network, outcome } = await acceptor();
    const expected = { kind: 'invalid', code: 'AUTH_FAILED' };
    await assert.rejects(connectAuthenticated(network, address, { token: otherToken, role: 'w', clock }), expected);
    await assert.rejects(async () => {
      throw await outcome;
    }, expected);
    const { answers } = await say(helloBytes(PROTOCOL_VERSION, otherToken));
    assert.equal(answers.length, 1);
    assert.equal(Buffer.from(answers[0] as Uint8Array).indexOf(token), -1);
  });

  it('does not trust an acceptor that has another token either', async () => {
    const network = memoryNetwork({ clock });
    await network.listen(address, (connection) => {
      connection.onFrame(() => connection.send(helloBytes(PROTOCOL_VERSION, otherToken)));
    });
    await assert.rejects(connectAuthenticated(network, address, { token, role: 'w', clock }), { code: 'AUTH_FAILED' });
  });

  it('refuses tokens that are a prefix of the right one, empty, or longer', async () => {
    for (const secret of [token.subarray(0, 15), new Uint8Array(0), new Uint8Array(17).fill(3)]) {
      assert.equal((await say(helloBytes(PROTOCOL_VERSION, secret))).error.code, 'AUTH_FAILED');
    }
  });

  it('refuses another protocol version, naming both, and says so to the other side', async () => {
    const { error, answers } = await say(helloBytes(PROTOCOL_VERSION + 1, token));
    assert.deepEqual([error.kind, error.code], ['invalid', 'VERSION_MISMATCH']);
    assert.deepEqual(error.context, {
      peer: 'a client of memory:auth',
      theirs: PROTOCOL_VERSION + 1,
      ours: PROTOCOL_VERSION,
    });
    assert.match(error.message, new RegExp(`version ${PROTOCOL_VERSION + 1}, .* speaks ${PROTOCOL_VERSION}`));
    assert.equal(answers[0]?.[6], 2);
    const network = memoryNetwork({ clock });
    await network.listen(address, (connection) => {
      // An acceptor of a later version refuses in a hello of its own, of which only the first 8 bytes are known.
      connection.onFrame(() => connection.send(Uint8Array.of(0x4d, 0x4c, 0x52, 0x43, 9, 0, 2, 0)));
    });
    await assert.rejects(connectAuthenticated(network, address, { token, role: 'w', clock }), {
      code: 'VERSION_MISMATCH',
      context: { peer: address, theirs: 9, ours: PROTOCOL_VERSION },
    });
  });

  it('closes on garbage without an answer', async () => {
    const good = helloBytes(PROTOCOL_VERSION, token);
    const garbage = [
      new Uint8Array(0),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      good.subarray(0, good.length - 1),
      Uint8Array.of(...good, 0),
      good.subarray(0, 9),
      new Uint8Array(2000).fill(0x4d),
    ];
    for (const bytes of garbage) {
      const { error, answers } = await say(bytes);
      assert.deepEqual([error.kind, error.code], ['corrupt', 'BAD_HELLO']);
      assert.deepEqual(answers, []);
    }
  });

  it('gives up on a peer that says nothing, and on one that leaves first', async () => {
    const { network, outcome } = await acceptor({ ...clock, schedule: (_, fn) => clock.schedule(1, fn) });
    const connection = await network.connect(address);
    connection.onFrame(() => undefined);
    assert.equal(((await outcome) as MillraceError).code, 'HELLO_TIMEOUT');
    const second = await acceptor();
    const leaver = await second.network.connect(address);
    leaver.close();
    assert.equal(((await second.outcome) as MillraceError).code, 'CONNECTION_LOST');
  });

  it('rejects a token that is too short to be a secret', async () => {
    const { network } = await acceptor();
    const short = { token: new Uint8Array(15), role: 'w', clock };
    await assert.rejects(connectAuthenticated(network, address, short), { code: 'ASSERTION' });
  });
});

/** A process that connects to its first argument and never answers what it is asked. */
const NEVER_ANSWERS = `
  const { connectPeer } = await import(${JSON.stringify(new URL('./auth.js', import.meta.url))});
  const { unixNetwork } = await import(${JSON.stringify(new URL('./unix-network.js', import.meta.url))});
  const { systemClock } = await import(${JSON.stringify(new URL('../clock.js', import.meta.url))});
  const clock = systemClock();
  const token = new Uint8Array(16).fill(3);
  const peer = await connectPeer(unixNetwork({ clock }), process.argv[1], { token, role: 'victim', clock });
  peer.serve('hang', () => {
    console.log('asked');
    return new Promise(() => undefined);
  });
`;

describe('an RPC peer in another process', () => {
  it('killed in the middle of a request: the request fails with PEER_GONE and the reason', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-auth-'));
    const at = `unix:${folder}/x.sock`;
    let arrived: (connection: Connection) => void = () => undefined;
    const accepted = new Promise<Connection>((resolve) => {
      arrived = resolve;
    });
    const listener = await unixNetwork({ clock }).listen(at, (connection) => arrived(connection));
    const child = spawn(process.execPath, ['--input-type=module', '-e', NEVER_ANSWERS, at], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const peer = await acceptPeer(await accepted, { token, role: 'daemon', clock });
      assert.equal(peer.role, 'victim');
      const asked = once(child.stdout, 'data');
      const request = peer.request('hang', new Uint8Array(100));
      const outcome = assert.rejects(request, (error: MillraceError) => {
        assert.deepEqual([error.kind, error.code], ['unavailable', 'PEER_GONE']);
        assert.equal((error.cause as MillraceError).code, 'CONNECTION_LOST');
        assert.match(error.message, /victim at .* went before it answered hang/);
        return true;
      });
      await asked;
      child.kill('SIGKILL');
      await outcome;
      assert.equal(((await peer.closed) as MillraceError).code, 'CONNECTION_LOST');
    } finally {
      child.kill('SIGKILL');
      await listener.close();
      rmSync(folder, { recursive: true });
    }
  });
});
