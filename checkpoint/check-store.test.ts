import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../base/index.js';
import { DyingStore } from './blob/dying-store.test.support.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { checkStore } from './check-store.js';
import { breathe, CheckpointedJob } from './checkpointed-job.test.support.js';
import { headName } from './head/head-register.js';
import type { Manifest } from './manifest.js';
import { pin } from './pin.js';

let seed = 500;
function options(deep = true) {
  const notes: string[] = [];
  return { deep, breathe, random: seededRandom(seed++), notes, note: (line: string) => void notes.push(line) };
}

async function jobWith(checkpoints: number, headBytesMax = 100_000) {
  const store = new MemoryBlobStore();
  const job = await CheckpointedJob.start(store, { random: seededRandom(71), headBytesMax });
  const manifests: Manifest[] = [];
  for (let i = 0; i < checkpoints; i++) manifests.push(await job.checkpoint());
  return { store, job, manifests };
}

describe('checking a store', () => {
  it('finds nothing wrong where nothing is, and leaves nothing behind', async () => {
    const { store, job } = await jobWith(5, 1);
    await job.checkpoints.collect({ thorough: true });
    const before = await store.list('');
    const told = options();
    const found = await checkStore(store, told);
    deepEqual(found.head, { epoch: 1, line: 6 });
    deepEqual(found.problems, []);
    deepEqual(
      found.checkpoints.map((c) => [c.checkpointId, c.object.split('-')[0], c.problems]),
      [
        [5, 'manifests/1', []],
        [4, 'manifests/1', []],
        [3, 'manifests/1', []],
      ],
    );
    deepEqual(found.unreferenced, { dead: [], pending: [], unknown: [] });
    deepEqual([found.pins, told.notes], [[], []]);
    deepEqual(await store.list(''), before);
  });

  it('an empty store is in order', async () => {
    const found = await checkStore(new MemoryBlobStore(), options());
    deepEqual([found.head, found.problems, found.checkpoints], [undefined, [], []]);
  });

  it('what nothing refers to is told by what will become of it', async () => {
    const { store } = await jobWith(4);
    await store.put('segments/1-2-host-dead', new Uint8Array(5));
    await store.put('segments/1-9-host-pending', new Uint8Array(7));
    await store.put('notes.txt', new Uint8Array(3));
    const { unreferenced } = await checkStore(store, options());
    deepEqual(unreferenced, {
      dead: [{ name: 'segments/1-2-host-dead', bytes: 5 }],
      pending: [{ name: 'segments/1-9-host-pending', bytes: 7 }],
      unknown: [{ name: 'notes.txt', bytes: 3 }],
    });
  });

  it('all damage is told at once: of checkpoints, of pins, of what only a pin keeps', async () => {
    const { store, job, manifests } = await jobWith(2);
    await pin(store, manifests[0] as Manifest, 'reader', seededRandom(1));
    await pin(store, manifests[1] as Manifest, 'other', seededRandom(2));
    await store.put('pins/7-torn-x', Buffer.from('half a'));
    await job.checkpoints.reset();
    for (let i = 0; i < 4; i++) await job.checkpoint();
    const missing = manifests[0]?.tasks[1]?.segments[0]?.object as string;
    await store.delete(missing);
    const latest = job.checkpoints.latest as Manifest;
    const newest = latest.tasks[0]?.segments.at(-1)?.object as string;
    await store.delete(newest);
    const found = await checkStore(store, options());
    deepEqual(
      found.checkpoints.map((c) => [c.checkpointId, c.problems.map((p) => p.object)]),
      [
        [4, [newest]],
        [3, []],
        [2, []],
      ],
    );
    deepEqual(
      found.pins.map((p) => [p.name.replace(/-[0-9a-f]{16}$/, ''), p.problems.map((q) => q.code)]),
      [
        // The checkpoint of that id that HEAD keeps is another one.
        ['pins/1-reader', ['SEGMENT_CORRUPT']],
        ['pins/2-other', ['SEGMENT_CORRUPT']],
        ['pins/7-torn-x', ['MANIFEST_CORRUPT']],
      ],
    );
    equal(found.unreferenced, undefined, 'not known, as a pin cannot be read');
  });

  it('a HEAD that is damaged, or gone, is a problem like others', async () => {
    const { store } = await jobWith(2);
    const { version } = (await store.read(headName)) as { version: string };
    await store.compareAndSet(headName, version, Buffer.from('nothing'));
    const found = await checkStore(store, options());
    deepEqual(
      [found.head, found.problems.map((p) => p.code), found.unreferenced],
      [undefined, ['HEAD_CORRUPT'], undefined],
    );
    const gone = new MemoryBlobStore();
    for (const name of await store.list('segments/')) await gone.put(name, await store.get(name));
    deepEqual(
      (await checkStore(gone, options())).problems.map((p) => p.code),
      ['HEAD_MISSING'],
    );
  });

  it('a job that runs meanwhile: what it gives up is left out, not called damaged', async () => {
    const { store, job } = await jobWith(4);
    const looking = new DyingStore(store);
    let turn = 0;
    looking.before = async (call) => {
      if (call !== 'get' || turn++ !== 3) return;
      await job.checkpoints.reset();
      for (let i = 0; i < 6; i++) await job.checkpoint();
      await job.checkpoints.collect({ thorough: true });
    };
    const told = options();
    const found = await checkStore(looking, told);
    ok(turn > 3);
    deepEqual(
      [...found.checkpoints, ...found.pins].flatMap((c) => c.problems),
      [],
    );
    match(told.notes.join('; '), /checkpoint \d was given up while it was looked at/);
    deepEqual(await store.list('pins/'), []);
  });

  it('where no pin can be written it reads all the same, and says so', async () => {
    const { store } = await jobWith(2);
    const readOnly = new DyingStore(store);
    readOnly.before = async (call) => {
      if (call === 'put') await new DyingStore(store, 1).put('x', new Uint8Array(0));
    };
    const told = options();
    const found = await checkStore(readOnly, told);
    deepEqual(
      found.checkpoints.map((c) => c.problems),
      [[], []],
    );
    match(told.notes[0] ?? '', /checkpoint 2 cannot be pinned; .*: the process died here/);
    // What the job gives up meanwhile is left out all the same.
    const { store: live, job } = await jobWith(3);
    const looking = new DyingStore(live);
    let turn = 0;
    looking.before = async (call) => {
      if (call === 'put') await new DyingStore(live, 1).put('x', new Uint8Array(0));
      if (call !== 'get' || turn++ > 0) return;
      await job.checkpoints.reset();
      for (let i = 0; i < 4; i++) await job.checkpoint();
      await job.checkpoints.collect({ thorough: true });
    };
    const again = await checkStore(looking, options());
    deepEqual(
      again.checkpoints.flatMap((c) => c.problems),
      [],
    );
  });

  it('a store that gives no answer is not damage', async () => {
    const { store } = await jobWith(2);
    const counting = new DyingStore(store);
    await checkStore(counting, options());
    for (let at = 1; at < counting.calls; at += 3) {
      await rejects(checkStore(new DyingStore(store, at), options()), { code: 'STORE_UNAVAILABLE' });
    }
  });
});
