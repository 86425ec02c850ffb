import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TaskChannel } from './deployment.js';
import { MAX_WATERMARK } from './operator-chain.js';
import { ScriptedGate, says } from './scripted-gate.test.support.js';
import { type InputEvent, TaskInputs } from './task-inputs.js';

const channelOf = (edge: number, producer: number, given: Partial<TaskChannel> = {}): TaskChannel => ({
  edge,
  producer,
  descriptor: { partition: `e${edge}/${producer}`, subpartition: 0, consumer: 0, from: { seq: 0, chain: 0n } },
  watermark: Number.NEGATIVE_INFINITY,
  ended: false,
  ...given,
});

function inputsOf(
  channels: readonly TaskChannel[],
  given: { readonly buildFirst?: number[]; readonly minCheckpoint?: number } = {},
) {
  const gate = new ScriptedGate(channels.filter(({ ended }) => !ended).map(({ descriptor }) => descriptor));
  const inputs = new TaskInputs({
    channels,
    gate,
    buildFirstEdges: new Set(given.buildFirst ?? []),
    minCheckpoint: given.minCheckpoint ?? 1,
  });
  return { gate, inputs };
}

/** Takes all there is, as the task's loop does, and tells it shortly: `row 0/1`, `barrier 3`. */
function drain({ gate, inputs }: ReturnType<typeof inputsOf>): string[] {
  const told: string[] = [];
  for (let event = inputs.next(); event !== undefined; event = inputs.next()) {
    told.push(...tell(event));
    if (event.kind === 'data') event.buffer.release();
    if (event.kind === 'barrier') inputs.aligned();
    assert.equal(gate.unreleased, 0);
  }
  return told;
}

function tell(event: InputEvent): string[] {
  switch (event.kind) {
    case 'data':
      return [`row ${event.channel.edge}/${event.channel.producer}`];
    case 'watermark':
      return [event.timeMs === MAX_WATERMARK ? 'watermark max' : `watermark ${event.timeMs}`];
    case 'barrier':
    case 'declined':
      return [`${event.kind} ${event.checkpoint}`];
    case 'edgeEnded':
      return [`ended ${event.edge}`];
    case 'nothing':
      return [];
  }
}

test('a barrier counts when every channel has delivered it; a channel that has waits for the others', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  job.gate.put(0, says.barrier(1), says.row()).put(1, says.row());
  assert.deepEqual(drain(job), ['row 0/1']);
  assert.equal(job.gate.waiting(0), 1, 'nothing from behind the barrier may be read before the snapshot');
  job.gate.put(1, says.barrier(1), says.row());
  assert.deepEqual(drain(job), ['barrier 1', 'row 0/0', 'row 0/1']);
});

test('an END counts as aligned, whether it comes before the barrier or after it', () => {
  const before = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  before.gate.put(0, says.end).put(1, says.barrier(1));
  assert.deepEqual(drain(before), ['barrier 1']);
  const after = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  after.gate.put(0, says.barrier(1), says.watermark(5)).put(1, says.watermark(9), says.end);
  assert.deepEqual(drain(after), ['barrier 1', 'watermark 5']);
});

test('a channel that ended before the snapshot is not waited for', () => {
  const job = inputsOf([channelOf(0, 0, { ended: true }), channelOf(0, 1)]);
  job.gate.put(0, says.watermark(3), says.barrier(1), says.end);
  assert.deepEqual(drain(job), ['watermark 3', 'barrier 1', 'ended 0', 'watermark max']);
  assert.ok(job.inputs.allEnded);
  assert.deepEqual(
    job.inputs.positions().map(({ producer, seq, ended }) => ({ producer, seq, ended })),
    [
      { producer: 0, seq: 0, ended: true },
      { producer: 1, seq: 3, ended: true },
    ],
  );
});

test('the rows before the last END are followed by its watermark, then by the barrier that waited for it', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(1, 0)]);
  job.gate.put(0, says.watermark(7), says.barrier(1)).put(1, says.row(), says.end);
  assert.deepEqual(drain(job), ['row 1/0', 'ended 1', 'watermark 7', 'barrier 1']);
  assert.ok(!job.inputs.allEnded);
});

test('an aborted checkpoint is waited for no longer, and its late barriers are skipped', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  job.gate.put(0, says.barrier(1), says.row());
  assert.deepEqual(drain(job), []);
  job.inputs.aborted(1);
  job.gate.put(1, says.barrier(1), says.row());
  assert.deepEqual(drain(job), ['row 0/0', 'row 0/1']);
  job.gate.put(0, says.barrier(2)).put(1, says.barrier(2));
  assert.deepEqual(drain(job), ['barrier 2']);
});

test('a barrier whose checkpoint is aborted while it waits behind a watermark is not delivered', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  job.gate.put(0, says.watermark(4), says.barrier(1), says.row()).put(1, says.watermark(2), says.end);
  assert.deepEqual(tell(job.inputs.next() as InputEvent), []);
  assert.deepEqual(tell(job.inputs.next() as InputEvent), []);
  assert.deepEqual(tell(job.inputs.next() as InputEvent), ['watermark 2']);
  assert.deepEqual(tell(job.inputs.next() as InputEvent), ['watermark 4']);
  job.inputs.aborted(1);
  assert.deepEqual(drain(job), ['row 0/0']);
});

