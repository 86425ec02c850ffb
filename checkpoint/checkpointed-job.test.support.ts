import { deepEqual } from 'node:assert/strict';
import { type Random, silentLogger } from '../base/index.js';
import { segmentObjectName } from './blob/blob-name.js';
import type { BlobStore } from './blob/blob-store.js';
import { CheckpointStore } from './checkpoint-store.js';
import type { Manifest, SegmentRef, TaskSnapshot } from './manifest.js';
import { LiveEntries } from './segment/live-entries.js';
import { SegmentBuilder } from './segment/segment-builder.js';
import { describeSegment } from './segment/stored-segment.js';

const groupsPerTask = 8;
const states = ['counts', 'names'];

/** By `task/key group/state/key`. */
export type Contents = Map<string, string>;

export const breathe = async () => {};

/** A job without an engine: tasks with keyed state that change at random, checkpointed as a job does, and a model of it all. */
export class CheckpointedJob {
  readonly store: BlobStore;
  readonly checkpoints: CheckpointStore;
  /** What each checkpoint ever published holds. */
  readonly contents = new Map<number, Contents>();
  readonly #random: Random;
  readonly #tasks: readonly string[];
  readonly #valueBytes: number;
  #live: Contents;

  private constructor(store: BlobStore, checkpoints: CheckpointStore, options: JobOptions) {
    this.store = store;
    this.checkpoints = checkpoints;
    this.#random = options.random;
    this.#tasks = Array.from({ length: options.tasks ?? 2 }, (_, i) => `task-${i}`);
    this.#valueBytes = options.valueBytes ?? 20;
    this.#live = new Map(options.from ?? []);
  }

  static async start(store: BlobStore, options: JobOptions): Promise<CheckpointedJob> {
    const { random, retained = 3, headBytesMax = 100_000 } = options;
    const open = { store, random: random.fork(), logger: silentLogger(), retained, headBytesMax };
    const checkpoints = await CheckpointStore.open(open);
    await checkpoints.takeOver();
    return new CheckpointedJob(store, checkpoints, options);
  }

  /** Changes so many entries of each task, and makes a checkpoint of it. */
  async checkpoint(options: { readonly changes?: number; readonly inline?: boolean } = {}): Promise<Manifest> {
    const { changes = 20, inline = false } = options;
    const { latest, epoch } = this.checkpoints;
    const checkpointId = (latest?.checkpointId ?? 0) + 1;
    const tasks: TaskSnapshot[] = [];
    const live = new Map(this.#live);
    for (const [at, task] of this.#tasks.entries()) {
      const before = latest?.tasks.find((t) => t.task === task)?.segments ?? [];
      const bytes = this.#delta(live, task, at, checkpointId, changes, before.length === 0);
      const object = inline ? '' : segmentObjectName(epoch, checkpointId, 'host', this.#random.nonce());
      if (!inline) await this.store.put(object, bytes);
      const ref: SegmentRef = {
        ...describeSegment(bytes),
        object,
        offset: 0,
        deltas: 1,
        ...(inline ? { inline: Buffer.from(bytes).toString('base64') } : {}),
      };
      tasks.push({ task, finished: false, segments: [...before, ref], position: `{"at":${checkpointId}}` });
    }
    const manifest: Manifest = { format: 2, checkpointId, epoch, tasks, meta: 'a job', final: false };
    await this.checkpoints.publish(manifest);
    this.#live = live;
    this.contents.set(checkpointId, live);
    return manifest;
  }

  #delta(live: Contents, task: string, at: number, checkpointId: number, changes: number, full: boolean): Uint8Array {
    const first = at * groupsPerTask;
    const range = { first, last: first + groupsPerTask - 1 };
    const changed = new Map<string, { keyGroup: number; state: number; key: string; value: string | undefined }>();
    for (let i = 0; i < changes; i++) {
      const keyGroup = first + this.#random.below(groupsPerTask);
      const state = this.#random.below(states.length);
      const key = `k${this.#random.below(50)}`;
      const removed = !full && this.#random.chance(0.2);
      const value = removed ? undefined : this.#random.nonce().repeat(Math.ceil(this.#valueBytes / 16));
      const name = nameOf(task, keyGroup, states[state] as string, key);
      changed.set(name, { keyGroup, state, key, value });
      if (value === undefined) live.delete(name);
      else live.set(name, value);
    }
    const meta = Uint8Array.of(1, 0, 0);
    const builder = new SegmentBuilder({
      checkpointId,
      full,
      range,
      states: states.map((name) => ({
        name,
        meta,
        value: name === 'names' ? Buffer.from(`${checkpointId}`) : undefined,
      })),
    });
    const entries = [...changed.values()].sort(
      (a, b) => a.keyGroup - b.keyGroup || a.state - b.state || (a.key < b.key ? -1 : 1),
    );
    const none = new Uint8Array(0);
    for (const { keyGroup, state, key, value } of entries) {
      builder.add(keyGroup, state, Buffer.from(key), none, Buffer.from(value ?? ''), value === undefined);
    }
    return builder.finish().bytes;
  }
}

export interface JobOptions {
  readonly random: Random;
  readonly tasks?: number;
  readonly retained?: number;
  readonly headBytesMax?: number;
  readonly valueBytes?: number;
  /** What it was restored with. */
  readonly from?: Contents;
}

/** What a checkpoint holds, read as a restore would. */
export async function contentsOf(store: BlobStore, manifest: Manifest): Promise<Contents> {
  const found: Contents = new Map();
  for (const { task, segments } of manifest.tasks) {
    const entries = await LiveEntries.open(store, segments, { breathe });
    const { cursor } = entries;
    for await (const _ of entries.blocks()) {
      while (cursor.next()) {
        const key = Buffer.from(cursor.key).toString();
        const state = entries.states[entries.state]?.name ?? '?';
        found.set(nameOf(task, cursor.keyGroup, state, key), Buffer.from(cursor.payload).toString());
      }
    }
  }
  return found;
}

export async function assertHolds(store: BlobStore, manifest: Manifest, contents: Contents | undefined): Promise<void> {
  const sorted = (map: Contents) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  deepEqual(sorted(await contentsOf(store, manifest)), sorted(contents ?? new Map()));
}

function nameOf(task: string, keyGroup: number, state: string, key: string): string {
  return `${task}/${keyGroup}/${state}/${key}`;
}
