import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MillraceError, seededRandom, silentLogger } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { DyingStore } from '../blob/dying-store.test.support.js';
import { FaultyBlobStore } from '../blob/faulty-blob-store.js';
import { JumpingClock } from '../blob/jumping-clock.test.support.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { CheckpointStore } from '../checkpoint-store.js';
import { assertHolds, breathe, CheckpointedJob, type Contents } from '../checkpointed-job.test.support.js';
import { collectGarbage } from '../collect-garbage.js';
import type { Manifest } from '../manifest.js';
import { verifyCheckpoint } from '../verify.js';
import { type RestoreSavepointOptions, restoreSavepoint } from './restore-savepoint.js';
import { readSavepoint, savepointState } from './savepoint.js';
import { writeSavepoint } from './write-savepoint.js';

const small = 600;

/** A savepoint of a job's fourth checkpoint, and nothing else of that job. */
async function savepointOf(seed = 41): Promise<{ savepoint: MemoryBlobStore; contents: Contents; manifest: Manifest }> {
  const store = new MemoryBlobStore();
  const job = await CheckpointedJob.start(store, { random: seededRandom(seed) });
  for (let i = 0; i < 3; i++) await job.checkpoint({ inline: i === 1 });
  const manifest = await job.checkpoint();
  const savepoint = new MemoryBlobStore();
  await writeSavepoint(store, manifest, savepoint, { random: seededRandom(5), objectBytesMax: small, breathe });
  return { savepoint, contents: job.contents.get(4) as Contents, manifest };
}

let seed = 100;
async function restore(savepoint: BlobStore, store: BlobStore, options: Partial<RestoreSavepointOptions> = {}) {
  const checkpoints = await CheckpointStore.open({ store, random: seededRandom(seed++), logger: silentLogger() });
  await checkpoints.takeOver();
  const restored = await restoreSavepoint(
    savepoint,
    { store, checkpoints },
    { random: seededRandom(seed++), claim: false, objectBytesMax: small, breathe, ...options },
  );
  return { ...restored, checkpoints };
}

/** As the job that runs on it next sees it. */
async function latestOf(store: BlobStore): Promise<Manifest | undefined> {
  return (await CheckpointStore.open({ store, random: seededRandom(seed++), logger: silentLogger() })).latest;
}

async function wipe(store: BlobStore): Promise<void> {
  for (const name of await store.list('')) await store.delete(name);
}

