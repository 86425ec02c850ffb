import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory, systemClock } from '../base/index.js';
import { type LocalShuffle, openLocalShuffle } from './local-shuffle.js';
import { BUFFER_BARRIER, type InputGate, type TaskWriter } from './spi.js';

// Several writers share a memory of a few slots, and their consumers do everything that can make memory run out. As long
// as somebody does not read, who does not depend on him goes on and barriers pass; once all read again, all ends.
// Nothing sleeps here: every step is a call.

const SETTINGS = {
  arenaBytes: 16 * 4096,
  slotBytes: 4096,
  ringRecords: 128,
  frameBytes: 16 * 1024,
  unconsumedBytesMax: 8 * 1024,
  unconsumedBuffersMax: 32,
};
const START = { seq: 0, chain: 0n };
const NOTHING = new Uint8Array(0);
const ROUNDS = 8;
const PER_ROUND_MAX = 60;

const BEHAVIOURS = ['reads', 'slow', 'stopped', 'detached', 'pauses a channel'] as const;
type Behaviour = (typeof BEHAVIOURS)[number];

interface Plan {
  /** Of the consumer of each writer's partitions. */
  readonly behaviours: readonly Behaviour[];
  readonly broadcast: boolean;
  readonly trimmed: boolean;
  readonly bytes: number;
}

interface Flow {
  readonly name: string;
  readonly writer: TaskWriter;
  readonly behaviour: Behaviour;
  gate: InputGate | undefined;
  readonly read: number[];
  /** Barriers seen, per channel. */
  readonly barriers: number[];
  written: number;
}

const CHANNELS = 2;

async function openFlow(shuffle: LocalShuffle, name: string, behaviour: Behaviour, broadcast: boolean): Promise<Flow> {
  const shape = broadcast ? { subpartitions: 1, consumers: CHANNELS } : { subpartitions: CHANNELS, consumers: 1 };
  const partition = { partition: name, type: 'pipelined', broadcast, ...shape } as const;
  const descriptor = { writer: name, epoch: 1, partitions: [partition] };
  await shuffle.master.register(descriptor);
  const writer = await shuffle.environment.openWriter(descriptor);
  const flow: Flow = { name, writer, behaviour, gate: undefined, read: [0, 0], barriers: [0, 0], written: 0 };
  await attach(shuffle, flow, broadcast);
  if (behaviour === 'pauses a channel') flow.gate?.pause(1);
  return flow;
}

async function attach(shuffle: LocalShuffle, flow: Flow, broadcast: boolean): Promise<void> {
  const at = flow.gate?.positions() ?? [START, START];
  flow.gate = await shuffle.environment.openGate(
    at.map((from, i) => ({
      partition: flow.name,
      subpartition: broadcast ? 0 : i,
      consumer: broadcast ? i : 0,
      from,
    })),
  );
}

/** While the writer is available it must be able to write. */
function write(flow: Flow, plan: Plan): number {
  let steps = 0;
  for (; steps < PER_ROUND_MAX && flow.writer.available; steps++) {
    flow.writer.partitions[0]?.emit(plan.broadcast ? 0 : flow.written % CHANNELS, new Uint8Array(plan.bytes), 1);
    flow.writer.publish(NOTHING);
    flow.written++;
  }
  return steps;
}

function read(flow: Flow, buffersMax: number): void {
  for (let n = 0; n < buffersMax; n++) {
    const buffer = flow.gate?.poll();
    if (buffer === undefined) return;
    flow.read[buffer.channel] = buffer.seq + 1;
    if (buffer.kind === BUFFER_BARRIER) flow.barriers[buffer.channel] = buffer.bytes[0] as number;
    buffer.release();
  }
}

const IN_A_ROUND: Readonly<Record<Behaviour, number>> = {
  reads: Number.POSITIVE_INFINITY,
  slow: 5,
  stopped: 0,
  detached: 0,
  'pauses a channel': Number.POSITIVE_INFINITY,
};

