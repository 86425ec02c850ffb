import { throwIfStopped } from '../base/index.js';
import type { BlobStore } from './blob/blob-store.js';
import type { Manifest, SegmentRef, TaskSnapshot } from './manifest.js';
import { LiveEntries, sortStates } from './segment/live-entries.js';
import { compareBytes } from './segment/segment-bytes.js';
import type { SegmentState } from './segment/segment-format.js';
import { segmentKey } from './verify.js';

/** A checkpoint and the store that has its segments. */
export interface CheckpointPlace {
  readonly store: BlobStore;
  readonly manifest: Manifest;
}

export interface EntryChange {
  readonly keyGroup: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  /** Undefined: added. */
  readonly before: Uint8Array | undefined;
  /** Undefined: removed. */
  readonly after: Uint8Array | undefined;
}

/** How one state of one task differs. Bytes are those of keys, sub keys and payloads. */
export interface StateDiff {
  readonly task: string;
  readonly state: SegmentState;
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  readonly addedBytes: number;
  /** As they are after. */
  readonly changedBytes: number;
  readonly removedBytes: number;
  /** The first ones. */
  readonly changes: readonly EntryChange[];
}

export interface DiffOptions {
  /** Changes kept of each state. Default 0. */
  readonly changesMax?: number;
  readonly signal?: AbortSignal;
  progress?(tasksDone: number, tasks: number): void;
  /** Lets others work, now and then. */
  breathe(): Promise<void>;
}

/**
 * Compares what two checkpoints restore to, task by task, state by state; states that are the same are left out. A task that
 * only one of them has is all added, or all removed. Operator values count as one entry with an empty key.
 * @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `SEGMENT_STATES`, `STORE_UNAVAILABLE`, `STOPPED`.
 */
export async function diffCheckpoints(
  before: CheckpointPlace,
  after: CheckpointPlace,
  options: DiffOptions,
): Promise<StateDiff[]> {
  const tasks = new Map<string, { before?: TaskSnapshot; after?: TaskSnapshot }>();
  for (const task of before.manifest.tasks) tasks.set(task.task, { before: task });
  for (const task of after.manifest.tasks) tasks.set(task.task, { ...tasks.get(task.task), after: task });
  const diffs: StateDiff[] = [];
  let done = 0;
  for (const [task, sides] of [...tasks].sort(([a], [b]) => (a < b ? -1 : 1))) {
    throwIfStopped(options.signal);
    const [old, now] = [sides.before?.segments ?? [], sides.after?.segments ?? []];
    const same = before.store === after.store && keysOf(old) === keysOf(now);
    if (!same) {
      const walk = new DiffWalk(
        await LiveEntries.open(before.store, old, options),
        await LiveEntries.open(after.store, now, options),
        options,
      );
      await walk.run();
      diffs.push(...walk.results(task));
    }
    options.progress?.(++done, tasks.size);
  }
  return diffs;
}

function keysOf(refs: readonly SegmentRef[]): string {
  return refs.map(segmentKey).join('\n');
}

type Tally = { -readonly [K in keyof Omit<StateDiff, 'task' | 'state' | 'changes'>]: number } & {
  readonly changes: EntryChange[];
};

/** Two sorted streams of entries, side by side. */
class DiffWalk {
  readonly #states: readonly SegmentState[];
  readonly #tallies: readonly Tally[];
  readonly #before: DiffSide;
  readonly #after: DiffSide;
  readonly #options: DiffOptions;

