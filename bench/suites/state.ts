import { Batch, BatchBuilder, compileSchema, KeyExtractor, keyGroupOf } from '../../base/columnar/index.js';
import { type Random, seededRandom } from '../../base/index.js';
import { type LaneTable, MemoryStateStore } from '../../statestore/index.js';
import { measure, measureCalls, type Suite, type SuiteContext, secondsOf, size } from '../harness.js';
import type { Goal, RowSpec } from '../row.js';

const KEY_GROUPS = 128;
const ALL = { first: 0, last: KEY_GROUPS - 1 };
const BATCH_ROWS = 4096;
const USERS = compileSchema({ user: 'int64' });
type UserBatch = Batch<(typeof USERS)['schema']>;

interface Counter {
  count: number;
}

export const state: Suite = {
  name: 'state',
  async run(context) {
    await readModifyWrite(context);
    await snapshotAndRestore(context);
  },
};

/** A counter a key: 1 M hot keys in random order, from a batch's column (hash, key bytes, upsert) to the changed lane. */
async function readModifyWrite(context: SuiteContext): Promise<void> {
  const keys = size(context, 1_000_000, 5_000);
  const batches = randomBatches(seededRandom(1), keys, size(context, 250, 2));
  const table = new MemoryStateStore(ALL).laneTable('counts', 1);
  const map = new Map<number, Counter>();
  const counting = new Counting(table);
  for (const batch of userBatches(keys)) {
    counting.batch(batch);
    countInMap(map, batch);
  }
  let next = 0;
  const turn = () => batches[next++ % batches.length] as UserBatch;
  await measureCalls(
    context,
    {
      name: 'state.rmw',
      unit: 'ops/s',
      limitName: 'Map with objects',
      goal: { of: 'value', reach: 5e6, aim: 15e6, ratioAtLeast: 1 },
    },
    BATCH_ROWS,
    () => counting.batch(turn()),
    () => countInMap(map, turn()),
  );
}

class Counting {
  readonly #table: LaneTable;
  readonly #extractor = new KeyExtractor(USERS, ['user']);
  readonly #hashes = new Uint32Array(BATCH_ROWS);

  constructor(table: LaneTable) {
    this.#table = table;
  }

  batch(batch: UserBatch): void {
    const table = this.#table;
    const hashes = this.#hashes;
    this.#extractor.hashes(batch as unknown as Batch, hashes);
    for (let row = 0; row < batch.rows; row++) {
      const hash = hashes[row] as number;
      const key = this.#extractor.encode(batch as unknown as Batch, row);
      const slot = table.upsert(keyGroupOf(hash, KEY_GROUPS), hash, key, 0);
      const { values } = table;
      values[slot] = (values[slot] as number) + 1;
    }
  }
}

function countInMap(map: Map<number, Counter>, batch: UserBatch): void {
  const { words } = batch.column(0);
  for (let row = 0; row < batch.rows; row++) {
    const user = (words[2 * row + 1] as number) * 4294967296 + ((words[2 * row] as number) >>> 0);
    const counter = map.get(user);
    if (counter === undefined) map.set(user, { count: 1 });
    else counter.count++;
  }
}

/** The task stands still while its changes are taken out; then a new task takes all of them in. */
async function snapshotAndRestore(context: SuiteContext): Promise<void> {
  const small = size(context, 1_000_000, 5_000);
  const goal: Goal = { of: 'value', reach: 2, aim: 0.5, atMost: true };
  await pauses(context, { name: 'state.pause', unit: 'ms', goal }, filledStore(size(context, 10_000_000, 10_000)));
  const store = filledStore(small);
  await pauses(context, { name: 'state.pause.1m', unit: 'ms' }, store);
  const segment = store.snapshot(100, { full: true }).bytes;
  await measure(
    context,
    { name: 'state.restore', unit: 'entries/s', limitName: 'Map with objects, filled' },
    async () => small / (await secondsOf(() => restore(segment, small))),
    async () => small / (await secondsOf(() => fillMap(small))),
  );
}

/** How long `snapshot` takes with one entry of a hundred changed since the last. */
async function pauses(context: SuiteContext, spec: RowSpec, store: MemoryStateStore): Promise<void> {
  const table = store.laneTable('counts', 1);
  const counting = new Counting(table);
  const keys = table.size;
  const dirty = Math.floor(keys / 100);
  const random = seededRandom(2);
  let checkpointId = 1;
  store.snapshot(checkpointId, { full: true });
  store.completed(checkpointId);
  await measure(context, spec, async () => {
    for (const batch of randomBatches(random, keys, Math.ceil(dirty / BATCH_ROWS), dirty)) counting.batch(batch);
    checkpointId++;
    const seconds = await secondsOf(() => store.snapshot(checkpointId));
    store.completed(checkpointId);
    return seconds * 1000;
  });
}

function filledStore(keys: number): MemoryStateStore {
  const store = new MemoryStateStore(ALL);
  const counting = new Counting(store.laneTable('counts', 1));
  for (const batch of userBatches(keys)) counting.batch(batch);
  return store;
}

function restore(segment: Uint8Array, keys: number): void {
  const store = new MemoryStateStore(ALL);
  store.restore([segment]);
  if (store.laneTable('counts', 1).size !== keys) throw new Error('entries are missing after the restore');
}

function fillMap(keys: number): Map<number, Counter> {
  const map = new Map<number, Counter>();
  for (let user = 0; user < keys; user++) map.set(user, { count: user });
  return map;
}

/** Every key once. */
function* userBatches(keys: number): Generator<UserBatch> {
  for (let from = 0; from < keys; from += BATCH_ROWS) {
    yield batchOf(Math.min(BATCH_ROWS, keys - from), (row) => from + row);
  }
}

function randomBatches(random: Random, keys: number, count: number, rows = count * BATCH_ROWS): UserBatch[] {
  return Array.from({ length: count }, (_, i) =>
    batchOf(Math.min(BATCH_ROWS, rows - i * BATCH_ROWS), () => random.below(keys)),
  );
}

function batchOf(rows: number, userOf: (row: number) => number): UserBatch {
  const builder = new BatchBuilder(USERS, { rowsMax: BATCH_ROWS, bytesMax: 2 ** 20 });
  for (let row = 0; row < rows; row++) builder.append({ user: userOf(row) });
  return Batch.decode(USERS, builder.finish().slice());
}