async function trim(shuffle: LocalShuffle, flow: Flow, broadcast: boolean): Promise<void> {
  const at = flow.read;
  await shuffle.master.trim(flow.name, broadcast ? [Math.min(...at)] : at);
}

async function runs(plan: Plan): Promise<void> {
  const shuffle = await openLocalShuffle({ memory: heapMemory(), clock: systemClock(), settings: SETTINGS });
  const flows: Flow[] = [];
  for (const [i, behaviour] of plan.behaviours.entries()) {
    flows.push(await openFlow(shuffle, `f${i}`, behaviour, plan.broadcast));
  }
  for (const flow of flows) if (flow.behaviour === 'detached') await flow.gate?.close();
  for (let round = 1; round <= ROUNDS; round++) {
    for (const flow of flows) {
      const steps = write(flow, plan);
      flow.writer.partitions[0]?.event(BUFFER_BARRIER, Uint8Array.of(round));
      flow.writer.publish(NOTHING);
      read(flow, IN_A_ROUND[flow.behaviour]);
      if (flow.behaviour === 'reads') {
        assert.deepEqual(flow.barriers, [round, round], `round ${round}: the barrier reaches who reads`);
        assert.ok(steps > 0, `round ${round}: ${flow.name} moves, whoever else is stalled`);
      }
    }
    if (plan.trimmed) for (const flow of flows) await trim(shuffle, flow, plan.broadcast);
  }
  // Everybody comes back, and checkpoints complete.
  for (const flow of flows) {
    if (flow.behaviour === 'detached') await attach(shuffle, flow, plan.broadcast);
    flow.gate?.resume(1);
    for (const [i] of flow.read.entries()) flow.read[i] = flow.gate?.positions()[i]?.seq ?? 0;
  }
  for (let round = 1; round <= 4; round++) {
    for (const flow of flows) {
      read(flow, Number.POSITIVE_INFINITY);
      await trim(shuffle, flow, plan.broadcast);
    }
    for (const flow of flows) {
      const steps = write(flow, plan);
      // What one flow holds unread the others get back when it is read: from the second round on all move.
      if (round > 1) assert.ok(steps > 0, `${flow.name} (${flow.behaviour}) flows again`);
    }
  }
  for (const flow of flows) {
    read(flow, Number.POSITIVE_INFINITY);
    const due = flow.writer.partitions[0]?.positions().map((p) => p.seq) ?? [];
    assert.deepEqual(flow.read, plan.broadcast ? [due[0], due[0]] : due, 'all that was written is read');
  }
  await shuffle.close();
}

function* combinations(flows: number): Generator<readonly Behaviour[]> {
  if (flows === 0) yield [];
  else for (const rest of combinations(flows - 1)) for (const one of BEHAVIOURS) yield [...rest, one];
}

for (const broadcast of [false, true]) {
  for (const trimmed of [false, true]) {
    for (const bytes of [10, 200, 500]) {
      const kind = broadcast ? 'broadcast' : 'partitioned';
      test(`no deadlock: 3 ${kind} writers, ${bytes} bytes, ${trimmed ? 'trimmed' : 'all retained'}, any consumers`, async () => {
        for (const behaviours of combinations(3)) {
          const plan = { behaviours, broadcast, trimmed, bytes };
          await runs(plan).catch((e: Error) => {
            throw new Error(`${JSON.stringify(plan)}: ${e.message}`, { cause: e });
          });
        }
      });
    }
  }
}

test('no deadlock: random numbers of writers and sizes', async () => {
  const plans = fc.record({
    behaviours: fc.array(fc.constantFrom(...BEHAVIOURS), { minLength: 1, maxLength: 4 }),
    broadcast: fc.boolean(),
    trimmed: fc.boolean(),
    bytes: fc.integer({ min: 1, max: 512 }),
  });
  await fc.assert(fc.asyncProperty(plans, runs), { numRuns: 100 });
});
