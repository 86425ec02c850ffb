import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeDisk, seededRandom, silentLogger, systemClock, systemRandom } from '../../base/index.js';
import {
  type BlobStore,
  CheckpointStore,
  CountedBlobStore,
  DirectoryBlobStore,
  FaultyBlobStore,
  MemoryBlobStore,
  StoredSegment,
} from '../../checkpoint/index.js';
import { type Suite, type SuiteContext, secondsOf, size } from '../harness.js';
import { type Goal, median, type Round, type RowSpec, rowOf } from '../row.js';
import { wholeProcess } from '../whole-process.js';
import { ENTRY_BYTES, SyntheticJob, SyntheticState } from './synthetic-state.js';

const TASKS = 4;
/** Of each request to a store that stands for S3. */
const REQUEST_MS = 30;

/** The checkpoint store alone, on synthetic deltas: entries of 100 bytes, key and value, count as changed bytes. */
export const checkpoint: Suite = {
  name: 'checkpoint',
  async run(context) {
    await bytesWritten(context);
    await churn(context);
    await remote(context);
    await local(context);
    await restore(context);
    await kills(context);
  },
};

/** What one checkpoint writes, HEAD included, for each byte that changed. */
async function bytesWritten(context: SuiteContext): Promise<void> {
  const entries = size(context, 1_000_000, 20_000);
  for (const percent of [0.1, 1, 10, 100]) {
    const store = new CountedBlobStore(new MemoryBlobStore());
    const state = new SyntheticState({ entries, tasks: TASKS, random: seededRandom(1) });
    const job = await SyntheticJob.start(store, state);
    job.change(1);
    await job.complete();
    await job.settle();
    const ratios: number[] = [];
    for (let i = 0; i < size(context, 10, 2); i++) {
      const changed = job.change(percent / 100);
      store.reset();
      await job.complete();
      ratios.push(store.counts.total.bytesWritten / changed);
      await job.settle();
    }
    const goal: Goal = { of: 'value', reach: 1.2, aim: 1.05, atMost: true };
    const spec = { name: `checkpoint.bytes.${percent}`, unit: 'x' };
    row(context, percent < 1 ? spec : { ...spec, goal }, ratios);
  }
}

/** A thousand checkpoints with 1 % changed in each: what merging writes, and what lies in the store at the end. */
async function churn(context: SuiteContext): Promise<void> {
  const entries = size(context, 500_000, 10_000);
  const rounds = size(context, 1000, 40);
  const inner = new MemoryBlobStore();
  const store = new CountedBlobStore(inner);
  const job = await SyntheticJob.start(store, new SyntheticState({ entries, tasks: TASKS, random: seededRandom(2) }));
  job.change(1);
  await job.complete();
  let changed = 0;
  let merged = 0;
  for (let i = 0; i < rounds; i++) {
    if (i % 100 === 0) context.progress(`checkpoint.compaction, ${i} of ${rounds}`);
    changed += job.change(0.01);
    await job.complete();
    store.reset();
    await job.settle();
    merged += store.counts.put.bytesWritten;
  }
  const goal = (reach: number, aim: number): Goal => ({ of: 'value', reach, aim, atMost: true });
  row(context, { name: 'checkpoint.compaction', unit: 'x', goal: goal(4, 2) }, [merged / changed]);
  const head = (await inner.read('HEAD'))?.bytes.byteLength ?? 0;
  const live = entries * ENTRY_BYTES;
  row(context, { name: 'checkpoint.space', unit: 'x', goal: goal(2, 1.3) }, [((await sizeOf(inner)) + head) / live]);
}

/** Two hosts, a store of 30 ms a request: 1 % of 1 GB, and 20 KB. */
async function remote(context: SuiteContext): Promise<void> {
  const hosts = 2;
  const entries = size(context, 10_000_000, 20_000);
  const share = { remote: 0.01, small: 20_000 / (entries * ENTRY_BYTES) };
  const goals = { remote: [hosts + 1, 150, 80], small: [1, 60, 40] } as const;
  for (const which of ['remote', 'small'] as const) {
    context.progress(`checkpoint.${which}`);
    const delayed = new FaultyBlobStore({
      inner: new MemoryBlobStore(),
      clock: systemClock(),
      random: systemRandom(),
      faults: { delayMs: [REQUEST_MS, REQUEST_MS] },
    });
    const store = new CountedBlobStore(delayed);
    const state = new SyntheticState({ entries, tasks: TASKS, random: seededRandom(3) });
    const job = await SyntheticJob.start(store, state, hosts);
    job.change(1);
    await job.complete();
    const times: number[] = [];
    const requests: number[] = [];
    for (let i = 0; i < size(context, 20, 2); i++) {
      job.change(share[which]);
      store.reset();
      times.push((await secondsOf(() => job.complete())) * 1000);
      requests.push(store.counts.total.requests);
      await job.settle();
    }
    const [requestsMax, reach, aim] = goals[which];
    const atMost = true;
    const requestsGoal: Goal = { of: 'value', reach: requestsMax, aim: requestsMax, atMost };
    row(context, { name: `checkpoint.${which}.requests`, unit: 'requests', goal: requestsGoal }, requests);
    row(context, { name: `checkpoint.${which}`, unit: 'ms', goal: { of: 'value', reach, aim, atMost } }, times);
  }
}

