import { type Random, silentLogger, systemRandom } from '../../base/index.js';
import {
  applyCompaction,
  type BlobStore,
  CheckpointStore,
  compact,
  type Manifest,
  planCompaction,
  type Reservation,
  SegmentBuilder,
  type SegmentBytes,
  SegmentHome,
  type SegmentRef,
} from '../../checkpoint/index.js';

export const ENTRY_BYTES = 100;
const KEY_BYTES = 20;
const KEY_GROUPS = 128;
const STATE = { name: 'counts', meta: Uint8Array.of(1), value: undefined };

/** Keyed state of a job with some tasks, as far as a checkpoint store sees it: sorted entries of 100 bytes, key and value. */
export class SyntheticState {
  readonly entries: number;
  readonly tasks: readonly { readonly task: string; readonly first: number; readonly last: number }[];
  readonly #random: Random;
  readonly entryBytes: number;

  constructor(options: { entries: number; tasks: number; random: Random; entryBytes?: number }) {
    const { entries, tasks, random } = options;
    this.entries = entries;
    this.#random = random;
    this.entryBytes = options.entryBytes ?? ENTRY_BYTES;
    const each = KEY_GROUPS / tasks;
    this.tasks = Array.from({ length: tasks }, (_, i) => ({
      task: `task-${i}`,
      first: i * each,
      last: (i + 1) * each - 1,
    }));
  }

  /** A segment of one task with this share of its entries, chosen at random, each with a new value. */
  segment(task: number, checkpointId: number, share: number): SegmentBytes {
    const { first, last } = this.tasks[task] as { first: number; last: number };
    const perGroup = Math.ceil(this.entries / KEY_GROUPS);
    const builder = new SegmentBuilder({
      checkpointId,
      full: share === 1,
      range: { first, last },
      states: [STATE],
      capacity: Math.ceil(perGroup * (last - first + 1) * share * (this.entryBytes + 8)),
    });
    const valueBytes = this.entryBytes - KEY_BYTES;
    for (let group = first; group <= last; group++) {
      // Gaps between changed entries: so the choice is sorted already.
      for (let at = this.#gap(share); at < perGroup; at += 1 + this.#gap(share)) {
        builder.begin(group, 0, KEY_BYTES, 0, valueBytes, false);
        const { writer } = builder;
        writer.u32be(group);
        writer.u32be(0);
        writer.u32be(0);
        writer.u32be(0);
        writer.u32be(at);
        const word = this.#random.u32();
        for (let i = 0; i + 4 <= valueBytes; i += 4) writer.u32(word ^ (i * 2654435761));
      }
    }
    return builder.finish();
  }

  #gap(share: number): number {
    return share === 1 ? 0 : Math.floor(Math.log(1 - this.#random.float()) / Math.log(1 - share));
  }
}

/** A job that takes checkpoints: tasks on hosts, a leader, merges in between. */
export class SyntheticJob {
  readonly checkpoints: CheckpointStore;
  readonly #homes: readonly SegmentHome[];
  readonly #store: BlobStore;
  readonly #state: SyntheticState;
  readonly #segments: SegmentRef[][];
  #checkpointId = 0;
  #merged: Reservation | undefined;

  private constructor(store: BlobStore, state: SyntheticState, hosts: number, checkpoints: CheckpointStore) {
    this.#store = store;
    this.#state = state;
    this.checkpoints = checkpoints;
    this.#homes = Array.from(
      { length: hosts },
      (_, i) => new SegmentHome({ store, random: systemRandom(), host: `host-${i}` }),
    );
    this.#segments = state.tasks.map(() => []);
  }

  static async start(store: BlobStore, state: SyntheticState, hosts = 1): Promise<SyntheticJob> {
    const checkpoints = await CheckpointStore.open({ store, random: systemRandom(), logger: silentLogger() });
    await checkpoints.takeOver();
    return new SyntheticJob(store, state, hosts, checkpoints);
  }

  /** Hosts hold what changed since the last checkpoint; not part of its time. @returns bytes of the changed entries. */
  change(share: number): number {
    this.#checkpointId++;
    let changed = 0;
    this.#state.tasks.forEach(({ task }, i) => {
      const { bytes, entries } = this.#state.segment(i, this.#checkpointId, share);
      this.#hostOf(i).hold(task, 1, this.#checkpointId, bytes);
      changed += entries * this.#state.entryBytes;
    });
    return changed;
  }

  /** From held segments to HEAD. */
  async complete(): Promise<void> {
    const { epoch } = this.checkpoints;
    const checkpointId = this.#checkpointId;
    const tasksOf = (home: SegmentHome) =>
      this.#state.tasks.filter((_, i) => this.#hostOf(i) === home).map(({ task }) => ({ task, attempt: 1 }));
    const persisted = await Promise.all(this.#homes.map((home) => home.persist(checkpointId, epoch, tasksOf(home))));
    const refs = new Map(persisted.flatMap((of) => [...of]));
    const tasks = this.#state.tasks.map(({ task }, i) => {
      const added = refs.get(task) as SegmentRef;
      const segments = added.full ? [added] : [...(this.#segments[i] as SegmentRef[]), added];
      this.#segments[i] = segments;
      return { task, finished: false, segments, position: '{}' };
    });
    const manifest: Manifest = { format: 2, checkpointId, epoch, tasks, meta: '', final: false };
    await this.checkpoints.publish(manifest);
  }

  /** What runs between checkpoints: hosts let go, dead objects go, and what is due is merged; the next one brings it in. */
  async settle(): Promise<void> {
    for (const home of this.#homes) home.completed(this.#checkpointId, this.checkpoints.epoch);
    await this.checkpoints.collect();
    this.#merged?.release();
    this.#merged = await this.#merge();
  }

  async #merge(): Promise<Reservation | undefined> {
    let reservation: Reservation | undefined;
    for (const [i, segments] of this.#segments.entries()) {
      const plan = planCompaction(segments);
      if (plan === undefined) continue;
      reservation ??= this.checkpoints.reserve();
      const { epoch, checkpointId } = reservation;
      const breathe = async () => {};
      const outputs = await compact(this.#store, plan, {
        epoch,
        checkpointId,
        host: 'h',
        random: systemRandom(),
        breathe,
      });
      this.#segments[i] = applyCompaction(segments, plan.inputs, outputs) as SegmentRef[];
    }
    return reservation;
  }

  #hostOf(task: number): SegmentHome {
    return this.#homes[task % this.#homes.length] as SegmentHome;
  }
}
