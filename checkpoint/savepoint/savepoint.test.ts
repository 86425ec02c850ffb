import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type MillraceError, type Random, seededRandom } from '../../base/index.js';
import { DyingStore } from '../blob/dying-store.test.support.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { assertHolds, breathe, CheckpointedJob } from '../checkpointed-job.test.support.js';
import type { Manifest } from '../manifest.js';
import { readPins } from '../pin.js';
import { verifyCheckpoint } from '../verify.js';
import { checkSavepoint } from './check-savepoint.js';
import { removeSavepoint } from './remove-savepoint.js';
import { begunName, readSavepoint, removingName, savepointName, savepointState } from './savepoint.js';
import { writeSavepoint } from './write-savepoint.js';

const options = (random: Random = seededRandom(8)) => ({ random, breathe });
const tiny = 4096;

async function jobWith(checkpoints: number, valueBytes = 20) {
  const store = new MemoryBlobStore();
  const job = await CheckpointedJob.start(store, { random: seededRandom(31), valueBytes });
  let manifest = await job.checkpoint();
  for (let i = 1; i < checkpoints; i++) manifest = await job.checkpoint({ inline: i === 2 });
  return { store, job, manifest, contents: job.contents.get(checkpoints) };
}

async function wipe(store: MemoryBlobStore): Promise<void> {
  for (const name of await store.list('')) await store.delete(name);
}

