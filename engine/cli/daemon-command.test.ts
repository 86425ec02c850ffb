import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { systemClock } from '../../base/index.js';
import { connectPeer, nodeNetwork } from '../../base/rpc/index.js';
import { connectShuffle, shuffleClient } from '../../shuffle/index.js';
import { pause, ROOT, type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

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

  it('tells what it is and what it holds, and releases it for whoever has the token', async () => {
    const { run, said } = await start('--arena-bytes', '8388608');
    const http = value(said, 'http');
    const token = readFileSync(value(said, 'token file'), 'utf8');
    const shuffle = await connectShuffle({ address: value(said, 'listening'), token });
    const partition = { partition: 'p', type: 'pipelined', subpartitions: 3, broadcast: false, consumers: 1 } as const;
    await shuffle.master.register({ writer: 'w', epoch: 1, partitions: [partition] });
    const writer = await shuffle.environment.openWriter({ writer: 'w', epoch: 1, partitions: [partition] });
    writer.partitions[0]?.emit(0, Buffer.from('ten bytes.'), 1);
    writer.publish(new Uint8Array(0));
    await writer.stored();

    const info = (await (await fetch(`${http}/info`)).json()) as Record<string, Record<string, unknown>>;
    equal(info['pid'], run.pid);
    match(String(info['version']), /^\d+\.\d+\.\d+$/);
    match(String(info['bootId']), /^[0-9a-f-]{36}$/);
    equal(info['addresses']?.['unix'], value(said, 'listening'));
    equal(info['addresses']?.['data'], value(said, 'data'));
    equal(info['shuffle']?.['memoryFolder'], value(said, 'buffers'));
    equal(info['shuffle']?.['slots'], 32);

    const metrics = await (await fetch(`${http}/metrics`)).text();
    for (const line of [
      /^# TYPE millrace_shuffle_wire_buffers_written_total counter$/m,
      /^millrace_shuffle_wire_buffers_written_total 1$/m,
      /^millrace_shuffle_wire_bytes_written_total 10$/m,
      /^millrace_shuffle_wire_steps_written_total 1$/m,
      /^millrace_shuffle_wire_buffers_read_total 0$/m,
      /^millrace_shuffle_slots 32$/m,
      /^millrace_shuffle_slots_quarantined 0$/m,
      /^millrace_shuffle_writers 1$/m,
      /^millrace_shuffle_partitions 1$/m,
      /^millrace_shuffle_subpartitions 3$/m,
      /^millrace_shuffle_retained_bytes 10$/m,
      /^millrace_shuffle_connections 1$/m,
      /^millrace_shuffle_partitions_lost_total 0$/m,
      /^millrace_shuffle_pressure_total 0$/m,
      /^millrace_shuffle_degraded_total 0$/m,
      /^millrace_info\{version="\d.*",front_door="(uws|node)",shuffle="built in"\} 1$/m,
      /^process_resident_memory_bytes \d{7,}$/m,
      /^nodejs_eventloop_lag_p99_seconds \d/m,
    ]) {
      match(metrics, line);
    }
    const owned = Number(/^millrace_shuffle_slots_owned (\d+)$/m.exec(metrics)?.[1]);
    ok(owned > 0, metrics);
    match(metrics, new RegExp(`^millrace_shuffle_slots_free ${32 - owned}$`, 'm'));

    const remove = (authorization: string) =>
      fetch(`${http}/shuffle/writers/w`, { method: 'DELETE', headers: { authorization } });
    equal((await remove('Bearer of bad news')).status, 401);
    equal((await remove(`Bearer ${token.trim()}`)).status, 200);
    deepEqual(await shuffle.master.list(), []);
    // What an attempt may still write to is given back once it is gone.
    await shuffle.close();
    let last = '';
    for (let waited = 0; waited < 250 && !/^millrace_shuffle_slots_free 32$/m.test(last); waited++) {
      await pause(20);
      last = await (await fetch(`${http}/metrics`)).text();
    }
    match(last, /^millrace_shuffle_slots_free 32$/m);
    run.signal('SIGTERM');
    equal(await run.ended, 0, run.stderr);
    deepEqual(place.leftovers(), []);
  });

  it('keeps what is in --memory-folder past a SIGKILL and a clean stop, and lets one daemon at a time use it', async () => {
    const memoryFolder = mkdtempSync(join(place.shm, 'kept-'));
    const tokenFile = place.path('kept-token');
    writeFileSync(tokenFile, `${Buffer.alloc(32, 9).toString('hex')}\n`);
    const token = readFileSync(tokenFile, 'utf8');
    const options = ['--memory-folder', memoryFolder, '--token-file', tokenFile, '--arena-bytes', '8388608'];
    const partition = { partition: 'p', type: 'pipelined', subpartitions: 1, broadcast: false, consumers: 1 } as const;
    const task = { writer: 'w', epoch: 1, partitions: [partition] };
    const first = await start(...options);
    equal(value(first.said, 'buffers'), memoryFolder);
    await refused(
      new RegExp(`${memoryFolder} is in use by process ${first.run.pid}; .*\\[MEMORY_FOLDER_IN_USE\\]`),
      '--memory-folder',
      memoryFolder,
    );
    const producer = await connectShuffle({ address: value(first.said, 'listening'), token, memoryFolder });
    await producer.master.register(task);
    const writer = await producer.environment.openWriter(task);
    for (let i = 0; i < 10; i++) {
      writer.partitions[0]?.emit(0, Buffer.from(`buffer ${i}`), 1);
      writer.publish(new Uint8Array(0));
    }
    first.run.signal('SIGKILL');
    await first.run.ended;
    await producer.close();
    const second = await start(...options);
    second.run.signal('SIGTERM');
    equal(await second.run.ended, 0, second.run.stderr);
    const third = await start(...options);
    const consumer = await connectShuffle({ address: value(third.said, 'data'), token });
    deepEqual((await consumer.master.list())[0]?.partitions[0]?.nextSeqs, [10]);
    const from = { seq: 0, chain: 0n };
    const gate = await consumer.environment.openGate([{ partition: 'p', subpartition: 0, consumer: 0, from }]);
    for (let i = 0; i < 10; i++) {
      await gate.whenAvailable(START_MS_MAX);
      const buffer = gate.poll();
      equal(Buffer.from(buffer?.bytes ?? []).toString(), `buffer ${i}`);
      buffer?.release();
    }
    await consumer.close();
    third.run.signal('SIGINT');
    equal(await third.run.ended, 0, third.run.stderr);
    rmSync(memoryFolder, { recursive: true });
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  it('refuses a memory folder on a disk, and one for buffers that are in no folder', async () => {
    const run = place.start('millrace', ['daemon', '--memory-folder', ROOT]);
    equal(await run.ended, 1, run.stderr);
    match(run.stderr, /^millrace: --memory-folder: .* is not memory-backed \(tmpfs\) \[NO_MEMORY_FOLDER\]\n$/);
    await refused(/--memory-folder: only with --shuffle mapped/, '--memory-folder', place.shm, '--shuffle', 'wire');
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
      'memory-folder',
      'arena-bytes',
      'log-level',
    ]) {
      match(run.stdout, new RegExp(`^ +--${option} <[a-z]+> +\\S`, 'm'));
    }
    match(run.stdout, /uWebSockets\.js; where its native library does not load,\s+by node:http and ws/);
  });
});