  constructor(before: LiveEntries, after: LiveEntries, options: DiffOptions) {
    const names = new Map([...before.states, ...after.states].map((state) => [state.name, state]));
    this.#states = sortStates([...names.values()]);
    const positions = new Map(this.#states.map(({ name }, at) => [name, at]));
    this.#tallies = this.#states.map(() => ({
      added: 0,
      changed: 0,
      removed: 0,
      addedBytes: 0,
      changedBytes: 0,
      removedBytes: 0,
      changes: [],
    }));
    this.#before = new DiffSide(before, positions);
    this.#after = new DiffSide(after, positions);
    this.#options = options;
    this.#values(before, after);
  }

  async run(): Promise<void> {
    const [before, after] = [this.#before, this.#after];
    if (!before.step()) await before.load();
    if (!after.step()) await after.load();
    for (let turn = 0; !before.over || !after.over; turn++) {
      if (turn % 4096 === 0) throwIfStopped(this.#options.signal);
      const order = before.over ? 1 : after.over ? -1 : before.compare(after);
      if (order < 0) this.#count(before, undefined);
      else if (order > 0) this.#count(undefined, after);
      else if (compareBytes(before.entries.cursor.payload, after.entries.cursor.payload) !== 0)
        this.#count(before, after);
      if (order <= 0 && !before.step()) await before.load();
      if (order >= 0 && !after.step()) await after.load();
    }
  }

  results(task: string): StateDiff[] {
    return this.#tallies.flatMap((tally, at) => {
      const state = this.#states[at] as SegmentState;
      return tally.added + tally.changed + tally.removed === 0 ? [] : [{ task, state, ...tally }];
    });
  }

  #values(before: LiveEntries, after: LiveEntries): void {
    const nothing = new Uint8Array(0);
    this.#states.forEach(({ name }, at) => {
      const old = before.states.find((state) => state.name === name)?.value;
      const now = after.states.find((state) => state.name === name)?.value;
      if (old === undefined && now === undefined) return;
      if (old !== undefined && now !== undefined && compareBytes(old, now) === 0) return;
      this.#tally(at, { keyGroup: 0, key: nothing, sub: nothing, before: old, after: now });
    });
  }

  #count(before: DiffSide | undefined, after: DiffSide | undefined): void {
    const side = (after ?? before) as DiffSide;
    const { keyGroup, key, sub } = side.entries.cursor;
    this.#tally(side.state, {
      keyGroup,
      key,
      sub,
      before: before?.entries.cursor.payload,
      after: after?.entries.cursor.payload,
    });
  }

  #tally(state: number, change: EntryChange): void {
    const tally = this.#tallies[state] as Tally;
    const { key, sub, before, after } = change;
    const bytes = key.length + sub.length + (after ?? before ?? key).length;
    const what = before === undefined ? 'added' : after === undefined ? 'removed' : 'changed';
    tally[what]++;
    tally[`${what}Bytes`] += bytes;
    if (tally.changes.length >= (this.#options.changesMax ?? 0)) return;
    // Views of blocks that go on.
    tally.changes.push({
      ...change,
      key: key.slice(),
      sub: sub.slice(),
      before: before?.slice(),
      after: after?.slice(),
    });
  }
}

/** One of the two streams. */
class DiffSide {
  readonly entries: LiveEntries;
  over = false;
  readonly #blocks: AsyncGenerator<void>;
  readonly #positions: readonly number[];
  #loaded = false;

  constructor(entries: LiveEntries, positions: ReadonlyMap<string, number>) {
    this.entries = entries;
    this.#blocks = entries.blocks();
    this.#positions = entries.states.map(({ name }) => positions.get(name) as number);
  }

  /** As both sides count states. */
  get state(): number {
    return this.#positions[this.entries.state] as number;
  }

  /** False when the next block must be loaded first. */
  step(): boolean {
    return this.#loaded && this.entries.cursor.next();
  }

  async load(): Promise<void> {
    do {
      this.#loaded = (await this.#blocks.next()).done !== true;
      this.over = !this.#loaded;
    } while (this.#loaded && !this.entries.cursor.next());
  }

  compare(other: DiffSide): number {
    const [a, b] = [this.entries.cursor, other.entries.cursor];
    return (
      a.keyGroup - b.keyGroup || this.state - other.state || compareBytes(a.key, b.key) || compareBytes(a.sub, b.sub)
    );
  }
}
