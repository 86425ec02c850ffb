import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom, silentLogger } from '../base/index.js';
import { DyingStore } from './blob/dying-store.test.support.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { CheckpointStore } from './checkpoint-store.js';
import { assertHolds, breathe, CheckpointedJob } from './checkpointed-job.test.support.js';
import { headName } from './head/head-register.js';
import type { Manifest } from './manifest.js';
import { fallBack, findRestorable, type RestorableCheckpoint } from './undamaged.js';

const options = { deep: true, breathe };
const storeOptions = (store: ConstructorParameters<typeof DyingStore>[0]) => ({
  store,
  random: seededRandom(3),
  logger: silentLogger(),
});

async function jobWith(checkpoints: number, headBytesMax = 100_000) {
  const store = new MemoryBlobStore();
  const job = await CheckpointedJob.start(store, { random: seededRandom(21), headBytesMax });
  const manifests: Manifest[] = [];
  for (let i = 0; i < checkpoints; i++) manifests.push(await job.checkpoint());
  return { store, job, manifests };
}

/** Removes what only this checkpoint and newer ones need. */
async function damage(store: MemoryBlobStore, manifest: Manifest): Promise<string> {
  const object = manifest.tasks[0]?.segments.at(-1)?.object as string;
  await store.delete(object);
  return object;
}

describe('falling back to an undamaged checkpoint', () => {
  it('the newest is taken when nothing is wrong with it', async () => {
    const { store, manifests } = await jobWith(4);
    deepEqual(await findRestorable(store, options), { newest: 4, damaged: [], undamaged: manifests[3] });
  });

  it('damaged ones are passed by, and told with what is wrong', async () => {
    const { store, job, manifests } = await jobWith(4);
    const third = await damage(store, manifests[2] as Manifest);
    const found = (await findRestorable(store, options)) as RestorableCheckpoint;
    deepEqual([found.newest, found.undamaged], [4, manifests[1]]);
    deepEqual(
      found.damaged.map(({ checkpointId, problems }) => [checkpointId, problems.map((p) => p.object)]),
      [
        [4, [third]],
        [3, [third]],
      ],
    );
    const checkpoints = await fallBack(storeOptions(store), found);
    // An id of its own: what was named after 3 and 4 is not met again.
    deepEqual(checkpoints.checkpointIds, [5]);
    await assertHolds(store, checkpoints.latest as Manifest, job.contents.get(2));
    // And it goes on from there: what was given up is collected, what is kept is not.
    const from = job.contents.get(2) as Map<string, string>;
    const next = await CheckpointedJob.start(store, { random: seededRandom(22), from });
    const sixth = await next.checkpoint();
    equal(sixth.checkpointId, 6);
    await next.checkpoints.collect({ thorough: true });
    await assertHolds(store, sixth, next.contents.get(6));
    deepEqual((await findRestorable(store, options))?.damaged, []);
    ok(!(await store.list('segments/')).some((name) => /^segments\/1-[34]-/.test(name)), 'given up, and collected');
  });

  it('a manifest outside HEAD that is damaged or gone is passed by too', async () => {
    for (const what of ['cut', 'gone']) {
      const { store, job } = await jobWith(3, 1);
      const newest = (await store.list('manifests/')).at(-1) as string;
      const bytes = await store.get(newest);
      await store.delete(newest);
      if (what === 'cut') await store.put(newest, bytes.subarray(0, bytes.length - 5));
      const found = (await findRestorable(store, options)) as RestorableCheckpoint;
      deepEqual(
        found.damaged.map(({ checkpointId, problems }) => [checkpointId, problems[0]?.code, problems[0]?.object]),
        [[3, what === 'cut' ? 'MANIFEST_CORRUPT' : 'MANIFEST_MISSING', newest]],
      );
      const checkpoints = await fallBack(storeOptions(store), found);
      deepEqual(checkpoints.checkpointIds, [4, 1]);
      await assertHolds(store, checkpoints.latest as Manifest, job.contents.get(2));
    }
  });

  it('at a death anywhere in it, the next start finds the old checkpoints or the new one, never neither', async () => {
    let done = false;
    let deaths = 0;
    for (let at = 1; !done; at++) {
      for (const after of [false, true]) {
        const { store, job, manifests } = await jobWith(3);
        await damage(store, manifests[2] as Manifest);
        const dying = new DyingStore(store, at, after);
        try {
          await fallBack(storeOptions(dying), (await findRestorable(dying, options)) as RestorableCheckpoint);
          done = true;
        } catch (thrown) {
          match(String(thrown), /the process died here/);
          deaths++;
        }
        const found = (await findRestorable(store, options)) as RestorableCheckpoint;
        const ids = [found.undamaged?.checkpointId, found.damaged.length];
        ok(String(ids) === '2,1' || String(ids) === '4,0', `${ids} after a death at ${at}`);
        await assertHolds(store, found.undamaged as Manifest, job.contents.get(2));
      }
    }
    ok(deaths > 10, `${deaths} deaths`);
  });

  it('what the collector of a running job takes meanwhile is no damage', async () => {
    const { store, job } = await jobWith(4);
    const looking = new DyingStore(store);
    let turns = 0;
    looking.before = async (call) => {
      if (call !== 'get' || turns++ > 0) return;
      for (let i = 0; i < 5; i++) await job.checkpoint();
      // Nothing of the checkpoints that were just read about is left.
      for (const name of await store.list('segments/1-1-')) await store.delete(name);
      await job.checkpoints.reset();
      await job.checkpoints.collect({ thorough: true });
      const next = await CheckpointedJob.start(store, { random: seededRandom(23) });
      await next.checkpoint();
    };
    const found = await findRestorable(looking, options);
    deepEqual([found?.newest, found?.damaged], [1, []]);
  });
});

