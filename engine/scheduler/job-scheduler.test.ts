import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MillraceError } from '../../base/index.js';
import type { Manifest } from '../../checkpoint/index.js';
import type { TaskEvent, TaskPosition } from '../runtime/index.js';
import type { SchedulerEffect, SchedulerEvent } from './events.js';
import { JobScheduler } from './job-scheduler.js';
import { jobOf } from './random-job.test.support.js';

const CHAIN = '00000000000000aa';
const position = (given: Partial<TaskPosition> = {}): TaskPosition => ({
  inputs: [],
  outputs: [],
  watermark: null,
  source: null,
  transactions: [],
  sourceRows: 0,
  lateDropped: 0,
  ...given,
});
const sent = (seq: number) => position({ outputs: [[{ seq, chain: CHAIN }]] });
const read = (seq: number, ended = false) =>
  position({ inputs: [{ edge: 0, producer: 0, seq, chain: CHAIN, watermark: null, ended }] });

/** One source (v0) and one sink (v1), one subtask each: the smallest job with an edge. */
class SmallJob {
  readonly scheduler: JobScheduler;
  effects: SchedulerEffect[] = [];

  constructor(options: { readonly restartsMax?: number; readonly latest?: Manifest } = {}) {
    this.scheduler = new JobScheduler({
      graph: jobOf([
        { parallelism: 1, inputs: [] },
        { parallelism: 1, inputs: [{ from: 0, kind: 'exchange' }] },
      ]),
      jobId: 'job',
      epoch: 7,
      meta: 'meta',
      restartsMax: options.restartsMax ?? 3,
      checkpointTimeoutMs: 100,
      latest: options.latest,
    });
  }

  on(event: SchedulerEvent): SchedulerEffect[] {
    this.effects = this.scheduler.step(event);
    return this.effects;
  }

  task(event: TaskEvent): SchedulerEffect[] {
    return this.on({ kind: 'task', event });
  }

  /** Answers all prepares of the last step, and of those that follow. */
  prepared(effects: readonly SchedulerEffect[]): SchedulerEffect[] {
    return effects.flatMap((e) =>
      e.kind === 'prepare' ? this.on({ kind: 'prepared', task: e.task, attempt: e.attempt }) : [],
    );
  }

  /** Both tasks run as attempt 1. */
  start(): this {
    this.prepared(this.on({ kind: 'slotAdded', slot: 'w/0' }));
    for (const task of ['v0.0', 'v1.0']) this.task({ kind: 'running', task, attempt: 1 });
    return this;
  }

  /** Checkpoint `checkpoint` up to HEAD being moved; both tasks are at attempt 1. */
  publishing(checkpoint: number): this {
    this.on({ kind: 'checkpointDue', nowMs: checkpoint });
    this.task({ kind: 'acknowledged', task: 'v0.0', attempt: 1, checkpoint, position: sent(4), held: false });
    this.task({ kind: 'acknowledged', task: 'v1.0', attempt: 1, checkpoint, position: read(4), held: false });
    assert.deepEqual(kinds(this.effects), ['publish']);
    return this;
  }

  fails(
    task: string,
    attempt: number,
    error = new MillraceError('internal', 'TASK_FAILED', 'it broke'),
  ): SchedulerEffect[] {
    return this.task({ kind: 'failed', task, attempt, error: JSON.stringify(error) });
  }

  get attempts(): number[] {
    return this.scheduler.tasks.map(({ attempt }) => attempt);
  }
}

const kinds = (effects: readonly SchedulerEffect[]) =>
  effects.map(({ kind }) => kind).filter((kind) => kind !== 'note');
const ending = (effects: readonly SchedulerEffect[]) => effects.find((effect) => effect.kind === 'ended');

test('a failed task restarts with what read from it, and its producer goes on', () => {
  const job = new SmallJob().start();
  job.fails('v1.0', 1);
  assert.deepEqual(job.attempts, [1, 2]);
  job.fails('v0.0', 1);
  assert.deepEqual(job.attempts, [2, 3]);
});

test('the failure that is one too many without a checkpoint in between ends the job with that error', () => {
  const job = new SmallJob({ restartsMax: 2 }).start();
  job.fails('v1.0', 1);
  job.fails('v1.0', 2);
  assert.equal(ending(job.effects), undefined);
  const last = ending(job.fails('v1.0', 3, new MillraceError('internal', 'THIRD', 'the third')));
  assert.equal(last?.error?.code, 'THIRD');
});

