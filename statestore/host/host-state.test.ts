import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { seededRandom, silentLogger } from '../../base/index.js';
import {
  CountedBlobStore,
  describeSegment,
  MemoryBlobStore,
  SegmentBuilder,
  type SegmentRef,
} from '../../checkpoint/index.js';
import { ABSENT, FOUND } from '../view/cold-state.js';
import { StateView } from '../view/state-view.js';
import type { Line } from './base-record.js';
import { HostState, type OperatorSegment } from './host-state.js';
import { Machine } from './machine.test.support.js';
import { StepClock } from './state-world.test.support.js';

const keyGroups = 4;
const all = { first: 0, last: keyGroups - 1 };
const operators = ['v1', 'v2'];
const none = new Uint8Array(0);
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
/** Two tasks of each operator, two key groups each, one key in each of these. */
const tasks = operators.flatMap((operator) => [0, 2].map((first) => ({ operator, first, last: first + 1 })));
type Values = ReadonlyMap<string, string>;

interface Checkpoint {
  readonly line: Line;
  readonly values: Values;
  /** By task, as in `tasks`. */
  readonly segments: readonly (readonly SegmentRef[])[];
}

/** A job whose leader tells a host of its checkpoints, or fails to. */
class Job {
  readonly #machine = new Machine();
  readonly #blobs = new CountedBlobStore(new MemoryBlobStore());
  readonly #random: ReturnType<typeof seededRandom>;
  host: HostState;
  #epoch = 1;
  #id = 0;
  #values = new Map<string, string>();
  #changed = new Set<string>();
  /** HEAD, newest first. */
  #kept: Checkpoint[] = [];
  /** Whether the host hears how a checkpoint ended. */
  hears = (): boolean => true;
  /** Whether HEAD moves before the host gets to anything. */
  isSlow = false;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.host = this.#open();
  }

  /** Requests for what is in checkpoints. */
  get reads(): number {
    return this.#blobs.counts.get.requests;
  }

  set(operator: string, keyGroup: number, value: string | undefined): void {
    const name = `${operator}/${keyGroup}`;
    if (value === undefined) this.#values.delete(name);
    else this.#values.set(name, value);
    this.#changed.add(name);
  }

  /** `ends`: what becomes of it. Tasks that have not changed hold nothing, unless they never have. */
  async checkpoint(ends: 'completed' | 'aborted'): Promise<void> {
    const line = { checkpointId: ++this.#id, epoch: this.#epoch };
    const latest = this.#kept[0];
    const stored: OperatorSegment[] = [];
    const segments: (readonly SegmentRef[])[] = [];
    for (const [i, { operator, first, last }] of tasks.entries()) {
      const before = latest?.segments[i] ?? [];
      const has = [first, last].some((keyGroup) => this.#changed.has(`${operator}/${keyGroup}`));
      if (!has && before.length > 0) {
        segments.push(before);
        continue;
      }
      const segment = this.#segment(operator, first, last, line.checkpointId, before.length === 0);
      const described = describeSegment(segment);
      const object = `segments/${line.epoch}-${line.checkpointId}-h-${i}`;
      await this.#blobs.put(object, segment);
      void this.host.hold(operator, segment);
      stored.push({ operator, first, last, checksum: described.checksum });
      segments.push([...before, { ...described, object, offset: 0, deltas: 1 }]);
    }
    // The host itself stores them.
    const told = stored.length === 0 || this.host.stored(line.checkpointId, line.epoch, stored);
    if (!this.isSlow) await told;
    if (ends === 'completed') {
      this.#kept = [{ line, values: new Map(this.#values), segments }, ...this.#kept].slice(0, 2);
      this.#changed.clear();
      if (this.hears()) void this.host.completed(line.checkpointId, line.epoch);
    } else if (this.hears()) void this.host.aborted(line.checkpointId);
    await this.host.idle();
  }

  /** Another leader, which may go back to an older checkpoint; tasks begin again from there. */
  takeOver(back: boolean): void {
    this.#epoch++;
    if (back && this.#kept.length > 1) this.#kept.shift();
    this.#restart();
    this.#id = this.#kept[0]?.line.checkpointId ?? 0;
  }

  async crash(powerCut: boolean): Promise<void> {
    this.#machine.restart({ powerCut });
    if (powerCut) this.#boot++;
    this.host = this.#open();
    this.takeOver(false);
  }
  #boot = 1;

  /** What the host shows is HEAD's newest checkpoint, or an older one that it was told of last. @returns whether it is HEAD's. */
  async check(): Promise<boolean> {
    for (const operator of operators) {
      const description = await this.host.describe(operator);
      ok(description !== undefined);
      const shown = this.#kept.find(
        ({ line }) => line.checkpointId === description.line.checkpointId && line.epoch === description.line.epoch,
      );
      if (shown === undefined && this.#kept.length > 0) return false;
      const { files, bases } = this.#machine.process();
      const view = await StateView.open(description, { files, bases, range: all });
      const table = view.table('state');
      for (let keyGroup = 0; keyGroup < keyGroups; keyGroup++) {
        const answer = table.find(keyGroup, bytes('key'), none);
        if (answer !== FOUND && answer !== ABSENT) continue;
        const found = answer === FOUND ? Buffer.from(table.bytes.slice(table.start, table.end)).toString() : undefined;
        equal(found, shown?.values.get(`${operator}/${keyGroup}`), `${operator}, key group ${keyGroup}`);
      }
      const isLocal = view.isLocal;
      await view.close();
      if (shown !== this.#kept[0] || !isLocal) return false;
    }
    return true;
  }

  #restart(): void {
    this.#values = new Map(this.#kept[0]?.values);
    this.#changed.clear();
  }

  #open(): HostState {
    return new HostState({
      ...this.#machine.process(),
      root: '/state',
      bootId: `boot-${this.#boot}`,
      clock: new StepClock(),
      random: this.#random.fork(),
      logger: silentLogger(),
      keyGroups,
      store: this.#blobs,
      owner: 'host',
      settings: { segmentsMax: 2, transactionEntriesMax: 3 },
      readHead: async () => {
        const parts = operators.map((operator) => {
          const own = tasks.flatMap(({ operator: of, first, last }, i) =>
            of === operator ? [{ range: { first, last }, segments: this.#kept[0]?.segments[i] ?? [] }] : [],
          );
          return [operator, own] as const;
        });
        const kept = this.#kept.map(({ line }) => line);
        return { epoch: this.#epoch, latest: kept[0], kept, parts: new Map(this.#kept.length === 0 ? [] : parts) };
      },
    });
  }

  #segment(operator: string, first: number, last: number, checkpointId: number, full: boolean): Uint8Array {
    const states = [{ name: 'state', meta: Uint8Array.of(1), value: undefined }];
    const builder = new SegmentBuilder({ checkpointId, full, range: { first, last }, states });
    for (const keyGroup of [first, last]) {
      const value = this.#values.get(`${operator}/${keyGroup}`);
      const isWanted = full ? value !== undefined : this.#changed.has(`${operator}/${keyGroup}`);
      if (isWanted) builder.add(keyGroup, 0, bytes('key'), none, bytes(value ?? ''), value === undefined);
    }
    return builder.finish().bytes;
  }
}

test('a host shows each completed checkpoint, of tasks that changed and of those that did not', async () => {
  const job = new Job(1);
  ok(await job.check());
  job.set('v1', 0, 'a');
  await job.checkpoint('completed');
  ok(await job.check());
  for (let i = 0; i < 7; i++) {
    job.set('v1', i % 3, `b${i}`);
    await job.checkpoint(i % 3 === 1 ? 'aborted' : 'completed');
    ok(await job.check(), `after checkpoint ${i + 2}`);
  }
  const description = await job.host.describe('v1');
  ok((description?.segments.length ?? 9) < 4, 'it folds');
  equal(job.reads, 0, 'nothing was fetched: it was all here');
  await job.host.close();
});

test('a host that was not told how a checkpoint ended shows no state that is none', async () => {
  const job = new Job(1);
  job.set('v1', 0, 'a');
  await job.checkpoint('completed');
  job.hears = () => false;
  job.set('v1', 0, 'b');
  job.set('v2', 1, 'b');
  await job.checkpoint('completed');
  job.hears = () => true;
  job.set('v2', 2, 'c');
  for (let i = 0; i < 3; i++) await job.checkpoint('completed');
  ok(await job.check());
  await job.host.close();
});

test('a host goes back with a new leader, and fetches nothing', async () => {
  const job = new Job(1);
  ok(await job.check());
  for (const value of ['a', 'b', 'c']) {
    for (const operator of operators) job.set(operator, 2, value);
    await job.checkpoint('completed');
  }
  job.takeOver(true);
  job.set('v1', 3, 'd');
  await job.checkpoint('completed');
  ok(await job.check());
  equal(job.reads, 0);
  await job.host.close();
});

type Command =
  | { readonly do: 'set'; readonly operator: string; readonly keyGroup: number; readonly value: string | undefined }
  | { readonly do: 'checkpoint'; readonly ends: 'completed' | 'aborted'; readonly deaf: number }
  | { readonly do: 'takeOver'; readonly back: boolean }
  | { readonly do: 'crash'; readonly powerCut: boolean };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('set' as const),
      operator: fc.constantFrom(...operators),
      keyGroup: fc.nat(keyGroups - 1),
      value: fc.option(fc.string({ maxLength: 4 }), { nil: undefined }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('checkpoint' as const),
      ends: fc.constantFrom('completed' as const, 'completed' as const, 'aborted' as const),
      // At 0 the host does not hear how it ended.
      deaf: fc.nat(4),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('takeOver' as const), back: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), powerCut: fc.boolean() }) },
);

test('whatever is not heard, taken over, rolled back or killed: what a host shows is the checkpoint it says it is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 40 }), fc.nat(), async (commands, seed) => {
      const job = new Job(seed);
      for (const command of commands) {
        if (command.do === 'set') job.set(command.operator, command.keyGroup, command.value);
        else if (command.do === 'takeOver') job.takeOver(command.back);
        else if (command.do === 'crash') await job.crash(command.powerCut);
        else {
          job.hears = () => command.deaf > 0;
          job.isSlow = command.deaf === 1;
          await job.checkpoint(command.ends);
          job.hears = () => true;
          await job.check();
        }
      }
      // Once it hears of everything again, it has everything again.
      for (let i = 0; i < 3; i++) {
        job.set('v1', i, 'end');
        job.set('v2', i, 'end');
        await job.checkpoint('completed');
      }
      deepEqual(await job.check(), true);
      await job.host.close();
    }),
    { numRuns: 150 },
  );
});
