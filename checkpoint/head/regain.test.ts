import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MillraceError, seededRandom, silentLogger } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { CheckpointStore } from '../checkpoint-store.js';
import type { Manifest } from '../manifest.js';

/** A store whose compare-and-set fails without an answer, after doing it or before, and whose reads fail with it. */
class Silent {
  mode: 'works' | 'breaksOnMove' | 'losesAnswers' | 'losesRequests' = 'works';
  readonly store: BlobStore;

  constructor(inner: BlobStore) {
    const lost = () => new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
    this.store = {
      location: inner.location,
      put: (name, bytes) => inner.put(name, bytes),
      get: (name, range) => inner.get(name, range),
      stat: (name) => inner.stat(name),
      delete: (name) => inner.delete(name),
      list: (prefix) => inner.list(prefix),
      read: async (name) => {
        if (this.mode !== 'works' && this.mode !== 'breaksOnMove') throw lost();
        return inner.read(name);
      },
      compareAndSet: async (name, expected, bytes) => {
        if (this.mode === 'losesRequests') throw lost();
        if (this.mode === 'breaksOnMove') this.mode = 'losesAnswers';
        const version = await inner.compareAndSet(name, expected, bytes);
        if (this.mode === 'losesAnswers') throw lost();
        return version;
      },
    };
  }
}

const manifest = (epoch: number, checkpointId: number): Manifest => ({
  format: 2,
  checkpointId,
  epoch,
  tasks: [],
  meta: '',
  final: false,
});

async function leaderOver(store: BlobStore): Promise<CheckpointStore> {
  const leader = await CheckpointStore.open({ store, random: seededRandom(1), logger: silentLogger() });
  await leader.takeOver();
  return leader;
}

test('after a publish without an answer, regain finds it done', async () => {
  const silent = new Silent(new MemoryBlobStore());
  const leader = await leaderOver(silent.store);
  silent.mode = 'losesAnswers';
  await assert.rejects(leader.publish(manifest(1, 7)), { code: 'STORE_UNAVAILABLE' });
  silent.mode = 'works';
  assert.equal(await leader.regain(), 2);
  assert.equal(leader.latest?.checkpointId, 7);
});

test('after a publish that never arrived, regain finds it not done, and the leader goes on in the new epoch', async () => {
  const silent = new Silent(new MemoryBlobStore());
  const leader = await leaderOver(silent.store);
  silent.mode = 'losesRequests';
  await assert.rejects(leader.publish(manifest(1, 7)), { code: 'STORE_UNAVAILABLE' });
  silent.mode = 'works';
  await leader.regain();
  assert.deepEqual(leader.checkpointIds, []);
  await leader.publish(manifest(leader.epoch, 8));
  assert.equal(leader.latest?.checkpointId, 8);
});

test('a regain whose own outcome is unknown does not take itself for another leader', async () => {
  const silent = new Silent(new MemoryBlobStore());
  const leader = await leaderOver(silent.store);
  silent.mode = 'losesRequests';
  await assert.rejects(leader.publish(manifest(1, 7)), { code: 'STORE_UNAVAILABLE' });
  silent.mode = 'breaksOnMove';
  await assert.rejects(leader.regain(), { code: 'STORE_UNAVAILABLE' });
  silent.mode = 'works';
  assert.equal(await leader.regain(), 3);
  await leader.publish(manifest(leader.epoch, 8));
  assert.equal(leader.latest?.checkpointId, 8);
});

test('regain does not take the lead from another leader that has come meanwhile', async () => {
  const inner = new MemoryBlobStore();
  const silent = new Silent(inner);
  const leader = await leaderOver(silent.store);
  silent.mode = 'losesRequests';
  await assert.rejects(leader.publish(manifest(1, 7)), { code: 'STORE_UNAVAILABLE' });
  const other = await leaderOver(inner);
  silent.mode = 'works';
  await assert.rejects(leader.regain(), { code: 'LEADER_FENCED' });
  await other.publish(manifest(other.epoch, 1));
});

test('a regain that was refused, or saw the other leader and then failed, does not take the lead when it is tried again', async () => {
  const inner = new MemoryBlobStore();
  const silent = new Silent(inner);
  const leader = await leaderOver(silent.store);
  silent.mode = 'losesRequests';
  await assert.rejects(leader.publish(manifest(1, 7)), { code: 'STORE_UNAVAILABLE' });
  silent.mode = 'works';
  const other = await CheckpointStore.open({
    store: inner,
    random: seededRandom(2),
    logger: silentLogger(),
    headBytesMax: 1,
  });
  await other.takeOver();
  await other.publish(manifest(2, 1));
  // HEAD is read, and shows epoch 2; the manifest that it refers to cannot be read just now.
  const get = silent.store.get;
  silent.store.get = async () => {
    silent.store.get = get;
    throw new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
  };
  await assert.rejects(leader.regain(), { code: 'STORE_UNAVAILABLE' });
  for (let i = 0; i < 2; i++)
    await assert.rejects(leader.regain(), { code: 'LEADER_FENCED', message: /epoch 1.*epoch 2/ });
  await other.publish(manifest(2, 2));
});