describe('a savepoint', () => {
  it('holds what the checkpoint held, needs nothing of its store, and is verified like one', async () => {
    const { store, manifest, contents } = await jobWith(4);
    const target = new MemoryBlobStore();
    const progress: number[] = [];
    const told = { ...options(), progress: (done: number, all: number) => progress.push(done / all) };
    const written = await writeSavepoint(store, manifest, target, told);
    await wipe(store);
    const savepoint = await readSavepoint(target);
    deepEqual(savepoint, written);
    const { tasks: copies, ...rest } = savepoint.manifest;
    const { tasks, ...original } = manifest;
    deepEqual(rest, original);
    deepEqual(
      copies.map((t) => [t.task, t.position]),
      tasks.map((t) => [t.task, t.position]),
    );
    await assertHolds(target, savepoint.manifest, contents);
    deepEqual((await checkSavepoint(target, { deep: true, breathe })).problems, []);
    deepEqual(
      progress,
      [...progress].sort((a, b) => a - b),
    );
    equal(progress.at(-1), 1);
    // All small segments together.
    equal((await target.list('')).length, 3);
    deepEqual(
      savepoint.objects.map((o) => o.name),
      await target.list('segments/'),
    );
  });

  it('large segments are cut, small ones put together, to objects of about one size', async () => {
    const { store, manifest, contents } = await jobWith(6, 500);
    const sizes = manifest.tasks.flatMap((t) => t.segments.map((s) => s.length));
    ok(Math.max(...sizes) > 2 * tiny && sizes.length > 10, String(sizes));
    const target = new MemoryBlobStore();
    const { manifest: copy, objects } = await writeSavepoint(store, manifest, target, {
      ...options(),
      objectBytesMax: tiny,
    });
    await assertHolds(target, copy, contents);
    deepEqual((await verifyCheckpoint(target, copy, { deep: true, breathe })).problems, []);
    // A segment ends behind a key group: of these there are 8 in each task.
    ok(
      objects.every(({ bytes }) => bytes < 3 * tiny),
      JSON.stringify(objects),
    );
    ok(objects.length > 6, 'several');
    const found = await Promise.all(objects.map(async ({ name }) => (await target.stat(name))?.bytes));
    deepEqual(
      found,
      objects.map((o) => o.bytes),
    );
  });

  it('small segments fill objects up to the bound, none beyond it', async () => {
    const { store, manifest, contents } = await jobWith(8);
    const refs = manifest.tasks.flatMap((t) => t.segments).filter((s) => s.inline === undefined);
    const largest = Math.max(...refs.map((s) => s.length));
    const target = new MemoryBlobStore();
    const write = { ...options(), objectBytesMax: 2 * largest };
    const { manifest: copy, objects } = await writeSavepoint(store, manifest, target, write);
    await assertHolds(target, copy, contents);
    ok(
      objects.every(({ bytes }) => bytes <= 2 * largest),
      JSON.stringify(objects),
    );
    ok(objects.length > 2 && objects.length < refs.length, `${objects.length} objects of ${refs.length} segments`);
  });

  it('the checkpoint is pinned meanwhile: a job that goes on and collects takes nothing away', async () => {
    const { store, job, manifest, contents } = await jobWith(3);
    const target = new DyingStore(new MemoryBlobStore());
    target.before = async (call, name) => {
      if (call !== 'put' || !name.startsWith('segments/')) return;
      deepEqual(
        (await readPins(store)).map((p) => p.manifest.checkpointId),
        [3],
      );
      await job.checkpoints.reset();
      for (let i = 0; i < 4; i++) await job.checkpoint();
      await job.checkpoints.collect({ thorough: true });
    };
    const { manifest: copy } = await writeSavepoint(store, manifest, target, { ...options(), objectBytesMax: tiny });
    await assertHolds(target, copy, contents);
    deepEqual(await readPins(store), []);
    ok((await job.checkpoints.collect({ thorough: true })).objects.length > 0, 'afterwards it may');
  });

  it('takes bounded room: few objects are under way at once, however many there are', async () => {
    const { store, manifest } = await jobWith(6, 500);
    const target = new MemoryBlobStore();
    const put = target.put.bind(target);
    let [under, most, bytes, mostBytes] = [0, 0, 0, 0];
    target.put = async (name, object) => {
      if (!name.startsWith('segments/')) return put(name, object);
      most = Math.max(most, ++under);
      bytes += object.length;
      mostBytes = Math.max(mostBytes, bytes);
      for (let i = 0; i < 50; i++) await Promise.resolve();
      await put(name, object);
      under--;
      bytes -= object.length;
    };
    const { objects } = await writeSavepoint(store, manifest, target, { ...options(), objectBytesMax: 2000 });
    ok(objects.length > 12, `${objects.length} objects`);
    equal(most, 3);
    ok(mostBytes <= 3 * Math.max(...objects.map((o) => o.bytes)));
  });

  it('of a checkpoint that is no longer kept is refused, and nothing usable is left', async () => {
    const { store, manifest, job } = await jobWith(1);
    for (let i = 0; i < 4; i++) await job.checkpoint();
    const target = new MemoryBlobStore();
    await rejects(writeSavepoint(store, manifest, target, options()), { code: 'CHECKPOINT_NOT_FOUND' });
    await rejects(readSavepoint(target), { code: 'SAVEPOINT_INCOMPLETE' });
  });

  it('of a damaged checkpoint is refused by the name of what is damaged; the pin goes', async () => {
    const { store, manifest } = await jobWith(3);
    const object = manifest.tasks[1]?.segments[0]?.object as string;
    const bytes = await store.get(object);
    bytes[10] = (bytes[10] as number) ^ 1;
    await store.delete(object);
    await store.put(object, bytes);
    const target = new MemoryBlobStore();
    await rejects(writeSavepoint(store, manifest, target, options()), {
      code: 'SEGMENT_CORRUPT',
      message: new RegExp(object),
    });
    equal(await savepointState(target), 'half-written');
    deepEqual(await readPins(store), []);
  });

  it('goes only where nothing is', async () => {
    const { store, manifest, job } = await jobWith(2);
    const other = new MemoryBlobStore();
    await other.put('something', Uint8Array.of(1));
    await rejects(writeSavepoint(store, manifest, other, options()), {
      code: 'SAVEPOINT_TARGET',
      message: /something/,
    });
    await rejects(writeSavepoint(store, manifest, store, options()), { code: 'SAVEPOINT_TARGET' });
    const led = new MemoryBlobStore();
    await CheckpointedJob.start(led, { random: seededRandom(1) });
    await rejects(writeSavepoint(store, manifest, led, options()), { code: 'SAVEPOINT_TARGET', message: /of a job/ });

    const target = new MemoryBlobStore();
    await writeSavepoint(store, manifest, target, options());
    const before = await target.list('');
    const next = await job.checkpoint();
    for (const finish of [false, true]) {
      const again = writeSavepoint(store, next, target, { ...options(), finish });
      await rejects(again, { code: 'SAVEPOINT_EXISTS', message: /of checkpoint 2 is there already/ });
    }
    deepEqual(await target.list(''), before);
    equal(await savepointState(target), 'whole');
  });

  it('none at all, and one that is damaged, are told apart', async () => {
    const target = new MemoryBlobStore();
    await rejects(readSavepoint(target), { code: 'SAVEPOINT_MISSING', kind: 'invalid' });
    const { store, manifest } = await jobWith(2);
    await writeSavepoint(store, manifest, target, options());
    const bytes = await target.get(savepointName);
    const text = Buffer.from(bytes).toString();
    for (const [change, code] of [
      [text.slice(0, -9), 'SAVEPOINT_CORRUPT'],
      [text.replace('task-0', 'task-7'), 'SAVEPOINT_CORRUPT'],
      [text.replace('millrace-savepoint 1', 'millrace-savepoint 4'), 'SAVEPOINT_VERSION'],
    ] as const) {
      await target.delete(savepointName);
      await target.put(savepointName, Buffer.from(change));
      await rejects(readSavepoint(target), { code });
      deepEqual(
        (await checkSavepoint(target, { deep: true, breathe })).problems.map((p) => p.code),
        [code],
      );
    }
  });

  it('a stop leaves a half-written one, and no pin', async () => {
    const { store, manifest } = await jobWith(3);
    const stop = new AbortController();
    const target = new DyingStore(new MemoryBlobStore());
    target.before = async (call, name) => {
      if (call === 'put' && name.startsWith('segments/')) stop.abort();
    };
    const written = writeSavepoint(store, manifest, target, {
      ...options(),
      objectBytesMax: 600,
      signal: stop.signal,
    });
    await rejects(written, { code: 'STOPPED' });
    equal(await savepointState(target), 'half-written');
    deepEqual(await readPins(store), []);
  });
});

