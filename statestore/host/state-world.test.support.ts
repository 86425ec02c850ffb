import { deepEqual, equal, ok } from 'node:assert/strict';
import { type Clock, type Random, seededRandom, silentLogger } from '../../base/index.js';
import {
  describeSegment,
  hasCode,
  type KeyGroups,
  MemoryBlobStore,
  SegmentBuilder,
  type SegmentRef,
} from '../../checkpoint/index.js';
import { ABSENT, AWAY, FOUND } from '../view/cold-state.js';
import { type RemotePart, RemoteState } from '../view/remote-state.js';
import { StateView } from '../view/state-view.js';
import { type Line, sameLine, within } from './base-record.js';
import { Machine } from './machine.test.support.js';
import { StateFolder } from './state-folder.js';

export const keyGroups = 8;
const whole: KeyGroups = { first: 0, last: keyGroups - 1 };
const states = ['b-state', 'a-state'];
const keys = ['', 'k', 'kk', 'a key that is rather long, longer than those of a record in a table'];
const subs = ['', 's'];
const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

interface Name {
  readonly keyGroup: number;
  readonly state: string;
  readonly key: string;
  readonly sub: string;
}

/** Everything there can be, in the order of entries. */
const universe: readonly Name[] = Array.from({ length: keyGroups }, (_, keyGroup) =>
  [...states]
    .sort()
    .flatMap((state) => [...keys].sort().flatMap((key) => subs.map((sub) => ({ keyGroup, state, key, sub })))),
).flat();

/** By position in `universe`. */
type Values = ReadonlyMap<number, string>;

interface Checkpoint {
  readonly line: Line;
  readonly values: Values;
  /** What the manifest has, by task. */
  readonly parts: readonly RemotePart[];
}

interface Pending {
  readonly checkpointId: number;
  readonly stamp: number;
  readonly values: Values;
  readonly segments: readonly { readonly task: Task; readonly ref: SegmentRef; readonly full: boolean }[];
}

interface Task {
  readonly range: KeyGroups;
  /** Of the newest completed checkpoint, oldest first. */
  segments: readonly SegmentRef[];
}

/** A view that somebody keeps, and what it must show. */
interface KeptView {
  readonly view: StateView;
  values: Values;
  line: Line;
}

/**
 * A job with one operator, whose tasks change values, take checkpoints and die, on a host with one state folder: and what
 * must be seen of it. The reference is plain maps, copied at each completed checkpoint.
 */