test('a complete checkpoint sets the count of restarts back', () => {
  const job = new SmallJob({ restartsMax: 1 }).start();
  job.prepared(job.fails('v1.0', 1));
  job.task({ kind: 'running', task: 'v1.0', attempt: 2 });
  job.on({ kind: 'checkpointDue', nowMs: 0 });
  job.task({ kind: 'acknowledged', task: 'v0.0', attempt: 1, checkpoint: 1, position: sent(4), held: false });
  job.task({ kind: 'acknowledged', task: 'v1.0', attempt: 2, checkpoint: 1, position: read(4), held: false });
  job.on({ kind: 'published', checkpoint: 1 });
  assert.equal(ending(job.fails('v1.0', 2)), undefined);
  assert.ok(ending(job.fails('v1.0', 3)));
});

test("bad input ends the job at once, and its tasks' logs are released", () => {
  const job = new SmallJob().start();
  const effects = job.fails('v0.0', 1, new MillraceError('invalid', 'CSV_BAD_VALUE', 'line 7'));
  assert.equal(ending(effects)?.error?.code, 'CSV_BAD_VALUE');
  assert.deepEqual(kinds(effects), ['command', 'command', 'release', 'ended']);
  const release = effects.find((effect) => effect.kind === 'release');
  assert.deepEqual(release?.writers, ['job/v0.0/1', 'job/v1.0/1']);
  assert.deepEqual(job.fails('v1.0', 1), [], 'nothing happens after the end');
});

test('a leader that is fenced while it moves HEAD stops, and tells no task that anything completed', () => {
  const job = new SmallJob().start().publishing(1);
  const error = new MillraceError('fenced', 'EPOCH_STALE', 'another leader').toJSON();
  const effects = job.on({ kind: 'publishFailed', checkpoint: 1, error });
  assert.equal(ending(effects)?.error?.code, 'EPOCH_STALE');
  assert.ok(!effects.some((effect) => effect.kind === 'command' && effect.command.kind !== 'cancel'));
  assert.ok(!effects.some((effect) => effect.kind === 'trim'));
});

test('a failure while HEAD is moved waits until it is known where HEAD is, and then restarts from there', () => {
  const job = new SmallJob().start().publishing(1);
  assert.deepEqual(job.fails('v1.0', 1), []);
  const effects = job.on({ kind: 'published', checkpoint: 1 });
  assert.deepEqual(job.attempts, [1, 2]);
  const deploy = job.prepared(effects).find((effect) => effect.kind === 'deploy');
  assert.deepEqual(deploy?.deployment.restore?.position, read(4));
  assert.deepEqual(
    deploy?.deployment.channels[0]?.descriptor.from,
    { seq: 4, chain: 0xaan },
    'its producer lives: its log goes on',
  );
});

test('a failure while HEAD is moved restarts from the checkpoint before when HEAD could not be moved', () => {
  const job = new SmallJob().start().publishing(1);
  job.fails('v1.0', 1);
  const error = new MillraceError('corrupt', 'HEAD_CORRUPT', 'torn').toJSON();
  const effects = job.on({ kind: 'publishFailed', checkpoint: 1, error });
  assert.deepEqual(job.attempts, [1, 2]);
  const deploy = job.prepared(effects).find((effect) => effect.kind === 'deploy');
  assert.equal(deploy?.deployment.restore, undefined);
  assert.deepEqual(deploy?.deployment.channels[0]?.descriptor.from, { seq: 0, chain: 0n });
});

test('a job that ends over a failure kept back during HEAD’s move begins no final checkpoint afterwards', () => {
  const job = new SmallJob().start().publishing(1);
  job.task({ kind: 'finished', task: 'v0.0', attempt: 1, position: sent(9) });
  job.task({ kind: 'finished', task: 'v1.0', attempt: 1, position: read(9, true) });
  job.fails('v1.0', 1, new MillraceError('invalid', 'SINK_REFUSED', 'no'));
  const effects = kinds(job.on({ kind: 'published', checkpoint: 1 }));
  assert.equal(effects.at(-1), 'ended', `${effects}`);
  assert.ok(!effects.includes('publish'));
});