describe('a restore is never silently empty (libsql#717)', () => {
  it('no checkpoint is only where there never was one', async () => {
    const store = new MemoryBlobStore();
    equal(await findRestorable(store, options), undefined);
    equal((await CheckpointStore.open(storeOptions(store))).latest, undefined);
    await CheckpointedJob.start(store, { random: seededRandom(1) });
    equal(await findRestorable(store, options), undefined, 'led, but nothing published');
  });

  it('where every checkpoint is damaged, none is made up', async () => {
    const { store, manifests } = await jobWith(3);
    await damage(store, manifests[0] as Manifest);
    const found = (await findRestorable(store, options)) as RestorableCheckpoint;
    deepEqual([found.undamaged, found.damaged.map((d) => d.checkpointId)], [undefined, [3, 2, 1]]);
    await rejects(fallBack(storeOptions(store), found), { code: 'CHECKPOINTS_DAMAGED', kind: 'corrupt' });
    deepEqual((await findRestorable(store, options))?.damaged.length, 3, 'and nothing was changed');
  });

  it('a HEAD that is gone while segments are there is damage, not a beginning', async () => {
    const { store: whole } = await jobWith(2);
    const store = new MemoryBlobStore();
    for (const name of await whole.list('')) await store.put(name, await whole.get(name));
    const refused = { code: 'HEAD_MISSING', kind: 'corrupt', message: /HEAD is gone, .*segments\/1-1-host/ };
    await rejects(findRestorable(store, options), refused);
    await rejects(CheckpointStore.open(storeOptions(store)), refused);
  });

  it('a HEAD that is damaged, or of another version, is said to be', async () => {
    for (const [text, code] of [
      ['millrace-head 2 0000000000000000\n{}\n', 'HEAD_CORRUPT'],
      ['millrace-head 99 0000000000000000\n{}\n', 'HEAD_VERSION'],
    ] as const) {
      const { store } = await jobWith(2);
      const { version } = (await store.read(headName)) as { version: string };
      await store.compareAndSet(headName, version, Buffer.from(text));
      await rejects(findRestorable(store, options), { code });
    }
  });

  it('a store that is away at any moment is an error', async () => {
    const { store } = await jobWith(2);
    const counting = new DyingStore(store);
    await findRestorable(counting, options);
    for (let at = 1; at <= counting.calls; at++) {
      await rejects(findRestorable(new DyingStore(store, at), options), (thrown: Error) => {
        match(thrown.message, /the process died here/);
        return true;
      });
    }
  });
});
