import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { systemClock } from '../../base/index.js';
import { connectPeer, nodeNetwork } from '../../base/rpc/index.js';
import { shuffleClient } from '../../shuffle/index.js';
import { type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

const START_MS_MAX = 30_000;

describe('millrace daemon', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const clock = systemClock();
  const network = nodeNetwork({ clock });

  async function start(...args: readonly string[]): Promise<{ run: SpawnedRun; said: Map<string, string> }> {
    const run = place.start('millrace', ['daemon', '--port', '0', '--shm-dir', place.shm, ...args]);
    await until(
      () => run.stdout.includes('ready') || !run.running,
      START_MS_MAX,
      () => run.stderr,
    );
    ok(run.running, run.stderr);
    const lines = run.stdout.trimEnd().split('\n');
    equal(lines.pop(), 'ready');
    const said = new Map(lines.map((line) => line.split(/: (.*)/s, 2) as [string, string]));
    return { run, said };
  }

  async function refused(line: RegExp, ...args: readonly string[]): Promise<void> {
    const run = place.start('millrace', ['daemon', '--shm-dir', place.shm, ...args]);
    equal(await run.ended, 2, run.stderr);
    match(run.stderr, line);
    match(run.stderr, /^millrace: .+ \[[A-Z_]+\]\n$/);
    equal(run.stdout, '');
  }

  const value = (said: ReadonlyMap<string, string>, name: string): string => {
    const found = said.get(name);
    ok(found !== undefined, `'${name}' is not in ${JSON.stringify([...said])}`);
    return found;
  };

  it('serves its front door and both addresses, refuses a wrong token, and ends on SIGTERM with nothing left', async () => {
    const { run, said } = await start();
    match(value(said, 'front door'), /^(uWebSockets\.js|node:http and ws)$/);
    const http = value(said, 'http');
    deepEqual(await (await fetch(`${http}/health`)).json(), { ok: true, connections: 0, heldSegmentBytes: 0 });
    const token = Buffer.from(readFileSync(value(said, 'token file'), 'utf8').trim(), 'hex');
    for (const address of [value(said, 'listening'), value(said, 'data')]) {
      const wrong = { token: Buffer.alloc(token.length), role: 'test', clock };
      await rejects(connectPeer(network, address, wrong), { code: 'AUTH_FAILED' }, address);
      const peer = await connectPeer(network, address, { token, role: 'test', clock });
      deepEqual(await shuffleClient({ peer, clock }).master.list(), [], address);
      match(await (await fetch(`${http}/metrics`)).text(), /^millrace_connections 1$/m);
      peer.close();
      await peer.closed;
    }
    run.signal('SIGTERM');
    equal(await run.ended, 0, run.stderr);
    equal(run.stderr.match(/has another token/g)?.length, 2, run.stderr);
    deepEqual(place.leftovers(), []);
  });

  it('refuses a port or a socket that is taken, and what a killed one left is no obstacle', async () => {
    const socket = `unix:${place.path('d.sock')}`;
    const { run, said } = await start('--listen', socket, '--shuffle', 'wire');
    equal(value(said, 'listening'), socket);
    const port = new URL(value(said, 'http')).port;
    await refused(new RegExp(`127.0.0.1:${port} is already in use: .*\\[ADDRESS_IN_USE\\]`), '--port', port);
    await refused(/d\.sock.*another process answers there.*\[ADDRESS_IN_USE\]/, '--port', '0', '--listen', socket);
    run.signal('SIGKILL');
    await run.ended;
    const again = await start('--listen', socket);
    again.run.signal('SIGINT');
    equal(await again.run.ended, 0, again.run.stderr);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  it('takes the token it is given, and refuses one that is missing or too short', async () => {
    const file = place.path('token');
    await refused(/--token-file: .*ENOENT.*\[OPTION\]/, '--token-file', file);
    writeFileSync(file, 'abcd\n');
    await refused(/--token-file: .*token must hold 16 to 256 bytes in hex \[OPTION\]/, '--token-file', file);
    const token = Buffer.alloc(32, 7);
    writeFileSync(file, `${token.toString('hex')}\n`);
    const { run, said } = await start(
      '--token-file',
      file,
      '--data-dir',
      place.path('data'),
      '--arena-bytes',
      '8388608',
    );
    equal(value(said, 'token file'), file);
    equal(value(said, 'state segments'), place.path('data'));
    const peer = await connectPeer(network, value(said, 'listening'), { token, role: 'test', clock });
    peer.close();
    run.signal('SIGTERM');
    equal(await run.ended, 0, run.stderr);
    deepEqual(place.leftovers(), []);
  });

  it('explains every option', async () => {
    const run = place.start('millrace', ['daemon', '--help']);
    equal(await run.ended, 0);
    for (const option of [
      'listen',
      'host',
      'port',
      'token-file',
      'data-dir',
      'shuffle',
      'shm-dir',
      'arena-bytes',
      'log-level',
    ]) {
      match(run.stdout, new RegExp(`^ +--${option} <[a-z]+> +\\S`, 'm'));
    }
    match(run.stdout, /uWebSockets\.js; where its native library does not load,\s+by node:http and ws/);
  });
});
