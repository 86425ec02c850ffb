import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { open } from 'lmdb';
import { nodeByteFiles, type Random, seededRandom } from '../../base/index.js';
import {
  type CompletedSegment,
  lmdbBaseStores,
  MemoryStateStore,
  restoreSegment,
  type StateFolder,
  StateView,
} from '../../statestore/index.js';
import { measure, type SuiteContext, size } from '../harness.js';
import type { Goal } from '../row.js';
import { openMachineFolder } from './machine-folder.js';
import {
  ALL,
  BATCH_ROWS,
  Counting,
  filledStores,
  KEY_GROUPS,
  randomBatches,
  type UserBatch,
} from './state-counters.js';

const ZIPF = 0.99;
/** Rows between two checkpoints: changed counters stay in memory as long. */
const CHECKPOINT_BATCHES = 64;
/** About so many in one segment. */
const SEGMENT_KEYS = 8_000_000;

/** Counters of which a part has room in memory: read, incremented, written, key by key. */
export async function largerThanMemory(context: SuiteContext): Promise<void> {
  const keys = size(context, 2_000_000, 20_000);
  const root = join(context.folder, 'larger');
  const bare = bareCounters(join(context.folder, 'larger-lmdb'), keys);
  const host = await CountersOnHost.filled(root, keys, context.progress);
  const zipf: Goal = { of: 'ratio', reach: 3, aim: 10 };
  const uniform: Goal = { of: 'value', reach: 100_000, aim: 300_000 };
  for (const [name, times, goal, random] of [
    ['state.cold', 4, zipf, zipfRandom(keys)],
    ['state.cold.uniform', 10, uniform, seededRandom(3)],
  ] as const) {
    const { value, turn, task } = await rmw(context, host, { keys, times, random });
    const count = size(context, 128, 4);
    const limit = () => {
      const batches = Array.from({ length: count / 4 }, turn);
      const start = performance.now();
      for (const batch of batches) bare.batch(batch);
      return (batches.length * BATCH_ROWS * 1000) / (performance.now() - start);
    };
    await measure(context, { name, unit: 'ops/s', limitName: 'bare lmdb, get and put', goal }, value, limit);
    await task.close();
  }
  await host.close();
  await bare.close();
  await rm(root, { recursive: true });
}

/** The same, uniform, with so many keys that hardly one of ten was there before: nothing but the base's own pages is warm. */
export async function muchLargerThanMemory(context: SuiteContext): Promise<void> {
  const keys = size(context, 100_000_000, 20_000);
  const root = join(context.folder, 'much-larger');
  const host = await CountersOnHost.filled(root, keys, context.progress);
  const goal: Goal = { of: 'value', reach: 100_000, aim: 300_000 };
  const { value, task } = await rmw(context, host, { keys, times: 10, random: seededRandom(3) });
  await measure(context, { name: 'state-large.cold.uniform', unit: 'ops/s', goal }, value);
  await task.close();
  await host.close();
  await rm(root, { recursive: true });
}

/** A task with room for one of so many counters, warmed up; `value`: counters read, incremented and written a second. */
async function rmw(
  context: SuiteContext,
  host: CountersOnHost,
  { keys, times, random }: { readonly keys: number; readonly times: number; readonly random: Random },
) {
  const task = await host.task(1 / times);
  const count = size(context, 128, 4);
  const turn = () => randomBatches(random, keys, 1)[0] as UserBatch;
  // Until memory is full of what was in use lately.
  for (let i = 0; i < Math.max(count, keys / times / BATCH_ROWS); i++) await task.batch(turn());
  const value = async () => {
    task.processingMs = 0;
    for (let i = 0; i < count; i++) await task.batch(turn());
    return (count * BATCH_ROWS * 1000) / task.processingMs;
  };
  return { task, turn, value };
}

/** A state folder with one counter a key in its base. */
class CountersOnHost {
  readonly #folder: StateFolder;
  readonly #bytes: number;
  #checkpointId = 1;

  private constructor(folder: StateFolder, bytes: number) {
    this.#folder = folder;
    this.#bytes = bytes;
  }

  static async filled(root: string, keys: number, progress: (text: string) => void): Promise<CountersOnHost> {
    const folder = await openMachineFolder(root, { foldShare: 1 });
    await folder.startEmpty(ALL);
    const segments: CompletedSegment[] = [];
    let bytes = 0;
    for (const store of filledStores(keys, Math.min(KEY_GROUPS, 2 ** Math.ceil(Math.log2(1 + keys / SEGMENT_KEYS))))) {
      progress(`${keys} counters: key groups ${store.range.first}..${store.range.last}`);
      const checksum = await folder.hold((await store.snapshot(1, { full: true }).segment).bytes);
      segments.push({ ...store.range, checksum });
      bytes += store.stats().memoryBytes;
    }
    progress(`${keys} counters: base`);
    await folder.completed({ checkpointId: 1, epoch: 1 }, segments);
    await folder.fold();
    return new CountersOnHost(folder, bytes);
  }