describe('restoring a savepoint', () => {
  it('makes it the newest checkpoint of the job, with a copy of its own', async () => {
    const { savepoint, contents, manifest } = await savepointOf();
    const store = new MemoryBlobStore();
    const { checkpoint, before } = await restore(savepoint, store);
    deepEqual([checkpoint.checkpointId, checkpoint.epoch, before], [4, 1, false]);
    deepEqual([checkpoint.meta, checkpoint.final], [manifest.meta, false]);
    await wipe(savepoint);
    const latest = (await latestOf(store)) as Manifest;
    deepEqual(latest, checkpoint);
    await assertHolds(store, latest, contents);
    deepEqual(
      latest.tasks.map((t) => t.position),
      manifest.tasks.map((t) => t.position),
    );
    deepEqual((await collectGarbage(store)).objects, [], 'nothing of it is garbage');
  });

  it('without a claim it stays, whole, and can be restored again and again', async () => {
    const { savepoint, contents } = await savepointOf();
    const before = await savepoint.list('');
    for (let i = 0; i < 2; i++) {
      const store = new MemoryBlobStore();
      const { checkpoint } = await restore(savepoint, store);
      await assertHolds(store, checkpoint, contents);
      await wipe(store);
    }
    deepEqual(await savepoint.list(''), before);
  });

  it('a job that has checkpoints is left alone, unless they are to be replaced; then they become older ones', async () => {
    const { savepoint, contents } = await savepointOf();
    const store = new MemoryBlobStore();
    const job = await CheckpointedJob.start(store, { random: seededRandom(6) });
    for (let i = 0; i < 6; i++) await job.checkpoint();
    const names = await store.list('');
    await rejects(restore(savepoint, store), { code: 'CHECKPOINTS_EXIST', kind: 'invalid', message: /newest is 6/ });
    deepEqual(await store.list(''), names);
    const { checkpoint, checkpoints } = await restore(savepoint, store, { replace: true });
    deepEqual([checkpoint.checkpointId, checkpoints.checkpointIds], [7, [7, 6, 5]]);
    await assertHolds(store, checkpoint, contents);
    await assertHolds(store, await checkpoints.manifest(6), job.contents.get(6));
  });

  it('a damaged savepoint is refused, and the job has what it had', async () => {
    const { savepoint } = await savepointOf();
    const [object] = await savepoint.list('segments/');
    await savepoint.delete(object as string);
    const store = new MemoryBlobStore();
    await rejects(restore(savepoint, store, { claim: true }), { code: 'SEGMENT_CORRUPT' });
    equal(await latestOf(store), undefined);
    equal(await savepointState(savepoint), 'whole', 'and nothing more of it is gone');
  });

  it('an old leader, or none, restores nothing', async () => {
    const { savepoint } = await savepointOf();
    const store = new MemoryBlobStore();
    const open = { store, random: seededRandom(1), logger: silentLogger() };
    const old = await CheckpointStore.open(open);
    const options = { random: seededRandom(1), claim: true, breathe };
    const target = { store, checkpoints: old };
    await rejects(restoreSavepoint(savepoint, target, options), { code: 'LEADER_FENCED' });
    await old.takeOver();
    await (await CheckpointStore.open(open)).takeOver();
    await rejects(restoreSavepoint(savepoint, target, options), { code: 'LEADER_FENCED' });
    deepEqual([await latestOf(store), await savepointState(savepoint)], [undefined, 'whole']);
  });

  it('shared files of a restored checkpoint are not discarded with older ones (FLINK-26985)', async () => {
    for (const claim of [false, true]) {
      const { savepoint, contents } = await savepointOf();
      const store = new MemoryBlobStore();
      await restore(savepoint, store, { claim });
      // The restored checkpoint is given up, while later ones still share its segments; every collector has had its turn.
      const job = await CheckpointedJob.start(store, { random: seededRandom(7), from: contents });
      for (let i = 0; i < 5; i++) {
        const manifest = await job.checkpoint();
        await job.checkpoints.collect({ thorough: true });
        await collectGarbage(store);
        await assertHolds(store, manifest, job.contents.get(manifest.checkpointId));
      }
      ok(!job.checkpoints.checkpointIds.includes(4));
      equal(await savepointState(savepoint), claim ? 'none' : 'whole');
    }
  });

  it('the first checkpoint after a claimed restore is restorable (FLINK-39964)', async () => {
    const { savepoint, contents } = await savepointOf();
    const store = new MemoryBlobStore();
    const { removedObjects } = await restore(savepoint, store, { claim: true });
    ok(removedObjects > 0);
    deepEqual(await savepoint.list(''), []);
    const job = await CheckpointedJob.start(store, { random: seededRandom(7), from: contents });
    const first = await job.checkpoint({ changes: 3 });
    const latest = (await latestOf(store)) as Manifest;
    deepEqual([latest.checkpointId, latest], [5, first]);
    deepEqual((await verifyCheckpoint(store, latest, { deep: true, breathe })).problems, []);
    await assertHolds(store, latest, job.contents.get(5));
  });

  it('a lost reply deletes nothing that is live (FLINK-38347)', async () => {
    let lost = 0;
    for (let round = 0; round < 60; round++) {
      const { savepoint, contents } = await savepointOf();
      const store = new MemoryBlobStore();
      const faulty = new FaultyBlobStore({
        inner: store,
        clock: new JumpingClock(),
        random: seededRandom(1000 + round),
        faults: { lostResponseRate: 0.25 },
      });
      const failed = await restore(savepoint, faulty, { claim: true }).then(
        () => false,
        () => true,
      );
      if (failed) lost++;
      const latest = await latestOf(store);
      if (latest === undefined) equal(await savepointState(savepoint), 'whole', `round ${round}`);
      else await assertHolds(store, latest, contents);
      await restore(savepoint, store, { claim: true }).catch((thrown: Error & { code: string }) => {
        // Claimed already, by the attempt before.
        deepEqual([thrown.code, latest === undefined], ['SAVEPOINT_MISSING', false], `round ${round}`);
      });
      await assertHolds(store, (await latestOf(store)) as Manifest, contents);
      deepEqual(await savepoint.list(''), [], `round ${round}`);
    }
    ok(lost > 20, `${lost} lost replies`);
  });

  it('a publication of which nobody knows whether it happened deletes nothing (FLINK-38347)', async () => {
    for (const happened of [false, true]) {
      const { savepoint, contents } = await savepointOf();
      const store = new MemoryBlobStore();
      const checkpoints = await CheckpointStore.open({ store, random: seededRandom(seed++), logger: silentLogger() });
      await checkpoints.takeOver();
      // HEAD is out of reach from here on; everything else is not.
      const [compareAndSet, read] = [store.compareAndSet.bind(store), store.read.bind(store)];
      const away = new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
      store.compareAndSet = async (...args) => {
        if (happened) await compareAndSet(...args);
        throw away;
      };
      store.read = async () => {
        throw away;
      };
      const options = { random: seededRandom(seed++), claim: true, objectBytesMax: small, breathe };
      const target = { store, checkpoints };
      await rejects(restoreSavepoint(savepoint, target, options), { code: 'STORE_UNAVAILABLE' });
      Object.assign(store, { compareAndSet, read });
      equal(await savepointState(savepoint), 'whole');
      const latest = await latestOf(store);
      equal(latest !== undefined, happened);
      if (latest !== undefined) await assertHolds(store, latest, contents);
      const again = await restore(savepoint, store, { claim: true });
      equal(again.before, happened);
      await assertHolds(store, again.checkpoint, contents);
    }
  });

  it('the leader goes on, and the names it had reserved do not keep garbage alive', async () => {
    const { savepoint, contents } = await savepointOf();
    const store = new MemoryBlobStore();
    const { checkpoint, checkpoints } = await restore(savepoint, store);
    await store.put('segments/1-2-host-aborted', new Uint8Array(3));
    await checkpoints.publish({ ...checkpoint, checkpointId: 5 });
    const { objects } = await checkpoints.collect({ thorough: true });
    deepEqual(objects, ['segments/1-2-host-aborted']);
    await assertHolds(store, checkpoints.latest as Manifest, contents);
  });

  for (const claim of [false, true]) {
    it(`at a death anywhere in it, doing it again ends in the same state${claim ? ', claimed' : ''}`, async () => {
      let deaths = 0;
      let resumed = 0;
      for (const which of ['job', 'savepoint']) {
        let survived = false;
        for (let at = 1; !survived; at++) {
          for (const after of [false, true]) {
            const what = `${which} dies ${after ? 'after' : 'before'} call ${at}`;
            const { savepoint, contents } = await savepointOf();
            const store = new MemoryBlobStore();
            const dying = new DyingStore(which === 'job' ? store : savepoint, at, after);
            survived = await restore(which === 'savepoint' ? dying : savepoint, which === 'job' ? dying : store, {
              claim,
            }).then(
              () => !dying.dead,
              () => false,
            );
            if (survived) continue;
            deaths++;
            // There is never a moment without it.
            const there = await latestOf(store);
            if (there === undefined) equal(await savepointState(savepoint), 'whole', what);
            else await assertHolds(store, there, contents);
            if (there !== undefined && (await savepointState(savepoint)) === 'none') continue;
            const again = await restore(savepoint, store, { claim });
            if (again.before) resumed++;
            equal(again.before, there !== undefined, what);
            deepEqual(again.checkpoints.checkpointIds, [4], what);
            await assertHolds(store, (await latestOf(store)) as Manifest, contents);
            await again.checkpoints.collect({ thorough: true });
            const garbage = await collectGarbage(store, { dryRun: true });
            deepEqual([...garbage.objects, ...garbage.pending], [], `${what}: nothing leaks`);
            await assertHolds(store, (await latestOf(store)) as Manifest, contents);
            if (claim) deepEqual(await savepoint.list(''), [], what);
            else ok(await readSavepoint(savepoint));
          }
        }
      }
      ok(deaths > 20, `${deaths} deaths`);
      ok(resumed > (claim ? 3 : 0), `${resumed} resumed`);
    });
  }

  it('the claim is not acted upon when the copy is not there', async () => {
    const { savepoint } = await savepointOf();
    const store = new MemoryBlobStore();
    const target = new DyingStore(store);
    let published = false;
    target.before = async (call, name) => {
      if (call === 'compareAndSet' && name === 'HEAD') published = true;
      if (!published || call !== 'read') return;
      for (const object of (await store.list('segments/')).slice(0, 1)) await store.delete(object);
    };
    await rejects(restore(savepoint, target, { claim: true }), { code: 'SAVEPOINT_CLAIM', kind: 'corrupt' });
    equal(await savepointState(savepoint), 'whole');
  });
});
