import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MillraceError, seededRandom, silentLogger } from '../../base/index.js';
import { segmentObjectName } from '../blob/blob-name.js';
import type { BlobStore } from '../blob/blob-store.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { CheckpointStore } from '../checkpoint-store.js';
import type { Manifest, SegmentRef } from '../manifest.js';
import { pin, unpin } from '../pin.js';
import { segmentOf } from '../segment/segment-of.test.support.js';
import { describeSegment } from '../segment/stored-segment.js';
import { fallBack } from '../undamaged.js';

/* Races between leaders, readers and collectors that the model (head-model.test.ts) or a reader of the code has found. */

const random = seededRandom(11);
const open = (store: BlobStore, options: { readonly retained?: number; readonly headBytesMax?: number } = {}) =>
  CheckpointStore.open({ store, random: random.fork(), logger: silentLogger(), retained: 1, ...options });
/** No manifest fits into this HEAD. */
const tiny = { headBytesMax: 100 };

async function segment(store: BlobStore, epoch: number, checkpointId: number): Promise<SegmentRef> {
  const bytes = segmentOf([{ keyGroup: 1, key: 'k', value: `of ${checkpointId}` }], { checkpointId, full: true });
  const object = segmentObjectName(epoch, checkpointId, 'host-1', random.nonce());
  await store.put(object, bytes);
  return { ...describeSegment(bytes), object, offset: 0, deltas: 1 };
}

function manifest(epoch: number, checkpointId: number, segments: readonly SegmentRef[] = []): Manifest {
  const tasks = [{ task: 't', finished: false, segments, position: '{}' }];
  return { format: 2, checkpointId, epoch, tasks, meta: '', final: false };
}

/** Runs something once, just before the next call of this kind. */
function before<K extends 'compareAndSet' | 'get' | 'read'>(store: BlobStore, call: K, action: () => Promise<void>) {
  const real = store[call] as (...args: unknown[]) => Promise<unknown>;
  store[call] = (async (...args: unknown[]) => {
    store[call] = real.bind(store) as BlobStore[K];
    await action();
    return real.apply(store, args);
  }) as BlobStore[K];
}

