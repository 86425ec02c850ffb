import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory, systemClock } from '../base/index.js';
import { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
import { numberedBytes } from './numbered-bytes.test.support.js';
import { TEST_SETTINGS } from './settings.test.support.js';
import {
  BUFFER_BARRIER,
  type InputBuffer,
  type InputGate,
  type SubpartitionPosition,
  type TaskWriter,
  type WriterDescriptor,
} from './spi.js';

// Random interleavings of everything a job does with one writer, against lists of what was published.

const NOTHING = new Uint8Array(0);
const SUBPARTITIONS = 3;
const SETTINGS = { ...TEST_SETTINGS, arenaBytes: 1024 * 1024, slotBytes: 16 * 1024, ringRecords: 128 };

interface Consumer {
  gate: InputGate;
  held: InputBuffer[];
  paused: boolean;
  /** Positions this consumer once had, the latest last: where a new attempt may begin. */
  readonly positions: SubpartitionPosition[];
}

interface World {
  readonly shuffle: LocalShuffle;
  writer: TaskWriter;
  epoch: number;
  /** Per subpartition: what is published, as the number its bytes were made of; -1 is a barrier. */
  readonly published: number[][];
  readonly consumers: Consumer[];
  readonly trimmed: number[];
  nextNumber: number;
}

function descriptor(epoch: number): WriterDescriptor {
  const partition = { partition: 'p', type: 'pipelined', broadcast: false, consumers: 1 } as const;
  return { writer: 'w', epoch, partitions: [{ ...partition, subpartitions: SUBPARTITIONS }] };
}

function openGate(shuffle: LocalShuffle, subpartition: number, from: SubpartitionPosition): Promise<InputGate> {
  return shuffle.environment.openGate([{ partition: 'p', subpartition, consumer: 0, from }]);
}

async function newWorld(): Promise<World> {
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings: SETTINGS });
  await shuffle.master.register(descriptor(1));
  const writer = await shuffle.environment.openWriter(descriptor(1));
  const consumers: Consumer[] = [];
  for (let n = 0; n < SUBPARTITIONS; n++) {
    const from = { seq: 0, chain: 0n };
    consumers.push({ gate: await openGate(shuffle, n, from), held: [], paused: false, positions: [from] });
  }
  const published = consumers.map(() => []);
  return { shuffle, writer, epoch: 1, published, consumers, trimmed: consumers.map(() => 0), nextNumber: 1 };
}

type Action =
  | { readonly do: 'publish'; readonly subs: readonly number[]; readonly barrier: boolean }
  | { readonly do: 'stageOnly'; readonly sub: number }
  | { readonly do: 'read'; readonly sub: number; readonly count: number; readonly keep: boolean }
  | { readonly do: 'releaseBackwards'; readonly sub: number; readonly back: number }
  | { readonly do: 'pause'; readonly sub: number; readonly back: number }
  | { readonly do: 'reattach'; readonly sub: number; readonly back: number }
  | { readonly do: 'trim' }
  | { readonly do: 'newAttempt' };

const sub = fc.nat(SUBPARTITIONS - 1);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      subs: fc.array(sub, { maxLength: 6 }),
      barrier: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      sub,
      count: fc.nat(12),
      keep: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({ do: fc.constantFrom('releaseBackwards', 'pause', 'reattach'), sub, back: fc.nat(5) })
      .map((a) => a as Action),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stageOnly' as const), sub }) },
  { weight: 2, arbitrary: fc.constantFrom<Action>({ do: 'trim' }, { do: 'newAttempt' }) },
);

function publish(world: World, subs: readonly number[], barrier: boolean): void {
  if (!world.writer.available) return;
  const partition = world.writer.partitions[0];
  for (const n of subs) {
    partition?.emit(n, numberedBytes(world.nextNumber), 1);
    world.published[n]?.push(world.nextNumber++);
  }
  if (barrier) {
    partition?.event(BUFFER_BARRIER, NOTHING);
    for (const list of world.published) list.push(-1);
  }
  world.writer.publish(NOTHING);
}

