import { seededRandom } from '../../base/index.js';
import { MemoryStateStore } from '../../statestore/index.js';
import { measure, measureCalls, type Suite, type SuiteContext, secondsOf, size } from '../harness.js';
import { barriers } from './state-barrier.js';
import { coldState } from './state-cold.js';
import {
  ALL,
  BATCH_ROWS,
  Counting,
  filledStore,
  randomBatches,
  type UserBatch,
  userBatches,
} from './state-counters.js';
import { largerThanMemory } from './state-larger.js';
import { memory } from './state-memory.js';

interface Counter {
  count: number;
}

export const state: Suite = {
  name: 'state',
  async run(context) {
    await readModifyWrite(context);
    await restores(context);
    await memory(context);
    await barriers(context);
    await largerThanMemory(context);
    await coldState(context);
  },
};

/** A counter a key: 1 M hot keys in random order, from a batch's column (hash, key bytes, upsert) to the changed lane. */
async function readModifyWrite(context: SuiteContext): Promise<void> {
  const keys = size(context, 1_000_000, 5_000);
  const batches = randomBatches(seededRandom(1), keys, size(context, 250, 2));
  const counting = new Counting(filledStore(keys).laneTable('counts', 1));
  const map = new Map<number, Counter>();
  for (const batch of userBatches(keys)) countInMap(map, batch);
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

function countInMap(map: Map<number, Counter>, batch: UserBatch): void {
  const { words } = batch.column(0);
  for (let row = 0; row < batch.rows; row++) {
    const user = (words[2 * row + 1] as number) * 4294967296 + ((words[2 * row] as number) >>> 0);
    const counter = map.get(user);
    if (counter === undefined) map.set(user, { count: 1 });
    else counter.count++;
  }
}

/** A new task takes a full segment in. */
async function restores(context: SuiteContext): Promise<void> {
  const keys = size(context, 1_000_000, 5_000);
  const { bytes } = await filledStore(keys).snapshot(1, { full: true }).segment;
  await measure(
    context,
    { name: 'state.restore', unit: 'entries/s', limitName: 'Map with objects, filled' },
    async () => keys / (await secondsOf(() => restore(bytes, keys))),
    async () => keys / (await secondsOf(() => fillMap(keys))),
  );
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
