import { strict as assert } from 'node:assert';
import { type ChildProcess, fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mappedMemory, seededRandom, sleep, systemClock, xxh64 } from '../base/index.js';
import { ChainHash } from './chain-hash.js';
import { noDoorbell } from './doorbell.js';
import { leavesNothing } from './leftovers.test.support.js';
import { LocalEnvironment } from './local-environment.js';
import { LocalMaster } from './local-master.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import type { HaltingPoint, RoguePlan } from './rogue-writer.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import type { InputGate, SubpartitionPosition, TaskWriter, WriterDescriptor } from './spi.js';

// Real processes that are stopped with SIGSTOP, given up, succeeded, and then wake up and go on as if nothing were.

const ROGUE = fileURLToPath(new URL('./rogue-writer.test.support.js', import.meta.url));
const SEED = Number(process.env.MILLRACE_SEED ?? randomInt(2 ** 31));
const START = { seq: 0, chain: 0n };
const NOTHING = new Uint8Array(0);
const clock = systemClock();

interface Host {
  readonly folder: string;
  readonly master: LocalMaster;
  readonly environment: LocalEnvironment;
  readonly children: ChildProcess[];
}

async function onHost(t: test.TestContext, run: (host: Host) => Promise<void>): Promise<void> {
  const place = leavesNothing(t);
  const memory = mappedMemory({ folder: place.memoryFolder });
  const doorbell = noDoorbell();
  const master = await LocalMaster.open({ memory, doorbell, settings: TEST_SETTINGS });
  const environment = new LocalEnvironment({ memory, clock, doorbell, settings: TEST_SETTINGS });
  try {
    await run({ folder: place.memoryFolder, master, environment, children: place.children });
  } finally {
    await environment.close();
    await master.close();
  }
}

function lineage(name: string, epoch: number): WriterDescriptor {
  const partition = { type: 'pipelined', subpartitions: 2, broadcast: false, consumers: 1 } as const;
  return { writer: name, epoch, partitions: [{ ...partition, partition: `${name}.out` }] };
}

interface Rogue {
  readonly child: ChildProcess;
  readonly end: Promise<{ readonly code: string; readonly position: number }>;
}

async function startRogue(host: Host, name: string, plan: RoguePlan): Promise<Rogue> {
  const child = fork(ROGUE, [host.folder, JSON.stringify(lineage(name, 1)), JSON.stringify(plan)]);
  host.children.push(child);
  await once(child, 'message');
  const end = once(child, 'message').then(([message]) => message);
  return { child, end };
}

function isStopped({ pid }: ChildProcess): boolean {
  return /\) T/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

function openBoth(host: Host, name: string, from: readonly SubpartitionPosition[] = [START, START]) {
  return host.environment.openGate(
    from.map((at, subpartition) => ({ partition: `${name}.out`, subpartition, consumer: 0, from: at })),
  );
}

/** Reads and checks what is visible now; the next seq of each channel. */
function drain(gate: InputGate): readonly number[] {
  for (let buffer = gate.poll(); buffer !== undefined; buffer = gate.poll()) {
    assert.deepEqual(Buffer.from(buffer.bytes), Buffer.from(numberedBytes(buffer.seq)));
    buffer.release();
  }
  return gate.positions().map((p) => p.seq);
}

/** Until all `due` is read; a gate that follows its writer's successor does so a moment later. */
async function drainTo(gate: InputGate, due: number): Promise<void> {
  for (let waited = 0; waited < 2000 && drain(gate).some((seq) => seq < due); waited++) await sleep(clock, 2);
  assert.deepEqual(drain(gate), [due, due]);
}

function writeMore(writer: TaskWriter, from: number, steps: number): void {
  for (let seq = from; seq < from + steps; seq++) {
    for (const n of [0, 1]) writer.partitions[0]?.emit(n, numberedBytes(seq), 1);
    writer.publish(NOTHING);
  }
}

/** Publishes until there is no memory left for it, and reads all of it, so that every free slot has been written to. */
async function fillMemory(host: Host, name: string): Promise<{ writer: TaskWriter; written: number }> {
  await host.master.register(lineage(name, 1));
  const writer = await host.environment.openWriter(lineage(name, 1));
  let written = 0;
  for (; writer.available && written < 5000; written += 10) writeMore(writer, written, 10);
  return { writer, written };
}

