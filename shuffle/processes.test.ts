import { strict as assert } from 'node:assert';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mappedMemory, memoryBackedFolder, sleep, systemClock } from '../base/index.js';
import { noDoorbell } from './doorbell.js';
import { LocalEnvironment } from './local-environment.js';
import { LocalMaster } from './local-master.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import type { InputGate, WriterDescriptor } from './spi.js';

const clock = systemClock();
const shm = memoryBackedFolder() ?? tmpdir();
const ROGUE = fileURLToPath(new URL('./rogue-writer.test.support.js', import.meta.url));
const NOTHING = new Uint8Array(0);

interface Host {
  readonly folder: string;
  readonly master: LocalMaster;
  readonly environment: LocalEnvironment;
  readonly children: ChildProcess[];
}

interface RogueEnd {
  readonly code: string;
  readonly position: number;
}

interface Rogue {
  readonly child: ChildProcess;
  readonly end: Promise<RogueEnd>;
  readonly exited: Promise<unknown>;
}

async function onHost(run: (host: Host) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(shm, 'millrace-processes-test-'));
  const memory = mappedMemory({ folder });
  const doorbell = noDoorbell();
  const master = await LocalMaster.open({ memory, doorbell, settings: TEST_SETTINGS });
  const environment = new LocalEnvironment({ memory, clock, doorbell, settings: TEST_SETTINGS });
  const children: ChildProcess[] = [];
  try {
    await run({ folder, master, environment, children });
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await environment.close();
    await master.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function lineage(name: string, epoch: number): WriterDescriptor {
  const partition = {
    partition: `${name}.out`,
    type: 'pipelined',
    subpartitions: 2,
    broadcast: false,
    consumers: 1,
  } as const;
  return { writer: name, epoch, partitions: [partition] };
}

/** Resolves once it publishes; `end` is what it says when it ends. */
async function startRogue(host: Host, descriptor: WriterDescriptor): Promise<Rogue> {
  const child = fork(ROGUE, [host.folder, JSON.stringify(descriptor)]);
  host.children.push(child);
  const exited = once(child, 'exit');
  await once(child, 'message');
  const end = once(child, 'message').then(([message]) => message as RogueEnd);
  return { child, end, exited };
}

function openBoth(host: Host, name: string): Promise<InputGate> {
  const from = { seq: 0, chain: 0n };
  return host.environment.openGate(
    [0, 1].map((subpartition) => ({ partition: `${name}.out`, subpartition, consumer: 0, from })),
  );
}

/** Reads and checks what is visible now; returns how many buffers were read in all, per channel. */
function drain(gate: InputGate): readonly number[] {
  for (let buffer = gate.poll(); buffer !== undefined; buffer = gate.poll()) {
    assert.deepEqual(Buffer.from(buffer.bytes), Buffer.from(numberedBytes(buffer.seq)));
    buffer.release();
  }
  return gate.positions().map((p) => p.seq);
}

async function readFor(gate: InputGate, ms: number): Promise<void> {
  for (const end = clock.monotonicMs() + ms; clock.monotonicMs() < end; ) {
    drain(gate);
    await sleep(clock, 1);
  }
}

test('a seal against a publishing process: all below the tail is visible, nothing above', () =>
  onHost(async (host) => {
    for (let round = 0; round < 6; round++) {
      const descriptor = lineage(`w${round}`, 1);
      await host.master.register(descriptor);
      const gate = await openBoth(host, descriptor.writer);
      const { end, exited } = await startRogue(host, descriptor);
      while (drain(gate)[1] === 0) await sleep(clock, 1);
      await readFor(gate, 20 + round * 7);
      const { tail } = await host.master.seal(descriptor.writer, 2);
      assert.ok(tail > 0);
      assert.deepEqual(await end, { code: 'WRITER_FENCED', position: tail });
      assert.deepEqual(drain(gate), [tail, tail]);
      await host.master.release(descriptor.writer);
      await gate.close();
      // It gives its open slots back when it ends.
      await exited;
    }
    assert.equal(host.master.arena.freeSlots(), host.master.arena.slots);
  }));

test('a writer paused by SIGSTOP and woken after its successor started changes nothing', () =>
  onHost(async (host) => {
    for (let round = 0; round < 6; round++) {
      const name = `w${round}`;
      await host.master.register(lineage(name, 1));
      const gate = await openBoth(host, name);
      const { child: zombie, end } = await startRogue(host, lineage(name, 1));
      await readFor(gate, 15 + round * 5);
      zombie.kill('SIGSTOP');
      const { tail } = await host.master.seal(name, 2);
      await host.master.register(lineage(name, 2));
      const successor = await host.environment.openWriter(lineage(name, 2));
      assert.equal(successor.position, tail);
      for (let i = 0; i < 200; i++) {
        if (i === 50) zombie.kill('SIGCONT');
        for (const n of [0, 1]) successor.partitions[0]?.emit(n, numberedBytes(tail + i), 1);
        successor.publish(NOTHING);
        drain(gate);
        if (i % 20 === 0) await sleep(clock, 2);
      }
      assert.deepEqual(await end, { code: 'WRITER_FENCED', position: tail });
      for (let waited = 0; waited < 500 && drain(gate)[0] !== tail + 200; waited++) await sleep(clock, 2);
      assert.deepEqual(drain(gate), [tail + 200, tail + 200]);
      await gate.close();
      await successor.close();
      await host.master.release(name);
    }
  }));

test('memory of a paused and released writer is not given to others before its process is gone', () =>
  onHost(async (host) => {
    await host.master.register(lineage('zombie', 1));
    const gate = await openBoth(host, 'zombie');
    const { child: zombie, end } = await startRogue(host, lineage('zombie', 1));
    await readFor(gate, 30);
    zombie.kill('SIGSTOP');
    await gate.close();
    await host.master.release('zombie');
    assert.ok(host.master.quarantinedSlots > 0);
    // Another writer takes all memory that is free; then the zombie goes on.
    await host.master.register(lineage('heir', 1));
    const heir = await host.environment.openWriter(lineage('heir', 1));
    const heirs = await openBoth(host, 'heir');
    let written = 0;
    for (; written < 800; written++) {
      heir.partitions[0]?.emit(written % 2, numberedBytes(Math.floor(written / 2)), 1);
      heir.publish(NOTHING);
      if (written === 400) zombie.kill('SIGCONT');
      if (written % 50 === 0) await sleep(clock, 2);
    }
    assert.equal((await end).code, 'WRITER_FENCED');
    assert.deepEqual(drain(heirs), [400, 400]);
    await host.master.abandoned('zombie', 1);
    assert.equal(host.master.quarantinedSlots, 0);
    await heir.close();
    await heirs.close();
    await host.master.release('heir');
    assert.equal(host.master.arena.freeSlots(), host.master.arena.slots);
  }));

test('a killed writer loses nothing that was visible, and its memory comes back', () =>
  onHost(async (host) => {
    await host.master.register(lineage('w', 1));
    const { child } = await startRogue(host, lineage('w', 1));
    await sleep(clock, 30);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const { tail } = await host.master.seal('w', 2);
    await host.master.abandoned('w', 1);
    const gate = await openBoth(host, 'w');
    assert.deepEqual(drain(gate), [tail, tail]);
    await gate.close();
    await host.master.trim('w.out', [tail, tail]);
    assert.equal(host.master.arena.freeSlots(), host.master.arena.slots);
  }));