test('a newer barrier replaces an alignment that can no longer complete', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  job.gate.put(0, says.barrier(1), says.row(), says.barrier(2)).put(1, says.barrier(2));
  assert.deepEqual(drain(job), ['row 0/0', 'barrier 2']);
});

test("an older barrier that comes late, before the scheduler's word that it is dead, does not undo the newer alignment", () => {
  const job = inputsOf([channelOf(0, 0), channelOf(0, 1)]);
  job.gate.put(0, says.barrier(2), says.row()).put(1, says.barrier(1), says.row(), says.barrier(2));
  assert.deepEqual(drain(job), ['row 0/1', 'barrier 2', 'row 0/0']);
});

test('barriers of checkpoints from before the restart are skipped', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(0, 1)], { minCheckpoint: 5 });
  job.gate.put(0, says.barrier(4), says.row(), says.barrier(5)).put(1, says.barrier(5));
  assert.deepEqual(drain(job), ['row 0/0', 'barrier 5']);
});

test('a table is read to its end before the stream, and a barrier meanwhile declines its checkpoint once', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(1, 0), channelOf(1, 1)], { buildFirst: [1] });
  job.gate.put(0, says.row()).put(1, says.row(), says.barrier(1), says.end).put(2, says.barrier(1), says.row());
  assert.deepEqual(drain(job), ['row 1/0', 'declined 1', 'row 1/1']);
  job.gate.put(2, says.end).put(0, says.barrier(1), says.barrier(2));
  assert.deepEqual(drain(job), ['ended 1', 'row 0/0', 'barrier 2']);
});

test('a table that was complete at the snapshot holds nothing back', () => {
  const job = inputsOf([channelOf(0, 0), channelOf(1, 0, { ended: true })], { buildFirst: [1] });
  job.gate.put(0, says.row(), says.barrier(1));
  assert.deepEqual(drain(job), ['row 0/0', 'barrier 1']);
});

test('event time is the smallest of the channels, continues after a restore and never goes back', () => {
  const job = inputsOf([channelOf(0, 0, { watermark: 10 }), channelOf(0, 1, { watermark: 20 })]);
  assert.equal(job.inputs.watermark, 10);
  job.gate.put(0, says.watermark(8), says.watermark(15)).put(1, says.idle, says.watermark(18));
  assert.deepEqual(drain(job), ['watermark 15']);
  job.gate.put(0, says.watermark(30));
  assert.deepEqual(drain(job), ['watermark 20']);
  job.gate.put(0, says.end);
  assert.deepEqual(drain(job), []);
  assert.equal(job.inputs.positions()[1]?.watermark, 20);
});

test('random interleavings: each barrier stands after exactly what was sent before it, on every channel', () => {
  const script = fc.array(fc.constantFrom('row', 'watermark', 'barrier' as const), { maxLength: 12 });
  fc.assert(
    fc.property(fc.array(script, { minLength: 1, maxLength: 4 }), fc.infiniteStream(fc.nat(3)), (scripts, choices) => {
      const job = inputsOf(scripts.map((_, producer) => channelOf(0, producer)));
      const barriers = scripts.map(() => 0);
      const queues = scripts.map((steps, channel) => {
        const rows = steps.map((step, at) => {
          if (step === 'barrier') return says.barrier(++(barriers[channel] as number) && (barriers[channel] as number));
          return step === 'row' ? says.row() : says.watermark(at);
        });
        return [...rows, says.end];
      });
      const seen = scripts.map(() => ({ rows: 0, barriers: 0 }));
      const taken: number[] = [];
      while (queues.some((queue) => queue.length > 0)) {
        const channel = (choices.next().value as number) % queues.length;
        const next = queues[channel]?.shift();
        if (next !== undefined) job.gate.put(channel, next);
        for (let event = job.inputs.next(); event !== undefined; event = job.inputs.next()) {
          if (event.kind === 'data') {
            (seen[event.channel.producer] as { rows: number }).rows++;
            event.buffer.release();
          }
          if (event.kind !== 'barrier') continue;
          taken.push(event.checkpoint);
          // What the snapshot has read of a channel is what lies before this barrier there, or all when it has ended.
          scripts.forEach((steps, producer) => {
            const at = nthBarrier(steps, event.checkpoint);
            assert.equal(seen[producer]?.rows, steps.slice(0, at).filter((step) => step === 'row').length);
          });
          job.inputs.aligned();
        }
      }
      assert.ok(job.inputs.allEnded);
      assert.deepEqual(
        taken,
        Array.from({ length: Math.max(...barriers) }, (_, i) => i + 1),
      );
    }),
    { numRuns: 300 },
  );
});

function nthBarrier(steps: readonly string[], n: number): number {
  let count = 0;
  const at = steps.findIndex((step) => step === 'barrier' && ++count === n);
  return at === -1 ? steps.length : at;
}