const POINTS: readonly HaltingPoint[] = [
  'amid staging',
  'between copy and index record',
  'before publish',
  'between check and frame',
  'before the compare-and-swap',
];

for (const halt of POINTS) {
  test(`a writer stopped ${halt}, succeeded, its memory used by others, then woken: nobody notices`, (t) =>
    onHost(t, async (host) => {
      const { master, environment } = host;
      await master.register(lineage('w', 1));
      const gate = await openBoth(host, 'w');
      const { child: zombie, end } = await startRogue(host, 'w', { halt, step: 60, greed: 2500 });
      while (!isStopped(zombie)) {
        drain(gate);
        await sleep(clock, 1);
      }
      const { tail } = await master.seal('w', 2);
      assert.equal(tail, 60);
      await master.register(lineage('w', 2));
      const successor = await environment.openWriter(lineage('w', 2));
      assert.equal(successor.position, 60);
      writeMore(successor, 60, 40);
      await drainTo(gate, 100);
      // What a checkpoint covers goes, and others take all the memory that is free.
      const covered = [40, 40];
      await master.trim('w.out', covered);
      const others = await Promise.all(['a', 'b'].map((name) => fillMemory(host, name)));
      zombie.kill('SIGCONT');
      assert.deepEqual(await end, { code: 'WRITER_FENCED', position: 60 });
      // Live, and read again from where the checkpoint is.
      writeMore(successor, 100, 1);
      await drainTo(gate, 101);
      await gate.close();
      const again = await openBoth(host, 'w', positionsAt(covered));
      await drainTo(again, 101);
      await again.close();
      for (const [i, name] of ['a', 'b'].entries()) {
        const theirs = await openBoth(host, name);
        await drainTo(theirs, others[i]?.written as number);
        await theirs.close();
        await others[i]?.writer.close();
        await master.release(name);
      }
      await successor.close();
      await master.release('w');
      // Only now, and only because its process says so, is what the zombie may write to given to others.
      assert.ok(master.quarantinedSlots > 0, 'its open slots wait for its end');
      zombie.send('end');
      await once(zombie, 'exit');
      await master.abandoned('w', 1);
      assert.equal(master.quarantinedSlots, 0);
      assert.equal(master.arena.freeSlots(), master.arena.slots);
    }));
}

/** Where a reader of the numbered buffers stands at each seq. */
function positionsAt(seqs: readonly number[]): readonly SubpartitionPosition[] {
  const hash = new ChainHash();
  return seqs.map((seq) => {
    let chain = 0n;
    for (let n = 0; n < seq; n++) chain = hash.next(chain, xxh64(numberedBytes(n)));
    return { seq, chain };
  });
}

test('writers stopped and woken at random moments, many attempts in a row: no slot is lost', (t) =>
  onHost(t, async (host) => {
    const random = seededRandom(SEED);
    t.diagnostic(`MILLRACE_SEED=${SEED}`);
    for (let round = 0; round < 4; round++) {
      const name = `w${round}`;
      await host.master.register(lineage(name, 1));
      const gate = await openBoth(host, name);
      const { child: zombie, end } = await startRogue(host, name, { halt: 'never', step: 0, greed: 500 });
      for (let left = random.below(40); left > 0; left--) {
        drain(gate);
        await sleep(clock, 1);
      }
      zombie.kill('SIGSTOP');
      const { tail } = await host.master.seal(name, 2);
      let next = tail;
      for (let epoch = 2; epoch < 6; epoch++) {
        await host.master.register(lineage(name, epoch));
        const writer = await host.environment.openWriter(lineage(name, epoch));
        writeMore(writer, next, 30);
        next += 30;
        if (epoch === 2 + (round % 4)) zombie.kill('SIGCONT');
        await drainTo(gate, next);
        await host.master.trim(`${name}.out`, [next, next]);
        await writer.close();
        await host.master.closed(name, epoch);
      }
      assert.deepEqual(await end, { code: 'WRITER_FENCED', position: tail });
      zombie.kill('SIGKILL');
      await once(zombie, 'exit');
      await host.master.abandoned(name, 1);
      await host.master.trim(`${name}.out`, [next, next]);
      assert.equal(host.master.arena.freeSlots(), host.master.arena.slots, 'all was trimmed, nobody is alive');
      await gate.close();
      await host.master.release(name);
    }
  }));

