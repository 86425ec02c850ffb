import { writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open } from 'lmdb';
import { nodeDisk, type Random, seededRandom, systemClock, systemRandom } from '../../base/index.js';
import { DirectoryBlobStore, FaultyBlobStore } from '../../checkpoint/index.js';
import { FOUND, type StateView } from '../../statestore/index.js';
import { measure, type SuiteContext, secondsOf, size } from '../harness.js';
import { type Goal, median, rowOf } from '../row.js';
import { wholeProcess } from '../whole-process.js';
import { CountedFolder, KEY_GROUPS, keyGroupOfNumber, STATE, writeKey } from './counted-keys.js';
import { EmptyHost, syntheticKey } from './empty-host.js';
import { SyntheticJob, SyntheticState } from './synthetic-state.js';

/** Of each request to a store that stands for S3. */
const REQUEST_MS = 30;
const none = new Uint8Array(0);

/** State beneath the tables: what a host has of it, and what it fetches. */
export async function coldState(context: SuiteContext): Promise<void> {
  await readsAndFolds(context);
  await restoreLocal(context);
  await restoreRemote(context);
  await rescale(context);
}

/** Counters of 16 bytes, key and value; a base, and eight checkpoints above it, with 1 % of the keys in each. */
async function readsAndFolds(context: SuiteContext): Promise<void> {
  const keys = size(context, 10_000_000, 20_000);
  const root = join(context.folder, 'cold');
  const counted = await CountedFolder.filled(root, { keys, payloadBytes: 8 }, context.progress);
  for (let i = 0; i < 8; i++) await counted.change(keys / 100);
  const view = await counted.view();
  while (view.warm()) {}
  const reads = size(context, 500_000, 1000);
  const bare = bareReads(join(root, 'base'), seededRandom(1), keys);
  const spec = { name: 'state.cold.read', unit: 'reads/s', limitName: 'bare lmdb, the same keys' };
  await measure(
    context,
    spec,
    () => viewReads(view, seededRandom(1), keys, reads),
    () => bare.reads(reads),
  );
  await bare.close();
  for (const peer of ['rocksdb', 'slatedb'] as const)
    await besidePeer(context, peer, () => viewReads(view, seededRandom(1), keys, reads));
  await view.close();
  await counted.folder.fold();
  await folds(context, counted);
  await counted.close();
  await rm(root, { recursive: true });
}

/** A checkpoint a second, with 100,000 changed keys, and a fold every 16 of them: processor time of folding, in % of a core. */
async function folds(context: SuiteContext, counted: CountedFolder): Promise<void> {
  const seconds = 16;
  const goal: Goal = { of: 'value', reach: 30, aim: 10, atMost: true };
  const shares: number[] = [];
  for (let round = 0; round < size(context, 3, 1); round++) {
    context.progress(`state.fold, round ${round + 1}`);
    for (let i = 0; i < seconds; i++) await counted.change(size(context, 100_000, 200));
    const before = process.cpuUsage();
    await counted.folder.fold();
    const { user, system } = process.cpuUsage(before);
    shares.push(((user + system) / 1e6 / seconds) * 100);
  }
  context.row(rowOf({ name: 'state.fold', unit: '% of a core', goal }, [{ value: median(shares) }]));
}

/** The same reads, beside a store of somebody else's with a part of the keys: filling it with all of them takes too long. */
async function besidePeer(context: SuiteContext, peer: 'rocksdb' | 'slatedb', value: () => number): Promise<void> {
  const [keys, reads] =
    peer === 'rocksdb' ? [size(context, 1_000_000, 5000), 200_000] : [size(context, 100_000, 2000), 40_000];
  const folder = join(context.folder, peer);
  await mkdir(folder);
  const script = fileURLToPath(new URL('../peers/key-value-main.js', import.meta.url));
  context.progress(`state.cold.read.${peer}`);
  try {
    const text = await wholeProcess(script, [peer, folder, String(keys), String(size(context, reads, 1000))]);
    const limitName =
      peer === 'rocksdb' ? 'rocksdb-native, a tenth of the keys' : '@slatedb/uniffi, a hundredth of the keys';
    const spec = { name: `state.cold.read.${peer}`, unit: 'reads/s', limitName };
    context.row(rowOf(spec, [{ value: value(), limit: Number(text) }]));
  } catch (thrown) {
    // Native code that is not to be had everywhere: no reason to show none of the other rows.
    context.progress(`state.cold.read.${peer} is left out: ${(thrown as Error).message}`);
  }
  await rm(folder, { recursive: true });
}

function viewReads(view: StateView, random: Random, keys: number, reads: number): number {
  const table = view.table(STATE);
  const key = new Uint8Array(8);
  const below = keys - (keys % KEY_GROUPS);
  let found = 0;
  const start = performance.now();
  for (let i = 0; i < reads; i++) {
    const number = random.below(below);
    writeKey(key, number);
    if (table.find(keyGroupOfNumber(number), key, none) === FOUND) found++;
  }
  const seconds = (performance.now() - start) / 1000;
  if (found !== reads) throw new Error(`${reads - found} keys were not found`);
  return reads / seconds;
}

/** What lmdb itself takes to find as many entries of the same file, at keys as long. */
function bareReads(path: string, random: Random, keys: number) {
  const settings = { readOnly: true, noSubdir: true, encoding: 'binary', keyEncoding: 'binary', mapSize: 2 ** 38 };
  const database = open<Uint8Array, Uint8Array>({ path, maxDbs: 1, noReadAhead: true, ...settings } as never);
  const known: Uint8Array[] = [];
  const step = Math.max(1, Math.floor(keys / 200_000));
  let at = 0;
  for (const key of database.getKeys({ start: Buffer.from([0, 0, 0]) as never })) {
    if (at++ % step === 0) known.push(new Uint8Array(key));
  }
  return {
    reads(count: number): number {
      let found = 0;
      const start = performance.now();
      for (let i = 0; i < count; i++) {
        if (database.getBinaryFast(known[random.below(known.length)] as Uint8Array) !== undefined) found++;
      }
      const seconds = (performance.now() - start) / 1000;
      if (found !== count) throw new Error('lmdb did not find its own keys');
      return count / seconds;
    },
    close: () => database.close(),
  };
}

