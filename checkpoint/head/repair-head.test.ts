import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk, seededRandom, silentLogger, systemClock } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { DirectoryBlobStore } from '../blob/directory-blob-store.js';
import { EncryptedBlobStore } from '../blob/encrypted-blob-store.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { CheckpointStore } from '../checkpoint-store.js';
import { assertHolds, breathe, CheckpointedJob } from '../checkpointed-job.test.support.js';
import type { Manifest } from '../manifest.js';
import { pin } from '../pin.js';
import { readHead } from './head-register.js';
import { repairHead } from './repair-head.js';

const root = mkdtempSync(join(tmpdir(), 'millrace-repair-'));
after(() => rmSync(root, { recursive: true }));
const options = { deep: true, breathe, random: seededRandom(5), dryRun: false };
let stores = 0;

async function jobInFolder(checkpoints: number, wrap: (inner: BlobStore) => BlobStore = (inner) => inner) {
  const folder = join(root, `store-${stores++}`);
  const reopen = async () =>
    wrap(await DirectoryBlobStore.open({ disk: nodeDisk(), root: folder, random: seededRandom(stores) }));
  const store = await reopen();
  const job = await CheckpointedJob.start(store, { random: seededRandom(21) });
  const manifests: Manifest[] = [];
  for (let i = 0; i < checkpoints; i++) manifests.push(await job.checkpoint());
  const values = join(folder, 'values', 'HEAD');
  const newest = () => join(values, readdirSync(values).sort().at(-1) as string);
  return { store, job, manifests, values, newest, reopen };
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}

describe('repairing HEAD', () => {
  it('goes back to the version before a damaged one, under an id and an epoch of its own', async () => {
    const { store, job, newest } = await jobInFolder(5);
    flip(newest());
    await rejects(readHead(store), {
      code: 'HEAD_CORRUPT',
      message: /checksum.*; `millrace checkpoints repair` looks for/,
    });
    const dry = await repairHead(store, { ...options, dryRun: true });
    await rejects(readHead(store), { code: 'HEAD_CORRUPT' });
    const repaired = await repairHead(store, options);
    deepEqual({ ...repaired, problem: '' }, { ...dry, problem: '' });
    deepEqual([repaired.from, repaired.was, repaired.retained, repaired.damaged], ['HEAD version 5', 4, [3, 2], []]);
    equal(repaired.checkpointId, 1_000_005, 'above the one that was lost, whose objects lie there');

    const opened = await CheckpointStore.open({ store, random: seededRandom(6), logger: silentLogger() });
    deepEqual(opened.checkpointIds, [1_000_005, 3, 2]);
    await assertHolds(store, opened.latest as Manifest, job.contents.get(4));
    // The one that led is fenced, and a new one goes on.
    await rejects(job.checkpoint(), { code: 'LEADER_FENCED' });
    const next = await CheckpointedJob.start(store, { random: seededRandom(7), from: job.contents.get(4) as never });
    equal(next.checkpoints.epoch, 1002);
    const sixth = await next.checkpoint();
    await next.checkpoints.collect({ thorough: true });
    await assertHolds(store, sixth, next.contents.get(sixth.checkpointId));
    await rejects(repairHead(store, options), { code: 'HEAD_WHOLE' });
  });

  it('passes by versions and checkpoints that are damaged too', async () => {
    const { store, job, manifests, values, newest } = await jobInFolder(6);
    flip(newest());
    const names = readdirSync(values).sort();
    flip(join(values, names.at(-2) as string));
    // The collector never ran, so all the objects are there; of checkpoint 4 one is taken away.
    await store.delete(manifests[3]?.tasks[0]?.segments.at(-1)?.object as string);
    const repaired = await repairHead(store, options);
    deepEqual([repaired.was, repaired.retained, repaired.damaged], [3, [2], [4]]);
    const read = await readHead(store);
    await assertHolds(store, read?.head.latest as Manifest, job.contents.get(3));
  });

  it('where HEAD is gone, a pin knows a checkpoint', async () => {
    const { store, job, manifests, values, reopen } = await jobInFolder(3);
    const held = await pin(store, manifests[1] as Manifest, 'reader', seededRandom(8));
    await job.checkpoint();
    rmSync(values, { recursive: true });
    await rejects(
      readHead(store).then(() => CheckpointStore.open({ store, random: seededRandom(6), logger: silentLogger() })),
      {
        code: 'HEAD_MISSING',
        message: /`millrace checkpoints repair`/,
      },
    );
    const again = await reopen();
    const repaired = await repairHead(again, options);
    deepEqual([repaired.problem, repaired.from, repaired.was], ['HEAD is gone', held.name, 2]);
    await assertHolds(store, (await readHead(store))?.head.latest as Manifest, job.contents.get(2));
  });

  it('says that nothing helps when nothing does, and changes nothing', async () => {
    const { store, values } = await jobInFolder(3);
    rmSync(values, { recursive: true });
    await rejects(repairHead(store, options), {
      code: 'HEAD_UNREPAIRABLE',
      message: /nothing else speaks of a checkpoint/,
    });
    equal(await readHead(store), undefined);
    await rejects(repairHead(new MemoryBlobStore(), options), { code: 'HEAD_WHOLE' });
    // One of another version of Millrace is not damaged.
    const other = await jobInFolder(2);
    writeFileSync(
      other.newest(),
      readFileSync(other.newest(), 'latin1').replace('millrace-head 2', 'millrace-head 3'),
      'latin1',
    );
    await rejects(repairHead(other.store, options), { code: 'HEAD_VERSION' });
  });

  it('somebody who moves HEAD meanwhile is not overwritten', async () => {
    const { store, newest } = await jobInFolder(3);
    flip(newest());
    const moved: BlobStore = Object.create(store, {
      versions: { value: (name: string) => (store as DirectoryBlobStore).versions(name) },
      read: { value: (name: string) => store.read(name) },
      list: { value: (prefix: string) => store.list(prefix) },
      get: { value: (name: string, range: never) => store.get(name, range) },
      stat: { value: (name: string) => store.stat(name) },
      location: { value: store.location },
      compareAndSet: {
        value: async (name: string, expected: string, bytes: Uint8Array) => {
          await store.compareAndSet(name, expected, bytes);
          return store.compareAndSet(name, expected, bytes);
        },
      },
    });
    await rejects(repairHead(moved, options), { code: 'CAS_CONFLICT' });
  });

  it('of encrypted checkpoints too, whatever byte of HEAD is damaged', async () => {
    const keys = new Map([['k', Buffer.alloc(32, 9)]]);
    const { store, job, newest } = await jobInFolder(4, (inner) => {
      return new EncryptedBlobStore({ inner, random: seededRandom(9), clock: systemClock(), keys, current: 'k' });
    });
    flip(newest());
    await rejects(readHead(store), (error: Error & { code: string }) => {
      equal(error.code, 'BLOB_TAMPERED');
      match(error.message, /`millrace checkpoints repair`/);
      return true;
    });
    equal((await repairHead(store, options)).was, 3);
    await assertHolds(store, (await readHead(store))?.head.latest as Manifest, job.contents.get(3));
  });
});
