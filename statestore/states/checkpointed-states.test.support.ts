import { encodeKeyValues, hashKey, keyGroupOf, keyGroupRange, type Value } from '../../base/columnar/index.js';
import { seededRandom, silentLogger } from '../../base/index.js';
import {
  type BlobStore,
  CheckpointStore,
  collectGarbage,
  SegmentHome,
  type SegmentRef,
} from '../../checkpoint/index.js';
import { MemoryStateStore } from '../tables/memory-state-store.js';
import { KeyedStates } from './keyed-states.js';
import { OperatorStates } from './operator-states.js';
import type { KeyTypes } from './value-spec.js';

export const KEY_GROUPS = 16;

/** One subtask with what it writes to. */
export interface Task {
  readonly name: string;
  readonly store: MemoryStateStore;
  readonly keyed: KeyedStates;
  readonly operator: OperatorStates;
  segments: readonly SegmentRef[];
}

/** A job of some subtasks whose checkpoints are complete in a blob store, as the daemon and the scheduler make them so. */
export class CheckpointedStates {
  readonly tasks: readonly Task[];
  time = 1000;
  readonly #blobs: BlobStore;
  readonly #checkpoints: CheckpointStore;
  readonly #home: SegmentHome;
  readonly #key: KeyTypes;
  #epoch = 0;
  checkpoint = 0;

  private constructor(
    blobs: BlobStore,
    checkpoints: CheckpointStore,
    parallelism: number,
    key: KeyTypes,
    inlineBytesMax: number,
  ) {
    this.#blobs = blobs;
    this.#checkpoints = checkpoints;
    this.#key = key;
    this.#home = new SegmentHome({ store: blobs, random: seededRandom(7), host: 'h', inlineBytesMax });
    this.tasks = Array.from({ length: parallelism }, (_, subtask) => {
      const store = new MemoryStateStore(keyGroupRange(subtask, KEY_GROUPS, parallelism), {
        chainLengthMax: Number.POSITIVE_INFINITY,
      });
      const keyed = new KeyedStates({ store, prefix: 'n3/', key, now: () => this.time });
      const operator = new OperatorStates({ store, prefix: 'n3/', subtask, parallelism });
      return { name: `v1.${subtask}`, store, keyed, operator, segments: [] };
    });
  }

  static async open(
    blobs: BlobStore,
    parallelism: number,
    key: KeyTypes,
    options: { readonly retained?: number; readonly inlineBytesMax?: number } = {},
  ): Promise<CheckpointedStates> {
    const { retained = 1, inlineBytesMax = 0 } = options;
    const checkpoints = await CheckpointStore.open({
      store: blobs,
      random: seededRandom(8),
      logger: silentLogger(),
      retained,
    });
    const states = new CheckpointedStates(blobs, checkpoints, parallelism, key, inlineBytesMax);
    states.#epoch = await checkpoints.takeOver();
    return states;
  }

  /** The subtask that owns a key, with the key set. */
  at(...values: readonly Value[]): number {
    const key = encodeKeyValues(this.#key, values);
    const hash = hashKey(key);
    const keyGroup = keyGroupOf(hash, KEY_GROUPS);
    const at = this.tasks.findIndex(({ store: { range } }) => range.first <= keyGroup && keyGroup <= range.last);
    this.tasks[at]?.keyed.setKey(keyGroup, hash, key);
    return at;
  }

  /** Completes a checkpoint, and removes what no kept one needs. `full`: of all tasks; older segments may stay in their lists. */
  async complete(full = false, keepOlder = false): Promise<number> {
    const checkpointId = ++this.checkpoint;
    const held: Task[] = [];
    for (const task of this.tasks) {
      task.operator.save();
      const { segment: writing } = task.store.snapshot(checkpointId, { full });
      const segment = await writing;
      if (segment.empty) continue;
      this.#home.hold(task.name, 1, checkpointId, segment.bytes);
      if (segment.full && !keepOlder) task.segments = [];
      held.push(task);
    }
    const owners = held.map(({ name }) => ({ task: name, attempt: 1 }));
    const refs = await this.#home.persist(checkpointId, this.#epoch, owners);
    for (const task of held) task.segments = [...task.segments, refs.get(task.name) as SegmentRef];
    const tasks = this.tasks.map(({ name, segments }) => ({ task: name, finished: false, segments, position: '{}' }));
    await this.#checkpoints.publish({ format: 2, checkpointId, epoch: this.#epoch, tasks, meta: '', final: false });
    for (const { store } of this.tasks) store.completed(checkpointId);
    this.#home.completed(checkpointId);
    await collectGarbage(this.#blobs);
    return checkpointId;
  }
}