  /** With room for this share of the counters. */
  async task(share: number): Promise<CountingTask> {
    const options = { bases: lmdbBaseStores(), files: nodeByteFiles(), range: ALL };
    const view = await StateView.open(this.#folder.describe(), options);
    const memoryBytesMax = Math.ceil(this.#bytes * share);
    const store = new MemoryStateStore(ALL, { chainLengthMax: Number.POSITIVE_INFINITY, cold: view, memoryBytesMax });
    store.restore([await restoreSegment(view, [])]);
    return new CountingTask(store, view, (segment) => this.#complete(segment));
  }

  close(): Promise<void> {
    return this.#folder.close();
  }

  async #complete(segment: (checkpointId: number) => Promise<Uint8Array>): Promise<StateFolder> {
    const checkpointId = ++this.#checkpointId;
    const checksum = await this.#folder.hold(await segment(checkpointId));
    await this.#folder.completed({ checkpointId, epoch: 1 }, [{ ...ALL, checksum }]);
    if (this.#folder.isFoldDue) await this.#folder.fold();
    return this.#folder;
  }
}

type Complete = (segment: (checkpointId: number) => Promise<Uint8Array>) => Promise<StateFolder>;

/** Counts, and takes a checkpoint now and then; what other threads do for it does not count as its time. */
class CountingTask {
  processingMs = 0;
  readonly #store: MemoryStateStore;
  readonly #view: StateView;
  readonly #complete: Complete;
  readonly #counting: Counting;
  #batches = 0;

  constructor(store: MemoryStateStore, view: StateView, complete: Complete) {
    this.#store = store;
    this.#view = view;
    this.#complete = complete;
    this.#counting = new Counting(store.laneTable('counts', 1));
  }

  async batch(batch: UserBatch): Promise<void> {
    const start = performance.now();
    this.#counting.batch(batch);
    this.processingMs += performance.now() - start;
    if (++this.#batches % CHECKPOINT_BATCHES === 0) await this.#checkpoint();
  }

  async close(): Promise<void> {
    await this.#view.close();
  }

  async #checkpoint(): Promise<void> {
    let checkpoint = 0;
    const folder = await this.#complete(async (checkpointId) => {
      checkpoint = checkpointId;
      return (await this.#store.snapshot(checkpointId).segment).bytes;
    });
    const start = performance.now();
    this.#store.completed(checkpoint);
    this.#view.advance(folder.describe());
    this.#store.advanced(checkpoint);
    this.#view.warm();
    this.processingMs += performance.now() - start;
  }
}

/** The same counters in LMDB alone, a transaction a batch, never synced. */
function bareCounters(path: string, keys: number) {
  const settings = { noSubdir: true, encoding: 'binary', keyEncoding: 'binary', noSync: true, mapSize: 2 ** 36 };
  const database = open<Uint8Array, Uint8Array>({ path, maxDbs: 1, ...settings } as never);
  const key = Buffer.alloc(8);
  const value = new Float64Array([1]);
  const bytes = new Uint8Array(value.buffer);
  for (let from = 0; from < keys; from += 65_536) {
    database.transactionSync(() => {
      for (let user = from; user < Math.min(keys, from + 65_536); user++) {
        key.writeUInt32BE(user, 4);
        database.putSync(key, bytes);
      }
    });
  }
  return {
    batch(batch: UserBatch): void {
      const { words } = batch.column(0);
      database.transactionSync(() => {
        for (let row = 0; row < batch.rows; row++) {
          key.writeUInt32BE((words[2 * row] as number) >>> 0, 4);
          bytes.set((database.getBinaryFast(key) as Uint8Array).subarray(0, 8));
          value[0] = (value[0] as number) + 1;
          database.putSync(key, bytes);
        }
      });
    },
    close: () => database.close(),
  };
}

/** Numbers by Zipf's law, the frequent ones spread over all there are. */
function zipfRandom(count: number): Random {
  const random = seededRandom(2);
  const sums = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank++) {
    sum += (rank + 1) ** -ZIPF;
    sums[rank] = sum;
  }
  const below = (): number => {
    const wanted = random.float() * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) < wanted) low = middle + 1;
      else high = middle;
    }
    // A multiplier that shares no factor with the count: every number once.
    return (low * 7_368_787) % count;
  };
  return Object.assign(Object.create(random), { below }) as Random;
}
