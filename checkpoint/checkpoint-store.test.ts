import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MillraceError, seededRandom, silentLogger } from '../base/index.js';
import { segmentObjectName } from './blob/blob-name.js';
import type { BlobStore } from './blob/blob-store.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { CheckpointStore } from './checkpoint-store.js';
import { decodeHead, encodeHead } from './head/head.js';
import { headName } from './head/head-register.js';
import type { Manifest, SegmentRef } from './manifest.js';
import { entriesOf, segmentOf } from './segment/segment-of.test.support.js';
import { describeSegment } from './segment/stored-segment.js';

const random = seededRandom(7);
const open = (store: BlobStore, retained = 3, headBytesMax = 100_000) =>
  CheckpointStore.open({ store, random: random.fork(), logger: silentLogger(), retained, headBytesMax });
/** No manifest fits into this HEAD. */
const TINY = 100;

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

/** Counts requests and fails on demand, before or after the inner store did its work. */
class FaultyStore implements BlobStore {
  readonly location = 'faulty';
  readonly inner: BlobStore;
  requests: string[] = [];
  failBefore: string[] = [];
  failAfter: string[] = [];

  constructor(inner: BlobStore) {
    this.inner = inner;
  }

  async #call<T>(what: string, fn: () => Promise<T>): Promise<T> {
    this.requests.push(what);
    const fails = (list: string[]) => {
      if (list[0] !== what) return;
      list.shift();
      throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'injected');
    };
    fails(this.failBefore);
    const result = await fn();
    fails(this.failAfter);
    return result;
  }

  put = (name: string, b: Uint8Array) => this.#call('put', () => this.inner.put(name, b));
  get = (name: string, r?: { offset: number; length: number }) => this.#call('get', () => this.inner.get(name, r));
  stat = (name: string) => this.#call('stat', () => this.inner.stat(name));
  delete = (name: string) => this.#call('delete', () => this.inner.delete(name));
  list = (prefix: string) => this.#call('list', () => this.inner.list(prefix));
  read = (name: string) => this.#call('read', () => this.inner.read(name));
  compareAndSet = (name: string, e: string | undefined, b: Uint8Array) =>
    this.#call('cas', () => this.inner.compareAndSet(name, e, b));
}

describe('HEAD', () => {
  const head = {
    epoch: 3,
    nonce: 'ab',
    line: 10,
    latest: manifest(3, 9),
    retained: [{ checkpointId: 8, epoch: 3, object: 'manifests/x' }],
  };

  it('survives the trip, with a header line that can be read by eye', () => {
    deepEqual(decodeHead(encodeHead(head), 'here'), head);
    ok(Buffer.from(encodeHead(head)).toString().startsWith('millrace-head 2 '));
  });

  it('any damaged byte and any cut is noticed', () => {
    const bytes = encodeHead(head);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = bytes.slice();
        damaged[at] = (damaged[at] as number) ^ flip;
        let code = 'accepted';
        try {
          decodeHead(damaged, 'here');
        } catch (e) {
          code = (e as MillraceError).code;
        }
        ok(code === 'HEAD_CORRUPT' || (code === 'HEAD_VERSION' && at < 16), `${code} at ${at}`);
      }),
    );
    for (let n = 0; n < bytes.length; n++) {
      let code = 'accepted';
      try {
        decodeHead(bytes.subarray(0, n), 'here');
      } catch (e) {
        code = (e as MillraceError).code;
      }
      equal(code, 'HEAD_CORRUPT', `cut at ${n}`);
    }
  });

  it('of another format is refused, naming both', async () => {
    const store = new MemoryBlobStore();
    const text = Buffer.from(encodeHead(head)).toString().replace('millrace-head 2', 'millrace-head 17');
    await store.compareAndSet(headName, undefined, Buffer.from(text));
    await rejects(open(store), { code: 'HEAD_VERSION', kind: 'invalid', message: /format 17.*format 2$/ });
  });
});