describe('races around HEAD', () => {
  it('a publication that relied on a pin would lose its object when the pin goes first', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    const old = manifest(1, 1, [await segment(store, 1, 1)]);
    await leader.publish(old);
    const held = await pin(store, old, 'reader', random);
    await leader.publish(manifest(1, 2));
    before(store, 'compareAndSet', async () => {
      await unpin(store, held);
      await (await open(store)).collect();
    });
    await rejects(leader.publish(manifest(1, 3, old.tasks[0]?.segments)), { code: 'SEGMENT_DEAD' });
  });

  for (const options of [{}, tiny]) {
    const where = options === tiny ? 'outside HEAD' : 'inside HEAD';
    it(`a pin is refused when a reset has put another checkpoint under its id (manifests ${where})`, async () => {
      const store = new MemoryBlobStore();
      const leader = await open(store, options);
      await leader.takeOver();
      const old = manifest(1, 1, [await segment(store, 1, 1)]);
      await leader.publish(old);
      await unpin(store, await pin(store, old, 'reader', random));
      await leader.reset();
      await leader.collect();
      await leader.publish(manifest(2, 1));
      await rejects(pin(store, old, 'reader', random), { code: 'CHECKPOINT_NOT_FOUND' });
      deepEqual(await store.list('pins/'), []);
    });
  }

  it('a pin that was put, and then not looked after, does not stay', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    await leader.publish(manifest(1, 1));
    const lost = async () => {
      throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
    };
    before(store, 'read', lost);
    await rejects(pin(store, manifest(1, 1), 'reader', random), { code: 'STORE_UNAVAILABLE' });
    deepEqual(await store.list('pins/'), []);
    const put = store.put.bind(store);
    store.put = (name, bytes) => put(name, bytes).then(lost);
    await rejects(pin(store, manifest(1, 1), 'reader', random), { code: 'STORE_UNAVAILABLE' });
    deepEqual(await store.list('pins/'), []);
  });

  it('what leaves HEAD while a reservation holds the line is collected once that is released', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    await leader.publish(manifest(1, 1));
    await leader.collect();
    const reservation = leader.reserve();
    for (const id of [2, 3, 4]) {
      await leader.publish(manifest(1, id, [await segment(store, 1, id)]));
      await leader.collect();
    }
    equal((await store.list('segments/')).length, 3);
    reservation.release();
    await leader.publish(manifest(1, 5));
    await leader.collect();
    deepEqual(await store.list('segments/'), []);
  });

  it('what leaves HEAD while it is pinned is collected once it is not', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    const old = manifest(1, 1, [await segment(store, 1, 1)]);
    await leader.publish(old);
    await leader.collect();
    const held = await pin(store, old, 'reader', random);
    await leader.publish(manifest(1, 2));
    await leader.collect();
    equal((await store.list('segments/')).length, 1);
    await unpin(store, held);
    await leader.collect();
    deepEqual(await store.list('segments/'), []);
  });

  it('what a search for garbage finds pending is collected once it is dead', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    await leader.publish(manifest(1, 1));
    await segment(store, 1, 2); // of a checkpoint that is aborted later
    equal((await leader.collect({ thorough: true })).pending.length, 1);
    await leader.publish(manifest(1, 3));
    await leader.collect();
    deepEqual(await store.list('segments/'), []);
  });

  it('a rollback whose manifest cannot be read does not lead with the checkpoint it gave up', async () => {
    const store = new MemoryBlobStore();
    const options = { ...tiny, retained: 2 };
    const leader = await open(store, options);
    await leader.takeOver();
    const newer = await segment(store, 1, 2);
    await leader.publish(manifest(1, 1));
    await leader.publish(manifest(1, 2, [newer]));
    const other = await open(store, options);
    before(store, 'get', async () => {
      throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
    });
    await rejects(other.rollBack(1), { code: 'STORE_UNAVAILABLE' });
    await rejects(other.publish(manifest(2, 3, [newer])), { code: 'LEADER_FENCED' });
    // It is read before HEAD is moved: nothing was given up.
    equal(await other.takeOver(), 2);
    deepEqual([other.latest?.checkpointId, other.checkpointIds], [2, [2, 1]]);
    equal(await other.rollBack(1), 3);
    equal(other.latest?.checkpointId, 1);
  });

  it('a fallback does not give up what a leader that lives still completes after the look', async () => {
    const store = new MemoryBlobStore();
    const old = await open(store, { retained: 3 });
    await old.takeOver();
    for (const id of [1, 2]) await old.publish(manifest(1, id, [await segment(store, 1, id)]));
    // 2 is found damaged; while the rest is looked at, the old leader goes on.
    const found = { newest: 2, damaged: [], undamaged: manifest(1, 1) };
    await old.publish(manifest(1, 3));
    const options = { store, random: random.fork(), logger: silentLogger() };
    await rejects(fallBack(options, found), { code: 'CHECKPOINT_ORDER' });
    deepEqual((await open(store)).checkpointIds, [3, 2, 1]);
    await old.publish(manifest(1, 4));
  });

  it('a rollback under another id does not bring back what a reset has given up', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    await leader.publish(manifest(1, 1, [await segment(store, 1, 1)]));
    const late = await open(store);
    const other = await open(store);
    await other.reset();
    await other.collect();
    await other.publish(manifest(2, 1));
    await rejects(late.rollBack(1, { as: 2 }), { code: 'CHECKPOINT_ORDER' });
    equal((await open(store)).latest?.epoch, 2);
  });

  it('HEAD may move on, and its manifest be collected, between the reading of the two', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store, tiny);
    await leader.takeOver();
    await leader.publish(manifest(1, 1));
    before(store, 'get', async () => {
      await leader.publish(manifest(1, 2));
      await leader.collect();
    });
    equal((await open(store, tiny)).latest?.checkpointId, 2);
  });

  it('a job that begins while its store is opened is not taken for one that lost its HEAD', async () => {
    const store = new MemoryBlobStore();
    const listing = store.list.bind(store);
    store.list = async (prefix) => {
      store.list = listing;
      const first = await open(store);
      await first.takeOver();
      await first.publish(manifest(1, 1, [await segment(store, 1, 1)]));
      return listing(prefix);
    };
    const late = await open(store);
    equal(await late.takeOver(), 2);
    deepEqual(late.checkpointIds, [1]);
  });

  it('a manifest that is truly lost is an error, not an endless search', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store, tiny);
    await leader.takeOver();
    await leader.publish(manifest(1, 1));
    for (const name of await store.list('manifests/')) await store.delete(name);
    await rejects(open(store, tiny), { code: 'BLOB_NOT_FOUND' });
  });

  it('a regain without an answer, on a store that then closes, does not take itself for another leader', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    const real = store.compareAndSet.bind(store);
    store.compareAndSet = async (...args) => {
      await real(...args);
      store.compareAndSet = real;
      before(store, 'read', async () => {
        throw new MillraceError('closed', 'STORE_CLOSED', 'closed');
      });
      throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
    };
    await rejects(leader.regain(), { code: 'STORE_CLOSED' });
    equal(await leader.regain(), 3);
  });
});
