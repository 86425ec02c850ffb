import { equal, match, ok } from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { BUFFER_END, connectShuffle, type PartitionType } from '../../shuffle/index.js';
import { type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

const BUFFERS = 600;
const NOTHING = new Uint8Array(0);

function bytesOf(i: number): Uint8Array {
  return new Uint8Array(100_000).fill(i % 251);
}

describe('millrace daemon --spill-dir', () => {
  const place = new TestPlace();
  after(() => place.remove());

  async function start(...args: readonly string[]): Promise<{ run: SpawnedRun; address: string; token: string }> {
    const run = place.start('millrace', ['daemon', '--port', '0', '--shm-dir', place.shm, ...args]);
    await until(
      () => run.stdout.includes('ready') || !run.running,
      30_000,
      () => run.stderr,
    );
    ok(run.running, run.stderr);
    const said = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(run.stdout)?.[1] ?? '';
    return { run, address: said('listening'), token: readFileSync(said('token file'), 'utf8').trim() };
  }

  it('keeps finished blocking and hybrid partitions larger than its memory over a SIGKILL', async () => {
    const dir = place.path('spill');
    const args = ['--spill-dir', dir, '--arena-bytes', String(8 * 1024 * 1024)];
    const first = await start(...args);
    const writing = await connectShuffle({ ...first });
    for (const type of ['blocking', 'hybrid'] as const) {
      await writeAll(writing, type);
    }
    // Finished is not yet on disk: what is lost with the memory would be lost.
    const http = /^http: (.*)$/m.exec(first.run.stdout)?.[1];
    await until(
      () => readdirSync(dir).filter((name) => name.startsWith('finished')).length === 2,
      20_000,
      () => readdirSync(dir).join(),
    );
    match(await (await fetch(`${http}/metrics`)).text(), /^millrace_shuffle_spilled_bytes 1\d{8}$/m);
    await refused(/spill is in use by process \d+.*\[SPILL_DIR_IN_USE\]/, '--spill-dir', dir);
    first.run.signal('SIGKILL');
    await first.run.ended;
    await writing.close();

    const second = await start(...args);
    const reading = await connectShuffle({ ...second });
    for (const type of ['blocking', 'hybrid'] as const) {
      const from = { seq: 0, chain: 0n };
      const gate = await reading.environment.openGate([
        { partition: `${type}.out`, subpartition: 0, consumer: 0, from },
      ]);
      for (let i = 0; i <= BUFFERS; i++) {
        let buffer = gate.poll();
        for (; buffer === undefined; buffer = gate.poll()) await gate.whenAvailable(1000);
        equal(buffer.seq, i);
        equal(buffer.kind, i < BUFFERS ? 0 : BUFFER_END);
        if (i < BUFFERS) ok(Buffer.from(buffer.bytes).equals(bytesOf(i)), `buffer ${i}`);
        buffer.release();
      }
      await gate.close();
      await reading.master.release(type);
    }
    await until(
      () => readdirSync(dir).every((name) => name === 'owner.json'),
      20_000,
      () => readdirSync(dir).join(),
    );
    await reading.close();
    second.run.signal('SIGTERM');
    equal(await second.run.ended, 0, second.run.stderr);
    equal(readdirSync(dir).length, 0);
  });

  async function writeAll(client: Awaited<ReturnType<typeof connectShuffle>>, type: PartitionType): Promise<void> {
    const partition = { partition: `${type}.out`, type, subpartitions: 1, broadcast: false, consumers: 1 };
    const descriptor = { writer: type, epoch: 1, partitions: [partition] };
    await client.master.register(descriptor);
    const writer = await client.environment.openWriter(descriptor);
    for (let i = 0; i < BUFFERS; i++) {
      while (!writer.available) await writer.whenAvailable(1000);
      writer.partitions[0]?.emit(0, bytesOf(i), 1);
      writer.publish(NOTHING);
    }
    writer.partitions[0]?.event(BUFFER_END, NOTHING);
    writer.publish(NOTHING);
    await writer.stored();
    await writer.close();
  }

  async function refused(line: RegExp, ...args: readonly string[]): Promise<void> {
    const run = place.start('millrace', ['daemon', '--port', '0', '--shm-dir', place.shm, ...args]);
    equal(await run.ended, 2, run.stderr);
    match(run.stderr, line);
  }
});