describe('checkpoint store', () => {
  it('no checkpoint is not the same as a failing store', async () => {
    const store = new FaultyStore(new MemoryBlobStore());
    const fresh = await open(store);
    equal(fresh.latest, undefined);
    equal(fresh.epoch, 0);
    store.failBefore = ['read'];
    await rejects(open(store), { code: 'STORE_UNAVAILABLE' });
  });

  it('publishes with one compare-and-set, and one put for a manifest when HEAD is too large', async () => {
    const store = new FaultyStore(new MemoryBlobStore());
    const leader = await open(store, 2);
    const epoch = await leader.takeOver();
    const requests = async (id: number) => {
      store.requests = [];
      await leader.publish(manifest(epoch, id));
      return store.requests;
    };
    for (let id = 1; id < 6; id++) deepEqual(await requests(id), ['cas']);
    deepEqual(await store.list(''), []);
    const large = await open(store, 2, TINY);
    const next = await large.takeOver();
    store.requests = [];
    for (const id of [6, 7]) await large.publish(manifest(next, id));
    // First both the old one and the new one move out, then the new one alone.
    deepEqual(store.requests, ['put', 'put', 'cas', 'put', 'cas']);
    const reader = await open(store, 2);
    deepEqual(reader.latest, manifest(next, 7));
    deepEqual(await reader.manifest(6), manifest(next, 6));
    const single = await open(new MemoryBlobStore(), 1);
    await single.takeOver();
    await single.publish(manifest(1, 1));
    await single.publish(manifest(1, 2));
    deepEqual(single.checkpointIds, [2]);
  });

  it('inline segments are no reason to move manifests out of HEAD', async () => {
    const store = new FaultyStore(new MemoryBlobStore());
    const leader = await open(store, 2, 2000);
    const epoch = await leader.takeOver();
    const bytes = segmentOf([{ keyGroup: 1, key: 'k', value: 'v'.repeat(5000) }]);
    const inline = Buffer.from(bytes).toString('base64');
    const ref = { ...describeSegment(bytes), object: '', offset: 0, deltas: 1, inline };
    store.requests = [];
    for (const id of [1, 2, 3]) await leader.publish(manifest(epoch, id, [ref]));
    deepEqual(store.requests, ['cas', 'cas', 'cas']);
    deepEqual(entriesOf(await (await open(store)).readSegment(ref))[0]?.value, 'v'.repeat(5000));
  });

  it('keeps the newest few, each readable by another process', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    const epoch = await leader.takeOver();
    for (let id = 1; id <= 5; id++) await leader.publish(manifest(epoch, id, [await segment(store, epoch, id)]));
    const reader = await open(store);
    deepEqual(reader.checkpointIds, [5, 4, 3]);
    for (const id of [3, 4, 5]) {
      const found = await reader.manifest(id);
      equal(found.checkpointId, id);
      const bytes = await reader.readSegment(found.tasks[0]?.segments[0] as SegmentRef);
      equal(entriesOf(bytes)[0]?.value, `of ${id}`);
    }
    await rejects(reader.manifest(2), { code: 'CHECKPOINT_NOT_FOUND', message: /kept: 5, 4, 3/ });
  });

  it('a replaced leader is fenced, and what it had pending never completes', async () => {
    const store = new MemoryBlobStore();
    const old = await open(store);
    await old.takeOver();
    await old.publish(manifest(1, 1));
    const young = await open(store);
    equal(await young.takeOver(), 2);
    await rejects(old.publish(manifest(1, 2)), { code: 'LEADER_FENCED', kind: 'fenced', message: /epoch 1.*epoch 2/ });
    await rejects(old.publish(manifest(1, 3)), { code: 'LEADER_FENCED' });
    equal(young.latest?.checkpointId, 1);
    await young.publish(manifest(2, 2));
    equal((await open(store)).latest?.epoch, 2);
    equal(await old.takeOver(), 3);
  });

  it('publishing needs a takeover, the own epoch and a higher id', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await rejects(leader.publish(manifest(0, 1)), { code: 'LEADER_FENCED' });
    await leader.takeOver();
    await rejects(leader.publish(manifest(2, 1)), { code: 'LEADER_FENCED' });
    await leader.publish(manifest(1, 4));
    await rejects(leader.publish(manifest(1, 4)), { code: 'CHECKPOINT_ORDER' });
  });

  it('own success reported as a conflict by a lost response is success', async () => {
    const store = new FaultyStore(new MemoryBlobStore());
    const leader = await open(store);
    store.failAfter = ['cas'];
    equal(await leader.takeOver(), 1);
    store.failAfter = ['cas', 'read'];
    await leader.publish(manifest(1, 1));
    equal(leader.latest?.checkpointId, 1);
    await leader.publish(manifest(1, 2));
    equal((await open(store)).latest?.checkpointId, 2);
  });

  it('a move whose request was lost is sent again, and counts once', async () => {
    const store = new FaultyStore(new MemoryBlobStore());
    const leader = await open(store);
    await leader.takeOver();
    store.failBefore = ['cas', 'cas'];
    await leader.publish(manifest(1, 1));
    equal((await open(store)).latest?.checkpointId, 1);
  });

  it('after an unknown outcome nothing is published until a takeover has settled it', async () => {
    for (const landed of [false, true]) {
      const store = new FaultyStore(new MemoryBlobStore());
      const leader = await open(store);
      await leader.takeOver();
      if (landed) {
        store.failAfter = ['cas'];
        store.failBefore = Array(5).fill('read');
      } else {
        store.failBefore = Array(5).fill(['cas', 'read']).flat();
      }
      await rejects(leader.publish(manifest(1, 1)), { code: 'STORE_UNAVAILABLE', message: /unknown/ });
      deepEqual([store.failBefore, store.failAfter], [[], []]);
      await rejects(leader.publish(manifest(1, 2)), { code: 'LEADER_FENCED' });
      equal(await leader.takeOver(), 2);
      equal(leader.latest?.checkpointId, landed ? 1 : undefined);
    }
  });

  it('of leaders that race, every one gets an epoch of its own', async () => {
    const store = new MemoryBlobStore();
    const leaders = await Promise.all([1, 2, 3, 4].map(() => open(store)));
    const epochs = await Promise.all(leaders.map((l) => l.takeOver()));
    deepEqual(epochs.sort(), [1, 2, 3, 4]);
  });

  it('a segment that is cut, altered or missing is refused', async () => {
    const store = new MemoryBlobStore();
    const reader = await open(store);
    const ref = await segment(store, 1, 1);
    equal((await reader.readSegment(ref)).length, ref.length);
    for (const bad of [
      { ...ref, length: ref.length + 1 },
      { ...ref, length: ref.length - 1 },
      { ...ref, checksum: '0'.repeat(16) },
      { ...ref, object: 'segments/1-1-host-0' },
      { ...ref, inline: Buffer.from([1, 2]).toString('base64') },
    ]) {
      await rejects(reader.readSegment(bad), { code: 'SEGMENT_CORRUPT', kind: 'corrupt' });
    }
  });

  it('collects what nothing refers to, and spares what is being written', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store, 2);
    const epoch = await leader.takeOver();
    const refs: SegmentRef[] = [];
    for (let id = 1; id <= 4; id++) {
      refs.push(await segment(store, epoch, id));
      await leader.publish(manifest(epoch, id, refs.slice(-1)));
    }
    const orphan = await segment(store, epoch, 4);
    const pending = await segment(store, epoch, 5);
    const successor = await segment(store, epoch + 1, 1);
    await store.put('notes/mine', Uint8Array.of(1));
    const { objects: deleted } = await leader.collect();
    ok(deleted.includes(orphan.object));
    const left = await store.list('');
    const kept = [refs[2], refs[3], pending, successor].map((r) => r?.object);
    for (const name of kept) ok(left.includes(name ?? ''), name);
    equal(left.length, 5);
    equal((await (await open(store)).manifest(3)).checkpointId, 3);
    deepEqual((await leader.collect()).objects, []);
  });

  it('uploaded but not yet published objects of the next checkpoint outlive a collection (slatedb#1044)', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store, 2);
    const epoch = await leader.takeOver();
    await leader.publish(manifest(epoch, 1, [await segment(store, epoch, 1)]));
    const next = await segment(store, epoch, 2);
    // Collect at the worst moment: when the manifest that leaves HEAD was put and HEAD not yet moved.
    const inner = store.compareAndSet.bind(store);
    store.compareAndSet = async (...args) => {
      await (await open(store, 2)).collect();
      return inner(...args);
    };
    await leader.publish(manifest(epoch, 2, [next]));
    const reader = await open(store, 2);
    equal((await reader.readSegment(next)).length, next.length);
    equal((await reader.manifest(1)).checkpointId, 1);
  });

  it('a collector paused through a takeover and a reset deletes nothing alive', async () => {
    const inner = new MemoryBlobStore();
    const store = new FaultyStore(inner);
    const old = await open(store);
    await old.takeOver();
    await old.publish(manifest(1, 5, [await segment(store, 1, 5)]));
    let alive: SegmentRef | undefined;
    const listing = inner.list.bind(inner);
    inner.list = async (prefix) => {
      if (prefix === 'segments/' && alive === undefined) {
        const young = await open(inner);
        await young.reset();
        alive = await segment(inner, 2, 1);
        await young.publish(manifest(2, 1, [alive]));
      }
      return listing(prefix);
    };
    await old.collect();
    ok(alive);
    equal((await (await open(inner)).readSegment(alive)).length, alive.length);
  });

  it('a segment of an aborted checkpoint cannot come back under its old name', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    const aborted = await segment(store, 1, 1);
    await leader.publish(manifest(1, 2));
    await rejects(leader.publish(manifest(1, 3, [aborted])), { code: 'SEGMENT_DEAD', kind: 'invalid' });
    const pending = await segment(store, 1, 3);
    await leader.takeOver();
    await rejects(leader.publish(manifest(2, 4, [pending])), { code: 'SEGMENT_DEAD' });
  });

  it('a segment that only an older kept checkpoint holds may be used again (fallback to it)', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    const old = await segment(store, 1, 1);
    await leader.publish(manifest(1, 1, [old]));
    await leader.publish(manifest(1, 2, [await segment(store, 1, 2)]));
    const next = await open(store);
    await next.takeOver();
    await next.publish(manifest(2, 3, [old]));
    await next.collect();
    equal((await next.readSegment(old)).length, old.length);
  });

  it('collects nothing when a kept manifest cannot be read', async () => {
    const store = new FaultyStore(new MemoryBlobStore());
    const leader = await open(store, 3, TINY);
    await leader.takeOver();
    for (let id = 1; id <= 3; id++) await leader.publish(manifest(1, id, [await segment(store, 1, id)]));
    await segment(store, 1, 1);
    const reader = await open(store);
    store.failBefore = ['get'];
    await rejects(reader.collect(), { code: 'STORE_UNAVAILABLE' });
    equal((await store.list('segments/')).length, 4);
    equal((await reader.collect()).objects.length, 1);
  });

  it('reset forgets the checkpoints under a new epoch, and their objects are collected', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    await leader.takeOver();
    for (let id = 1; id <= 3; id++) await leader.publish(manifest(1, id, [await segment(store, 1, id)]));
    equal(await leader.reset(), 2);
    equal(leader.latest, undefined);
    equal((await leader.collect()).objects.length, 3);
    await leader.publish(manifest(2, 1));
    deepEqual((await open(store)).checkpointIds, [1]);
  });

  it('every move of HEAD has a nonce of its own', async () => {
    const store = new MemoryBlobStore();
    const leader = await open(store);
    const nonces = new Set<string>();
    const look = async () => nonces.add(decodeHead((await store.read(headName))?.bytes as Uint8Array, '').nonce);
    await leader.takeOver();
    await look();
    await leader.publish(manifest(1, 1));
    await look();
    await leader.takeOver();
    await look();
    equal(nonces.size, 3);
    notEqual([...nonces][0], '');
  });
});
