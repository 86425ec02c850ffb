import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeDisk, silentLogger, systemRandom } from '../../base/index.js';
import { CheckpointStore, DirectoryBlobStore, type Manifest, SegmentHome } from '../../checkpoint/index.js';
import { measure, type Suite, type SuiteContext, secondsOf, size } from '../harness.js';
import { type Goal, median } from '../row.js';

const TASKS = 4;
const SMALL_BYTES = 20 * 1000;

/**
 * From segments held on the host to a checkpoint in HEAD, in a directory with fdatasync: store the segments, publish the
 * manifest. Segments that change are all a checkpoint writes, so the state behind them is only named here.
 */
export const checkpoint: Suite = {
  name: 'checkpoint',
  async run(context) {
    const deltaBytes = size(context, 10_000_000, 100_000);
    await publishing(context, 'checkpoint.local', deltaBytes, { of: 'value', reach: 50, aim: 15, atMost: true });
    await publishing(context, 'checkpoint.local.small', SMALL_BYTES);
  },
};

/** The value of a round is the median of its checkpoints: p50. */
async function publishing(context: SuiteContext, name: string, deltaBytes: number, goal?: Goal): Promise<void> {
  const store = await DirectoryBlobStore.open({
    disk: nodeDisk(),
    root: join(context.folder, name),
    random: systemRandom(),
  });
  const checkpoints = await CheckpointStore.open({ store, random: systemRandom(), logger: silentLogger() });
  const epoch = await checkpoints.takeOver();
  const home = new SegmentHome({ store, random: systemRandom(), host: 'bench' });
  const segment = new Uint8Array(deltaBytes / TASKS).fill(7);
  const tasks = Array.from({ length: TASKS }, (_, i) => ({ task: `task-${i}`, attempt: 1 }));
  const perRound = size(context, 10, 2);
  let checkpointId = 0;
  const publish = async () => {
    checkpointId++;
    for (const { task, attempt } of tasks) home.hold(task, attempt, checkpointId, segment);
    const seconds = await secondsOf(async () => {
      const refs = await home.persist(checkpointId, epoch, tasks);
      const snapshots = tasks.map(({ task }) => ({
        task,
        finished: false,
        segments: [...one(refs.get(task))],
        position: '',
      }));
      const manifest: Manifest = { format: 2, checkpointId, epoch, tasks: snapshots, meta: '', final: false };
      await checkpoints.publish(manifest);
    });
    home.completed(checkpointId, epoch);
    await checkpoints.collect();
    return seconds * 1000;
  };
  const all = new Uint8Array(deltaBytes).fill(7);
  let files = 0;
  const bare = async () =>
    (await secondsOf(() => writeSynced(join(context.folder, `bare-${name}-${files++ % 3}`), all))) * 1000;
  const spec = {
    name,
    unit: 'ms',
    limitName: 'bare write + fdatasync of the same bytes',
    ...(goal === undefined ? {} : { goal }),
  };
  await measure(
    context,
    spec,
    () => middleOf(perRound, publish),
    () => middleOf(perRound, bare),
  );
}

function one<T>(value: T | undefined): T[] {
  if (value === undefined) throw new Error('a segment was not stored');
  return [value];
}

async function middleOf(times: number, run: () => Promise<number>): Promise<number> {
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push(await run());
  return median(all);
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.write(bytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}