/** 10 MB (1 % of 1 GB) into a directory, fdatasync included, beside a bare write of as many bytes. */
async function local(context: SuiteContext): Promise<void> {
  const store = await directory(join(context.folder, 'local'));
  const state = new SyntheticState({
    entries: size(context, 10_000_000, 20_000),
    tasks: TASKS,
    random: seededRandom(4),
  });
  for (const [name, share] of [
    ['checkpoint.local', 0.01],
    ['checkpoint.local.small', 20_000 / (state.entries * ENTRY_BYTES)],
  ] as const) {
    context.progress(name);
    const job = await SyntheticJob.start(store, state);
    const rounds: Round[] = [];
    for (let i = 0; i < size(context, 40, 2); i++) {
      const bytes = new Uint8Array(job.change(share)).fill(7);
      const bare = async () => (await secondsOf(() => writeSynced(join(context.folder, 'bare'), bytes))) * 1000;
      const value = async () => (await secondsOf(() => job.complete())) * 1000;
      if (i % 2 === 0) rounds.push({ value: await value(), limit: await bare() });
      else {
        const limit = await bare();
        rounds.push({ value: await value(), limit });
      }
      await job.settle();
    }
    const spec = { name, unit: 'ms', limitName: 'bare write + fdatasync of the same bytes' };
    const goal: Goal = { of: 'value', reach: 50, aim: 15, atMost: true };
    context.row(rowOf(name === 'checkpoint.local' ? { ...spec, goal } : spec, rounds));
    await job.checkpoints.reset();
  }
}

/** From nothing to the first verified entries: HEAD, the index of one segment, one range of its blocks, 30 ms each. */
async function restore(context: SuiteContext): Promise<void> {
  const p50: number[] = [];
  for (const [name, megabytes] of [
    ['100mb', size(context, 100, 1)],
    ['1gb', size(context, 1000, 2)],
    ['8gb', size(context, 8000, 4)],
  ] as const) {
    context.progress(`checkpoint.restore.${name}`);
    const root = join(context.folder, `restore-${name}`);
    const inner = await directory(root);
    const random = seededRandom(5);
    // As merging leaves it: segments of at most 64 MiB, here one for each key group range.
    const tasks = Math.min(128, Math.max(4, 2 ** Math.ceil(Math.log2(megabytes / 64))));
    const entryBytes = 1000;
    const state = new SyntheticState({ entries: (megabytes * 1e6) / entryBytes, tasks, random, entryBytes });
    const job = await SyntheticJob.start(inner, state, tasks);
    job.change(1);
    await job.complete();
    await job.settle();
    const store = new FaultyBlobStore({
      inner,
      clock: systemClock(),
      random: systemRandom(),
      faults: { delayMs: [REQUEST_MS, REQUEST_MS] },
    });
    const times: number[] = [];
    for (let i = 0; i < size(context, 15, 2); i++) times.push((await secondsOf(() => firstRead(store))) * 1000);
    p50.push(median(times));
    row(
      context,
      { name: `checkpoint.restore.${name}`, unit: 'ms', goal: { of: 'value', reach: 500, aim: 150, atMost: true } },
      times,
    );
    await job.checkpoints.reset();
    await job.checkpoints.collect();
  }
  const flat = Math.max(...p50) / Math.min(...p50);
  const goal: Goal = { of: 'value', reach: 1.5, aim: 1.1, atMost: true };
  row(context, { name: 'checkpoint.restore.flat', unit: 'x', goal }, [flat]);
}

/** The last line of `npm run chaos -- --sim --kills N --json`. */
interface KillsResult {
  readonly ok: boolean;
  readonly kills: number;
  readonly code?: string;
  readonly failedSeed?: number;
}

/** Simulated, on fresh seeds: what `npm run chaos -- --sim --kills N` says; 0 when anything was lost or leaked. */
async function kills(context: SuiteContext): Promise<void> {
  context.progress('checkpoint.kills');
  const chaos = fileURLToPath(new URL('../../chaos/main.js', import.meta.url));
  const wanted = size(context, 100_000, 200);
  const text = await wholeProcess(chaos, ['--sim', '--kills', `${wanted}`, '--json'], { codes: [0, 1] });
  const result = JSON.parse(text.trim().split('\n').at(-1) as string) as KillsResult;
  // A missed goal, not a reason to show none of the other rows.
  if (!result.ok) context.progress(`checkpoint.kills: ${result.code}, seed ${result.failedSeed}`);
  const kills = result.ok ? result.kills : 0;
  row(context, { name: 'checkpoint.kills', unit: 'kills', goal: { of: 'value', reach: 10_000, aim: 100_000 } }, [
    kills,
  ]);
}

async function firstRead(store: BlobStore): Promise<void> {
  const checkpoints = await CheckpointStore.open({ store, random: systemRandom(), logger: silentLogger() });
  const tasks = checkpoints.latest?.tasks ?? [];
  const ref = tasks[tasks.length >> 1]?.segments[0];
  if (ref === undefined) throw new Error('there is no checkpoint to restore');
  const segment = await StoredSegment.open(store, ref);
  const middle = segment.index.blocks.length >> 1;
  const [block] = await segment.blocks(middle, middle + 1);
  if (block === undefined) throw new Error('the segment has no blocks');
}

function directory(root: string): Promise<DirectoryBlobStore> {
  return DirectoryBlobStore.open({ disk: nodeDisk(), root, random: systemRandom() });
}

/** p50 of what was measured. */
function row(context: SuiteContext, spec: RowSpec, values: readonly number[]): void {
  context.row(rowOf(spec, [{ value: median(values) }]));
}

async function sizeOf(store: BlobStore): Promise<number> {
  let bytes = 0;
  for (const name of await store.list('')) bytes += (await store.stat(name))?.bytes ?? 0;
  return bytes;
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