export class StateWorld {
  readonly machine = new Machine();
  readonly clock = new StepClock();
  readonly #random: Random;
  readonly #blobs = new MemoryBlobStore();
  #folder: StateFolder | undefined;
  #boots = 1;
  #epoch = 1;
  #checkpointId = 0;
  #tasks: Task[] = [];
  #values = new Map<number, string>();
  /** When each value was changed last, in barriers. */
  #stamps = new Map<number, number>();
  #stamp = 1;
  #completedStamp = 0;
  #pending: Pending[] = [];
  /** Kept in HEAD, newest first. */
  #kept: Checkpoint[] = [];
  #objects = 0;
  readonly #views: KeptView[] = [];

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.#newTasks(1);
  }

  get folder(): StateFolder {
    if (this.#folder === undefined) throw new Error('the folder is not open');
    return this.#folder;
  }

  get latest(): Line | undefined {
    return this.#kept[0]?.line;
  }

  /** Opens the folder, as the daemon does when it starts. */
  async open(): Promise<void> {
    this.#folder = await StateFolder.open({
      root: '/state',
      ...this.machine.process(),
      clock: this.clock,
      random: this.#random.fork(),
      logger: silentLogger(),
      bootId: `boot-${this.#boots}`,
      history: { latest: this.latest, kept: this.#kept.map(({ line }) => line) },
      parts: this.#kept[0]?.parts ?? [],
      settings: { transactionEntriesMax: 3, segmentsMax: 3 },
    });
    if (this.latest === undefined) await this.#folder.startEmpty(whole);
  }

  /** The daemon dies. Tasks start again from the newest completed checkpoint. */
  async crash(powerCut: boolean): Promise<void> {
    for (const { view } of this.#views.splice(0)) await view.close();
    this.machine.restart({ powerCut });
    if (powerCut) this.#boots++;
    this.#folder = undefined;
    this.#resume();
    await this.open();
  }

  change(times: number): void {
    for (let i = 0; i < times; i++) {
      const at = this.#random.below(universe.length);
      if (this.#random.chance(0.3)) this.#values.delete(at);
      else this.#values.set(at, 'v'.repeat(this.#random.below(300)) + String(this.#random.below(1000)));
      this.#stamps.set(at, this.#stamp);
    }
  }

  /** Tasks take a snapshot; `lost`: of one of them it does not reach this host's folder, though it is stored. */
  async barrier(lost: boolean): Promise<void> {
    const checkpointId = ++this.#checkpointId;
    const segments: Pending['segments'][number][] = [];
    const loser = lost ? this.#random.below(this.#tasks.length) : -1;
    for (const [i, task] of this.#tasks.entries()) {
      const full = task.segments.length === 0 || this.#random.chance(0.1);
      const bytes = this.#segment(task.range, checkpointId, full);
      const object = `segments/${this.#epoch}-${checkpointId}-h-${this.#objects++}`;
      await this.#blobs.put(object, bytes);
      segments.push({ task, full, ref: { ...describeSegment(bytes), object, offset: 0, deltas: 1 } });
      if (i !== loser) await this.folder.hold(bytes);
    }
    this.#pending.push({ checkpointId, stamp: this.#stamp, values: new Map(this.#values), segments });
    this.#stamp++;
  }

  /** HEAD moves. `told`: the folder hears of it. */
  async complete(which: number, told: boolean): Promise<void> {
    const at = which % Math.max(1, this.#pending.length);
    const pending = this.#pending[at];
    if (pending === undefined) return;
    this.#pending.splice(0, at + 1);
    this.#completedStamp = pending.stamp;
    for (const { task, ref, full } of pending.segments) task.segments = full ? [ref] : [...task.segments, ref];
    const line = { checkpointId: pending.checkpointId, epoch: this.#epoch };
    const parts = this.#tasks.map(({ range, segments }) => ({ range, segments }));
    this.#kept = [{ line, values: pending.values, parts }, ...this.#kept].slice(0, 3);
    const segments = pending.segments.map(({ task, ref }) => ({ ...task.range, checksum: ref.checksum }));
    if (told) await this.folder.completed(line, segments);
  }

  async abort(which: number): Promise<void> {
    const [pending] = this.#pending.splice(which % Math.max(1, this.#pending.length), 1);
    if (pending !== undefined) await this.folder.aborted(pending.checkpointId);
  }

  /** The job goes on without this host for some checkpoints; then its tasks come back. */
  async elsewhere(checkpoints: number): Promise<void> {
    this.#pending = [];
    for (let i = 0; i < checkpoints; i++) {
      this.change(4);
      const checkpointId = ++this.#checkpointId;
      const segments: Pending['segments'][number][] = [];
      for (const task of this.#tasks) {
        const full = task.segments.length === 0;
        const bytes = this.#segment(task.range, checkpointId, full);
        const object = `segments/${this.#epoch}-${checkpointId}-h-${this.#objects++}`;
        await this.#blobs.put(object, bytes);
        segments.push({ task, full, ref: { ...describeSegment(bytes), object, offset: 0, deltas: 1 } });
      }
      this.#pending.push({ checkpointId, stamp: this.#stamp++, values: new Map(this.#values), segments });
      await this.complete(0, false);
    }
    await this.crash(false);
  }

  /** The leader goes back to an older checkpoint. */
  async rollBack(which: number): Promise<void> {
    if (this.#kept.length === 0) return;
    this.#kept.splice(0, which % this.#kept.length);
    this.#epoch++;
    this.#checkpointId = this.#kept[0]?.line.checkpointId ?? 0;
    await this.crash(false);
  }

  /** A new leader takes over; ids go on from the newest checkpoint. */
  async takeOver(): Promise<void> {
    this.#epoch++;
    this.#checkpointId = this.#kept[0]?.line.checkpointId ?? 0;
    await this.crash(false);
  }

  /** As many tasks as that, of other key groups, from the newest checkpoint. */
  rescale(tasks: number): void {
    this.#resume();
    this.#newTasks(tasks);
  }

  /** Everything that is not on this host is fetched. */
  async hydrate(): Promise<void> {
    const remote = this.remote();
    if (remote !== undefined) await this.folder.hydrate(whole, remote);
  }

  remote(): RemoteState | undefined {
    const [latest] = this.#kept;
    return latest && new RemoteState({ store: this.#blobs, line: latest.line, parts: latest.parts });
  }

  /** Views of whole and parts, of what the folder describes now, show the checkpoint that it is of. */
  async check(): Promise<void> {
    const description = this.folder.describe();
    const latest = this.#kept[0];
    if (!sameLine(description.line, latest?.line ?? { checkpointId: 0, epoch: 0 })) return;
    const values = latest?.values ?? new Map();
    for (const range of [whole, { first: 2, last: 5 }]) {
      const remote = this.remote();
      for (const withRemote of [false, true]) {
        const { files, bases } = this.machine.process();
        const options = { files, bases, range, indexBytesMax: this.#random.chance(0.5) ? 0 : 2 ** 20 };
        const view = await StateView.open(
          description,
          withRemote && remote !== undefined ? { ...options, remote } : options,
        );
        while (this.#random.chance(0.7) && view.warm()) {}
        try {
          await checkView(view, values, withRemote, this.folder);
        } finally {
          await view.close();
        }
      }
    }
  }

  /** Somebody opens a view and keeps it while the world goes on. */
  async keepView(): Promise<void> {
    const description = this.folder.describe();
    const checkpoint = this.#kept.find(({ line }) => sameLine(line, description.line));
    if (checkpoint === undefined || this.#views.length > 2) return;
    const { files, bases } = this.machine.process();
    const view = await StateView.open(description, { files, bases, range: whole });
    this.#views.push({ view, values: checkpoint.values, line: checkpoint.line });
  }

  /** Kept views still show what they showed; then some go on. */
  async checkKeptViews(): Promise<void> {
    for (const kept of this.#views) {
      await checkView(kept.view, kept.values, false, undefined);
      const description = this.folder.describe();
      const checkpoint = this.#kept.find(({ line }) => sameLine(line, description.line));
      if (checkpoint === undefined || this.#random.chance(0.5)) continue;
      try {
        kept.view.advance(description);
      } catch (thrown) {
        // The folder has lost something since: the view goes on to show it.
        if (!hasCode(thrown, 'VIEW_PASSED')) throw thrown;
        continue;
      }
      kept.values = checkpoint.values;
      kept.line = checkpoint.line;
    }
  }

  async close(): Promise<void> {
    for (const { view } of this.#views) await view.close();
    await this.#folder?.close();
  }

  #resume(): void {
    const latest = this.#kept[0];
    this.#values = new Map(latest?.values);
    this.#stamps = new Map();
    this.#completedStamp = this.#stamp - 1;
    this.#pending = [];
    const parts = latest?.parts;
    if (parts === undefined) this.#newTasks(this.#tasks.length);
    else this.#tasks = parts.map(({ range, segments }) => ({ range, segments }));
  }

  #newTasks(count: number): void {
    this.#tasks = Array.from({ length: count }, (_, i) => ({
      range: { first: Math.floor((i * keyGroups) / count), last: Math.floor(((i + 1) * keyGroups) / count) - 1 },
      segments: [],
    }));
  }

  #segment(range: KeyGroups, checkpointId: number, full: boolean): Uint8Array {
    const sorted = [...states].sort();
    const builder = new SegmentBuilder({
      checkpointId,
      full,
      range,
      states: sorted.map((name) => ({ name, meta: Uint8Array.of(name.length), value: undefined })),
    });
    universe.forEach(({ keyGroup, state, key, sub }, at) => {
      if (within({ first: keyGroup, last: keyGroup }, range) === undefined) return;
      const value = this.#values.get(at);
      const changed = (this.#stamps.get(at) ?? 0) > this.#completedStamp;
      if (full ? value === undefined : !changed) return;
      builder.add(keyGroup, sorted.indexOf(state), utf8(key), utf8(sub), utf8(value ?? ''), value === undefined);
    });
    return builder.finish().bytes;
  }
}

async function checkView(
  view: StateView,
  values: Values,
  isComplete: boolean,
  folder: StateFolder | undefined,
): Promise<void> {
  const missing = folder?.missing(view.range) ?? [];
  const isMissing = (keyGroup: number) =>
    missing.some((range) => within(range, { first: keyGroup, last: keyGroup }) !== undefined);
  const away = new Set<number>();
  for (const [at, { keyGroup, state, key, sub }] of universe.entries()) {
    if (keyGroup < view.range.first || keyGroup > view.range.last) continue;
    if (isComplete) await view.ready(keyGroup, utf8(key));
    const table = view.table(state);
    const answer = table.find(keyGroup, utf8(key), utf8(sub));
    if (answer === AWAY) {
      ok(!isComplete && (folder === undefined || isMissing(keyGroup)), `key group ${keyGroup} is away`);
      away.add(keyGroup);
      continue;
    }
    const found = answer === FOUND ? Buffer.from(table.bytes.slice(table.start, table.end)).toString() : undefined;
    if (answer !== FOUND) equal(answer, ABSENT);
    equal(found, values.get(at), `${state} ${key}/${sub} of key group ${keyGroup} at ${view.line.checkpointId}`);
    if (found !== undefined) deepEqual([...table.meta], [state.length]);
  }
  if (isComplete) ok(view.isLocal || missing.length > 0);
  if (away.size > 0) return;
  const expected = universe.flatMap((name, at) =>
    name.keyGroup >= view.range.first && name.keyGroup <= view.range.last && values.has(at)
      ? [`${name.keyGroup} ${name.state} ${name.key} ${name.sub} ${values.get(at)}`]
      : [],
  );
  const walked: string[] = [];
  for await (const { keyGroup, state, key, sub, payload } of view.entries()) {
    const texts = [key, sub, payload].map((bytes) => Buffer.from(bytes).toString());
    walked.push(`${keyGroup} ${state} ${texts.join(' ')}`);
  }
  deepEqual(walked, expected);
  const [name] = universe.filter(({ keyGroup }) => keyGroup === view.range.first);
  if (name === undefined) return;
  const ofKey: string[] = [];
  for (const { sub, payload } of view.entriesOf(name.state, name.keyGroup, utf8(name.key))) {
    ofKey.push([sub, payload].map((bytes) => Buffer.from(bytes).toString()).join(' '));
  }
  const expectedOfKey = universe.flatMap((other, at) =>
    other.keyGroup === name.keyGroup && other.state === name.state && other.key === name.key && values.has(at)
      ? [`${other.sub} ${values.get(at)}`]
      : [],
  );
  deepEqual(ofKey, expectedOfKey);
}

/** Time passes only when somebody waits; every wait is an opportunity for others. */
export class StepClock implements Clock {
  #now = 0;
  /** Called at each wait, before it ends. */
  onWait: (() => Promise<void>) | undefined;

  now(): number {
    return this.#now;
  }

  monotonicMs(): number {
    return ++this.#now;
  }

  schedule(_delayMs: number, fn: () => void): { cancel(): void } {
    const { onWait } = this;
    if (onWait === undefined) setImmediate(fn);
    else onWait().then(fn, fn);
    return { cancel() {} };
  }

  soon(fn: () => void): void {
    setImmediate(fn);
  }
}