async function read(world: World, n: number, count: number, keep: boolean): Promise<void> {
  const consumer = world.consumers[n] as Consumer;
  const published = world.published[n] as number[];
  for (let i = 0; i < count; i++) {
    const at = consumer.gate.positions()[0]?.seq ?? 0;
    const due = consumer.paused ? undefined : published[at];
    // Going over to the log of a new attempt takes a turn.
    const buffer = consumer.gate.poll() ?? (due === undefined ? undefined : await pollAgain(consumer.gate));
    assert.equal(buffer === undefined, due === undefined, `subpartition ${n} at ${at} of ${published.length}`);
    if (buffer === undefined || due === undefined) return;
    assert.equal(buffer.seq, at);
    assert.equal(buffer.kind, due === -1 ? BUFFER_BARRIER : 0);
    assert.ok(Buffer.from(buffer.bytes).equals(due === -1 ? NOTHING : numberedBytes(due)));
    consumer.positions.push(consumer.gate.positions()[0] as SubpartitionPosition);
    if (keep) consumer.held.push(buffer);
    else buffer.release();
  }
}

async function pollAgain(gate: InputGate): Promise<InputBuffer | undefined> {
  await gate.whenAvailable(1000);
  return gate.poll();
}

async function step(world: World, a: Action): Promise<void> {
  const { shuffle, consumers } = world;
  if (a.do === 'publish') publish(world, a.subs, a.barrier);
  else if (a.do === 'read') await read(world, a.sub, a.count, a.keep);
  else if (a.do === 'stageOnly') {
    // Whatever the old attempt staged and never published goes with it.
    if (world.writer.available) world.writer.partitions[0]?.emit(a.sub, numberedBytes(0), 1);
    await newAttempt(world);
  } else if (a.do === 'newAttempt') await newAttempt(world);
  else if (a.do === 'trim') {
    // A completed checkpoint: up to where everybody is.
    const seqs = consumers.map(({ gate }, n) => Math.max(world.trimmed[n] ?? 0, gate.positions()[0]?.seq ?? 0));
    for (const [n, seq] of seqs.entries()) world.trimmed[n] = seq;
    await shuffle.master.trim('p', seqs);
  } else {
    const consumer = consumers[a.sub] as Consumer;
    if (a.do === 'releaseBackwards') {
      for (const buffer of consumer.held.splice(0).reverse()) buffer.release();
    } else if (a.do === 'pause') {
      consumer.paused = !consumer.paused;
      if (consumer.paused) consumer.gate.pause(0);
      else consumer.gate.resume(0);
    } else await reattach(world, a.sub, a.back);
  }
}

async function newAttempt(world: World): Promise<void> {
  const { master, environment } = world.shuffle;
  world.epoch++;
  await master.seal('w', world.epoch);
  assert.throws(() => {
    world.writer.partitions[0]?.emit(0, NOTHING, 0);
    world.writer.publish(NOTHING);
  });
  await master.register(descriptor(world.epoch));
  const before = world.writer;
  world.writer = await environment.openWriter(descriptor(world.epoch));
  await before.close();
  assert.deepEqual(
    world.writer.partitions[0]?.positions().map((p) => p.seq),
    world.published.map((list) => list.length),
  );
}

/** A new attempt of a consumer, a few buffers back, if those are retained. */
async function reattach(world: World, n: number, back: number): Promise<void> {
  const consumer = world.consumers[n] as Consumer;
  const from = consumer.positions.at(-1 - back) ?? consumer.positions[0];
  if (from === undefined || from.seq < (world.trimmed[n] as number)) return;
  consumer.positions.splice(consumer.positions.indexOf(from) + 1);
  await consumer.gate.close();
  consumer.held.length = 0;
  consumer.gate = await openGate(world.shuffle, n, from);
  consumer.paused = false;
}

test('random interleavings of publishing, reading, trimming, new attempts of writer and readers', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 60 }), async (actions) => {
      const world = await newWorld();
      const degraded: string[] = [];
      world.shuffle.master.onEvent((event) => degraded.push(event.kind));
      try {
        for (const a of actions) await step(world, a);
        for (let n = 0; n < SUBPARTITIONS; n++) {
          const consumer = world.consumers[n] as Consumer;
          consumer.paused = false;
          consumer.gate.resume(0);
          await consumer.gate.whenAvailable(1);
          await read(world, n, 10_000, false);
          assert.equal(consumer.gate.positions()[0]?.seq, world.published[n]?.length);
          for (const buffer of consumer.held) buffer.release();
        }
        assert.ok(!degraded.includes('lost'));
      } finally {
        await world.shuffle.close();
      }
    }),
    { numRuns: 150 },
  );
});