test('attempts that are succeeded in the middle of their work take no memory along', (t) =>
  onHost(t, async (host) => {
    const { master, environment } = host;
    await master.register(lineage('w', 1));
    const gate = await openBoth(host, 'w');
    let next = 0;
    for (let epoch = 1; epoch <= 40; epoch++) {
      await master.register(lineage('w', epoch));
      if (epoch > 1) await master.abandoned('w', epoch - 1);
      const writer = await environment.openWriter(lineage('w', epoch));
      for (let round = 0; round < 4; round++) {
        writeMore(writer, next, 90);
        next += 90;
        await drainTo(gate, next);
        await master.trim('w.out', [next, next]);
      }
      // What was trimmed is recycled now, and a little is retained when the next attempt comes.
      writeMore(writer, next, 5);
      next += 5;
      await drainTo(gate, next);
      const taken = master.arena.slots - master.arena.freeSlots();
      assert.ok(taken <= 16, `attempt ${epoch}: ${taken} slots are taken, and next to nothing is retained`);
    }
    const { arena } = master;
    const owners = Array.from({ length: arena.slots }, (_, slot) => arena.ownerOf(slot).owner).filter((o) => o > 0);
    assert.equal(new Set(owners).size, 1, 'what earlier attempts held is freed when it is trimmed');
    await master.abandoned('w', 40);
    await master.trim('w.out', [next, next]);
    assert.equal(master.arena.freeSlots(), master.arena.slots);
    await gate.close();
    await master.release('w');
  }));

test('of two given-up writers of one name, the end of one frees nothing of the other', (t) =>
  onHost(t, async (host) => {
    const { master, environment } = host;
    await master.register(lineage('w', 1));
    const first = await environment.openWriter(lineage('w', 1));
    writeMore(first, 0, 3);
    await master.register(lineage('w', 2));
    const second = await environment.openWriter(lineage('w', 2));
    writeMore(second, 3, 3);
    await master.release('w');
    const both = master.quarantinedSlots;
    await master.abandoned('w', 1);
    assert.ok(master.quarantinedSlots > 0 && master.quarantinedSlots < both, `${master.quarantinedSlots} of ${both}`);
    await master.abandoned('w', 2);
    assert.equal(master.quarantinedSlots, 0);
    assert.equal(master.arena.freeSlots(), master.arena.slots);
  }));

for (const holds of [true, false]) {
  const what = holds ? 'with buffers in its hands' : 'with nothing read yet';
  test(`a consumer ${what} that wakes after another took its cursor over is told, and trims nothing`, (t) =>
    onHost(t, async (host) => {
      const { master, environment } = host;
      await master.register(lineage('w', 1));
      const told: string[] = [];
      master.onEvent((event) => told.push(event.kind));
      const writer = await environment.openWriter(lineage('w', 1));
      const zombie = await openBoth(host, 'w');
      writeMore(writer, 0, 20);
      const held = holds ? [0, 1, 2, 3].map(() => zombie.poll()) : [];
      const heir = await openBoth(host, 'w');
      // The cursor is the heir's: what the zombie gives back counts for nothing.
      for (const buffer of held) buffer?.release();
      await master.trim('w.out', [20, 20]);
      writeMore(writer, 20, 1);
      assert.deepEqual(drain(heir), [21, 21]);
      // Everything it was about to read is trimmed and overwritten by now.
      for (let seq = 21; seq < 1500; seq += 20) {
        writeMore(writer, seq, 20);
        drain(heir);
        await master.trim('w.out', [seq, seq]);
      }
      assert.throws(() => zombie.poll(), { kind: 'fenced', code: 'CONSUMER_FENCED' });
      master.attend();
      assert.ok(!told.includes('lost'), 'nothing is lost: nobody who may read it needs it');
      await Promise.all([zombie.close(), heir.close(), writer.close()]);
      await master.release('w');
      assert.equal(master.arena.freeSlots(), master.arena.slots);
    }));
}
