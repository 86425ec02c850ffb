import { seededRandom } from '../../base/index.js';
import { type MemoryStateStore, PortWriter, WriterThread } from '../../statestore/index.js';
import { alternate, type SuiteContext, size } from '../harness.js';
import { type Goal, type RowSpec, rowOf } from '../row.js';
import { BATCH_ROWS, Counting, filledStore, randomBatches } from './state-counters.js';

const PAUSE: Goal = { of: 'value', reach: 2, aim: 0.5, atMost: true };
const WARM_UPS = 3;
const BARRIER: Goal = { of: 'value', reach: 150, aim: 50, atMost: true };

/**
 * Barriers of a store of which one entry in a hundred has changed since the last: how long the task stands still, and how long
 * until the segment is there, while the task goes on counting.
 */
export async function barriers(context: SuiteContext): Promise<void> {
  const thread = new WriterThread();
  const writer = new PortWriter(thread.connect());
  await barriersOf(context, '', filledStore(size(context, 10_000_000, 10_000), writer));
  await barriersOf(context, '.1m', filledStore(size(context, 1_000_000, 5_000), writer));
  writer.close();
  await thread.close();
}

async function barriersOf(context: SuiteContext, name: string, store: MemoryStateStore): Promise<void> {
  const goal = (of: Goal) => (name === '' ? { goal: of } : {});
  const pause: RowSpec = { name: `state.pause${name}`, unit: 'ms', ...goal(PAUSE) };
  const barrier: RowSpec = { name: `state.barrier${name}`, unit: 'ms', ...goal(BARRIER) };
  context.progress(`${pause.name}, ${barrier.name}`);
  const counting = new Counting(store.laneTable('counts', 1));
  const users = store.stats().entries;
  const dirty = Math.floor(users / 100);
  const random = seededRandom(2);
  let checkpointId = 1;
  await store.snapshot(checkpointId, { full: true }).segment;
  store.completed(checkpointId);
  const pauses: { value: number }[] = [];
  const round = async () => {
    for (const batch of randomBatches(random, users, Math.ceil(dirty / BATCH_ROWS), dirty)) counting.batch(batch);
    const more = randomBatches(random, users, 8);
    checkpointId++;
    let written = false;
    const start = performance.now();
    const { segment } = store.snapshot(checkpointId);
    pauses.push({ value: performance.now() - start });
    const end = segment.then(() => {
      written = true;
      return performance.now();
    });
    for (let i = 0; !written; i++) {
      counting.batch(more[i % more.length] as (typeof more)[number]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    store.completed(checkpointId);
    return (await end) - start;
  };
  // A task takes its first barriers before its code is compiled.
  for (let i = 0; i < WARM_UPS; i++) await round();
  pauses.length = 0;
  const rounds = await alternate(context, round);
  context.row(rowOf(pause, pauses));
  context.row(rowOf(barrier, rounds));
}