describe('a half-written savepoint', () => {
  /** Every state that a writer's death can leave: at each call, before or after it took effect. */
  async function* halves() {
    const { store, manifest, contents } = await jobWith(3, 100);
    let survived = false;
    for (let at = 1; !survived; at++) {
      for (const after of [false, true]) {
        const target = new MemoryBlobStore();
        const dying = new DyingStore(target, at, after);
        const write = { ...options(seededRandom(at)), objectBytesMax: 600 };
        survived = await writeSavepoint(store, manifest, dying, write).then(
          () => !dying.dead,
          () => false,
        );
        if (!survived)
          yield { store, manifest, contents, target, what: `died ${after ? 'after' : 'before'} call ${at}` };
      }
    }
  }

  it('is refused by readers and by writers, and finished by who asks for it', async () => {
    let count = 0;
    for await (const { store, manifest, contents, target, what } of halves()) {
      const state = await savepointState(target);
      if (state === 'half-written') {
        count++;
        await rejects(readSavepoint(target), { code: 'SAVEPOINT_INCOMPLETE', kind: 'invalid' }, what);
        await rejects(writeSavepoint(store, manifest, target, options()), { code: 'SAVEPOINT_INCOMPLETE' }, what);
      }
      const there = await target.list('segments/');
      const finish = { ...options(seededRandom(77)), objectBytesMax: 600, finish: true };
      const { manifest: copy } = await writeSavepoint(store, manifest, target, finish);
      await assertHolds(target, copy, contents);
      const { problems, unknown } = await checkSavepoint(target, { deep: true, breathe });
      deepEqual([problems, unknown], [[], []], what);
      const now = await target.list('segments/');
      ok(
        there.every((name) => now.includes(name)),
        `${what}: what was there is used`,
      );
    }
    ok(count > 10, `${count} half-written ones`);
  });

  it('is removed, also when that dies anywhere in it', async () => {
    for await (const { target, what } of halves()) {
      if ((await savepointState(target)) !== 'half-written') continue;
      for (let at = 1; ; at++) {
        const dying = new DyingStore(target, at, at % 2 === 0);
        const removed = removeSavepoint(dying, { random: seededRandom(1), whole: false });
        const done = await removed.then(
          () => true,
          () => false,
        );
        notEqual(await savepointState(target), 'whole', what);
        if (done) break;
      }
      deepEqual(await target.list(''), [], what);
    }
  });

  it('of another checkpoint, or with other bytes, is not finished', async () => {
    const { store, manifest, job } = await jobWith(2);
    const target = new MemoryBlobStore();
    // Dies with its last object.
    const counting = new DyingStore(new MemoryBlobStore());
    await writeSavepoint(store, manifest, counting, options());
    const dying = new DyingStore(target, counting.calls - 2);
    await rejects(writeSavepoint(store, manifest, dying, options()), /the process died here/);
    equal(await savepointState(target), 'half-written');
    const next = await job.checkpoint();
    const finish = { ...options(), finish: true };
    await rejects(writeSavepoint(store, next, target, finish), {
      code: 'SAVEPOINT_OTHER',
      message: /is of checkpoint 2 of memory, not of 3/,
    });
    const [segment] = await target.list('segments/');
    ok(segment !== undefined, 'a segment was written');
    await target.delete(segment);
    await target.put(segment, Uint8Array.of(1));
    await rejects(writeSavepoint(store, manifest, target, finish), { code: 'SAVEPOINT_CORRUPT' });
  });
});