test('an acknowledgement of a replaced attempt does not count', () => {
  const job = new SmallJob().start();
  job.prepared(job.fails('v1.0', 1));
  job.task({ kind: 'running', task: 'v1.0', attempt: 2 });
  job.on({ kind: 'checkpointDue', nowMs: 0 });
  job.task({ kind: 'acknowledged', task: 'v0.0', attempt: 1, checkpoint: 1, position: sent(4), held: false });
  assert.deepEqual(
    job.task({ kind: 'acknowledged', task: 'v1.0', attempt: 1, checkpoint: 1, position: read(4), held: false }),
    [],
  );
  job.task({ kind: 'acknowledged', task: 'v1.0', attempt: 2, checkpoint: 1, position: read(4), held: false });
  assert.deepEqual(kinds(job.effects), ['publish']);
});

test('a snapshot whose consumer does not stand at the barrier ends the job before anything is stored', () => {
  const job = new SmallJob().start();
  job.on({ kind: 'checkpointDue', nowMs: 0 });
  job.task({ kind: 'acknowledged', task: 'v0.0', attempt: 1, checkpoint: 1, position: sent(4), held: true });
  const effects = job.task({
    kind: 'acknowledged',
    task: 'v1.0',
    attempt: 1,
    checkpoint: 1,
    position: read(3),
    held: false,
  });
  assert.equal(ending(effects)?.error?.code, 'CHECKPOINT_INCONSISTENT');
  assert.ok(!effects.some(({ kind }) => kind === 'persist' || kind === 'publish'));
});

test('a checkpoint that nobody acknowledges is given up after its timeout, and the next one is triggered', () => {
  const job = new SmallJob().start();
  job.on({ kind: 'checkpointDue', nowMs: 1000 });
  assert.deepEqual(kinds(job.on({ kind: 'checkpointDue', nowMs: 1100 })), []);
  assert.deepEqual(kinds(job.on({ kind: 'checkpointDue', nowMs: 1101 })), ['forget', 'command', 'command']);
  job.on({ kind: 'checkpointDue', nowMs: 1102 });
  const trigger = job.effects.find((effect) => effect.kind === 'command');
  assert.deepEqual(trigger?.command, { task: 'v0.0', attempt: 1, kind: 'trigger', checkpoint: 2 });
});

test('no slot that comes back in time: the job ends and says so', () => {
  const job = new SmallJob().start();
  job.prepared(job.on({ kind: 'slotsLost', slots: ['w/0'], reason: 'killed' }));
  assert.equal(ending(job.on({ kind: 'slotsOverdue' }))?.error?.code, 'NO_SLOTS');
});

test('a slot lost while its tasks are still being prepared costs no second restart', () => {
  const job = new SmallJob().start();
  job.on({ kind: 'slotsLost', slots: ['w/0'], reason: 'killed' });
  assert.deepEqual(job.attempts, [2, 2]);
  job.on({ kind: 'slotAdded', slot: 'w/1' });
  job.on({ kind: 'slotsLost', slots: ['w/1'], reason: 'killed again' });
  assert.deepEqual(job.attempts, [2, 2]);
  job.on({ kind: 'prepared', task: 'v0.0', attempt: 2 });
  job.on({ kind: 'prepared', task: 'v1.0', attempt: 2 });
  const deploys = job.on({ kind: 'slotAdded', slot: 'w/2' });
  assert.deepEqual(
    deploys.map((effect) => effect.kind === 'deploy' && effect.slot),
    ['w/2', 'w/2'],
  );
});

test('a task that is done and has not heard of it may fail: nothing restarts', () => {
  const job = new SmallJob().start();
  job.task({ kind: 'finished', task: 'v0.0', attempt: 1, position: sent(5) });
  job.task({ kind: 'finished', task: 'v1.0', attempt: 1, position: read(5, true) });
  job.on({ kind: 'published', checkpoint: 1 });
  assert.deepEqual(kinds(job.fails('v0.0', 1)), []);
  assert.deepEqual(job.attempts, [1, 1]);
  assert.deepEqual(kinds(job.task({ kind: 'done', task: 'v1.0', attempt: 1 })), ['release', 'ended']);
});