const SIZES = [
  ['100mb', 100_000, 1000],
  ['1gb', 1_000_000, 2000],
  ['8gb', 8_000_000, 4000],
] as const;
const PAYLOAD_BYTES = 960;

/** A process that has just started, on a host that has the state: to its first value. */
async function restoreLocal(context: SuiteContext): Promise<void> {
  const script = fileURLToPath(new URL('../peers/restore-local-main.js', import.meta.url));
  const p50: number[] = [];
  for (const [name, full, tiny] of SIZES) {
    const keys = size(context, full, tiny);
    const root = join(context.folder, `local-${name}`);
    const counted = await CountedFolder.filled(root, { keys, payloadBytes: PAYLOAD_BYTES }, context.progress);
    await counted.change(keys / 100);
    const file = join(context.folder, `local-${name}.json`);
    writeFileSync(file, JSON.stringify(counted.folder.describe()));
    const goal: Goal = { of: 'value', reach: 50, aim: 10, atMost: true };
    const times: number[] = [];
    context.progress(`restore.local.${name}`);
    for (let i = 0; i < size(context, 15, 1); i++) times.push(Number(await wholeProcess(script, [file, String(keys)])));
    context.row(rowOf({ name: `restore.local.${name}`, unit: 'ms', goal }, [{ value: median(times) }]));
    p50.push(median(times));
    await counted.close();
    await rm(root, { recursive: true });
  }
  flat(context, 'restore.local.flat', p50);
}

/** A host that has nothing of the state: HEAD, one index, one range of blocks, 30 ms each, and the value is there. */
async function restoreRemote(context: SuiteContext): Promise<void> {
  const p50: number[] = [];
  for (const [name, full, tiny] of SIZES) {
    const entries = size(context, full, tiny);
    context.progress(`restore.remote.${name}`);
    const inner = await DirectoryBlobStore.open({
      disk: nodeDisk(),
      root: join(context.folder, `remote-${name}`),
      random: systemRandom(),
    });
    // As merging leaves it: segments of at most 64 MiB, here one for each range of key groups.
    const tasks = Math.min(KEY_GROUPS, Math.max(4, 2 ** Math.ceil(Math.log2((entries * 1000) / (64 * 2 ** 20)))));
    const state = new SyntheticState({ entries, tasks, random: seededRandom(5), entryBytes: 1000 });
    const job = await SyntheticJob.start(inner, state, tasks);
    job.change(1);
    await job.complete();
    await job.settle();
    const delayMs = [REQUEST_MS, REQUEST_MS] as const;
    const store = new FaultyBlobStore({ inner, clock: systemClock(), random: systemRandom(), faults: { delayMs } });
    const host = await EmptyHost.open(join(context.folder, `empty-${name}`));
    const keyGroup = 77;
    const times: number[] = [];
    for (let i = 0; i < size(context, 15, 1); i++) {
      times.push((await secondsOf(() => host.read(store, keyGroup, syntheticKey(keyGroup, i)))) * 1000);
    }
    await host.folder.close();
    const goal: Goal = { of: 'value', reach: 500, aim: 150, atMost: true };
    context.row(rowOf({ name: `restore.remote.${name}`, unit: 'ms', goal }, [{ value: median(times) }]));
    p50.push(median(times));
    await rm(join(context.folder, `remote-${name}`), { recursive: true });
  }
  flat(context, 'restore.remote.flat', p50);
}

/** 2 owners become 4 and 2 again: until every new owner has read from its range. */
async function rescale(context: SuiteContext): Promise<void> {
  const keys = size(context, 10_000_000, 20_000);
  const root = join(context.folder, 'rescale');
  const counted = await CountedFolder.filled(root, { keys, payloadBytes: 216 }, context.progress);
  await counted.change(keys / 100);
  const goal: Goal = { of: 'value', reach: 100, aim: 20, atMost: true };
  context.progress('state.rescale');
  let owners = await ownersOf(counted, 2);
  const times: number[] = [];
  for (let i = 0; i < size(context, 15, 1); i++) {
    const before = performance.now();
    for (const count of [4, 2]) {
      const next = await ownersOf(counted, count);
      for (const view of owners) await view.close();
      owners = next;
    }
    times.push(performance.now() - before);
  }
  for (const view of owners) await view.close();
  context.row(rowOf({ name: 'state.rescale', unit: 'ms', goal }, [{ value: median(times) }]));
  await counted.close();
  await rm(root, { recursive: true });
}

async function ownersOf(counted: CountedFolder, count: number): Promise<StateView[]> {
  const each = KEY_GROUPS / count;
  const key = new Uint8Array(8);
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const range = { first: i * each, last: (i + 1) * each - 1 };
      const view = await counted.view(range);
      writeKey(key, range.first);
      if (view.table(STATE).find(range.first, key, none) !== FOUND) throw new Error('an owner does not find its key');
      return view;
    }),
  );
}

function flat(context: SuiteContext, name: string, p50: readonly number[]): void {
  const goal: Goal = { of: 'value', reach: 1.5, aim: 1.1, atMost: true };
  context.row(rowOf({ name, unit: 'x', goal }, [{ value: Math.max(...p50) / Math.min(...p50) }]));
}