describe('a savepoint that is removed', () => {
  async function whole() {
    const { store, manifest } = await jobWith(3);
    const target = new MemoryBlobStore();
    await writeSavepoint(store, manifest, target, { ...options(), objectBytesMax: 600 });
    return { store, manifest, target };
  }

  it('is left alone when it is whole, unless that is meant', async () => {
    const { target } = await whole();
    const before = await target.list('');
    const random = seededRandom(2);
    await rejects(removeSavepoint(target, { random, whole: false }), { code: 'SAVEPOINT_EXISTS' });
    deepEqual(await target.list(''), before);
    ok((await removeSavepoint(target, { random, whole: true })) > 1);
    deepEqual(await target.list(''), []);
    equal(await removeSavepoint(target, { random, whole: true }), 0);
  });

  it('is refused from the first moment on', async () => {
    const { target } = await whole();
    const dying = new DyingStore(target, 5, true);
    await rejects(removeSavepoint(dying, { random: seededRandom(2), whole: true }), /the process died here/);
    deepEqual([await target.stat(savepointName), await target.stat(removingName)].map(Boolean), [true, true]);
    await rejects(readSavepoint(target), { code: 'SAVEPOINT_INCOMPLETE' });
  });

  it('is never taken for whole while parts of it are gone', async () => {
    for (let at = 1; ; at++) {
      const { target } = await whole();
      const all = await target.list('segments/');
      const dying = new DyingStore(target, at, true);
      const done = await removeSavepoint(dying, { random: seededRandom(2), whole: true }).then(
        () => true,
        (thrown: unknown) => {
          match(String(thrown), /the process died here/);
          return false;
        },
      );
      if ((await savepointState(target)) === 'whole') deepEqual(await target.list('segments/'), all);
      if (done) break;
      // What is left is garbage to anyone, or whole again.
      await removeSavepoint(target, { random: seededRandom(2), whole: false }).catch((thrown: MillraceError) => {
        equal(thrown.code, 'SAVEPOINT_EXISTS');
      });
      const state = await savepointState(target);
      if (state === 'whole') deepEqual(await target.list('segments/'), all);
      else deepEqual([state, await target.list('')], ['none', []]);
    }
  });

  it('under its writer: at every pair of steps, it is whole, or it is not there', async () => {
    const { store, manifest, contents } = await jobWith(2);
    const seen = new Set<string>();
    for (let writerStep = 1; writerStep < 40; writerStep++) {
      for (let removerStep = 0; removerStep < 14; removerStep++) {
        const target = new MemoryBlobStore();
        const writing = new DyingStore(target);
        const removing = new DyingStore(target);
        let writerGoes: () => void = () => {};
        const paused = new Promise<void>((resolve) => {
          writerGoes = resolve;
        });
        // The writer stands at its n-th call while the remover takes m calls of its own; then both go on.
        let writerCalls = 0;
        let atPause: () => void = () => {};
        const reached = new Promise<void>((resolve) => {
          atPause = resolve;
        });
        writing.before = async () => {
          if (++writerCalls !== writerStep) return;
          atPause();
          await paused;
        };
        removing.before = async () => {
          if (removing.calls === removerStep) writerGoes();
        };
        const written = writeSavepoint(store, manifest, writing, { ...options(), objectBytesMax: 600 }).then(
          () => 'written',
          (thrown) => thrown.code as string,
        );
        await Promise.race([reached, written]);
        const removed = await removeSavepoint(removing, { random: seededRandom(4), whole: false }).then(
          () => 'removed',
          (thrown) => thrown.code as string,
        );
        writerGoes();
        const outcome = await written;
        const state = await savepointState(target);
        const what = `writer ${writerStep}, remover ${removerStep}: ${outcome}, ${removed}, ${state}`;
        seen.add(`${outcome}, ${removed}`);
        if (outcome === 'written') {
          equal(state, 'whole', what);
          await assertHolds(target, (await readSavepoint(target)).manifest, contents);
        } else notEqual(state, 'whole', what);
        if (state === 'none') deepEqual(await target.list(''), [], what);
      }
    }
    match([...seen].sort().join('; '), /SAVEPOINT_INCOMPLETE, removed.*written, SAVEPOINT_EXISTS/);
  });
});

it('the first and last objects of a savepoint can be read by eye', async () => {
  const { store, manifest } = await jobWith(1);
  const target = new MemoryBlobStore();
  await writeSavepoint(store, manifest, target, options());
  const text = async (name: string) => Buffer.from(await target.get(name)).toString();
  match(
    await text(begunName),
    /^millrace-savepoint 1 [0-9a-f]{16}\n\{"savepointId":"[0-9a-f]{16}","checkpointId":1,"source":"memory"/,
  );
  match(await text(savepointName), /^millrace-savepoint 1 [0-9a-f]{16}\n\{.*"manifest":\{"format":2,"checkpointId":1/);
  equal(await target.stat(removingName), undefined);
  ok((manifest as Manifest).tasks.length > 1);
});
