import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom, silentLogger } from '../../base/index.js';
import { CheckpointStore, type Manifest, MemoryBlobStore, readPins } from '../../checkpoint/index.js';
import { HostPins } from './host-pins.js';

const random = seededRandom(1);
const logger = silentLogger();

async function pinned(store: MemoryBlobStore): Promise<string[]> {
  return (await readPins(store)).map(({ name }) => name.replace(/-[^-]*$/, '')).sort();
}

async function checkpoints(store: MemoryBlobStore, count: number): Promise<Manifest[]> {
  const leader = await CheckpointStore.open({ store, random, logger });
  await leader.takeOver();
  const published: Manifest[] = [];
  for (let checkpointId = 1; checkpointId <= count; checkpointId++) {
    const manifest = { format: 2, checkpointId, epoch: leader.epoch, tasks: [], meta: '', final: false } as const;
    await leader.publish(manifest);
    published.push(manifest);
  }
  return published;
}

test('a checkpoint stays pinned until two others have completed since it was last wanted', async () => {
  const store = new MemoryBlobStore();
  const [, latest] = await checkpoints(store, 2);
  const pins = new HostPins({ store, owner: 'host-a', random, logger });
  equal(await pins.pin(latest as Manifest), true);
  await pins.unneeded();
  equal(await pins.pin(latest as Manifest), true);
  await pins.unneeded();
  deepEqual(await pinned(store), ['pins/2-host-a']);
  await pins.unneeded();
  deepEqual(await pinned(store), []);
});

test('asked for by many at once, it is pinned once', async () => {
  const store = new MemoryBlobStore();
  const [latest] = await checkpoints(store, 1);
  const pins = new HostPins({ store, owner: 'host-a', random, logger });
  deepEqual(await Promise.all(Array.from({ length: 4 }, () => pins.pin(latest as Manifest))), Array(4).fill(true));
  equal((await readPins(store)).length, 1);
  await pins.close();
  deepEqual(await pinned(store), []);
});

test('what an earlier life of a host left pinned is let go, and nothing of other hosts', async () => {
  const store = new MemoryBlobStore();
  const [first, second] = await checkpoints(store, 2);
  for (const owner of ['host-a', 'host-b', 'host']) {
    await new HostPins({ store, owner, random, logger }).pin(first as Manifest);
  }
  const again = new HostPins({ store, owner: 'host-a', random, logger });
  await again.pin(second as Manifest);
  deepEqual(await pinned(store), ['pins/1-host', 'pins/1-host-b', 'pins/2-host-a']);
  await again.pin(first as Manifest);
  equal((await pinned(store)).length, 4, 'only once in a life');
});

test('a checkpoint that HEAD does not keep any more cannot be pinned', async () => {
  const store = new MemoryBlobStore();
  const [first] = await checkpoints(store, 8);
  const pins = new HostPins({ store, owner: 'host-a', random, logger });
  equal(await pins.pin(first as Manifest), false);
  deepEqual(await pinned(store), []);
});
