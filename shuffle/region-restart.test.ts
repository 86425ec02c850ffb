import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk, seededRandom } from '../base/index.js';
import { buffersOf, faultyDisk, HeldObjects, openStore, partOf } from './region-store.test.support.js';

const root = mkdtempSync(join(tmpdir(), 'millrace-region-restart-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
const freshFolder = () => join(root, `disk-${folders++}`);
const durable = { durable: true };

describe('a store opened again', () => {
  it('in the same boot has all writers; after a reboot only finished ones, and the files of others are gone', async () => {
    const disks = [freshFolder(), freshFolder()];
    const first = await openStore(disks);
    await first.store.write('done', [partOf('d', 0, 0, 4)], { durable: false });
    await first.store.write('done', [partOf('d', 0, 4, 30), partOf('d', 1, 0, 2)], { durable: false });
    await first.store.write('open', [partOf('o', 0, 0, 5)], durable);
    await first.store.finish('done', Buffer.from('old'));
    await first.store.finish('done', Buffer.from('spec'));
    await first.store.finish('empty', new Uint8Array(0));
    await first.store.close();
    for (const folder of disks) writeFileSync(join(folder, 'region-000000000099.tmp'), 'half');

    const again = await openStore(disks);
    const spec = new Uint8Array(Buffer.from('spec'));
    deepEqual(
      [...again.store.recovered].sort((a, b) => (a.writer < b.writer ? -1 : 1)),
      [
        { writer: 'done', spec, sameBoot: true },
        { writer: 'empty', spec: new Uint8Array(0), sameBoot: true },
        { writer: 'open', spec: undefined, sameBoot: true },
      ],
    );
    equal((await again.store.read('o', 0, 0, 1e9)).length, 5);
    equal((await again.store.read('d', 0, 0, 1e9)).length, 30);
    await again.store.close();

    const rebooted = await openStore(disks, { bootId: 'next boot' });
    deepEqual(
      [...rebooted.store.recovered].sort((a, b) => (a.writer < b.writer ? -1 : 1)),
      [
        { writer: 'done', spec, sameBoot: false },
        { writer: 'empty', spec: new Uint8Array(0), sameBoot: false },
      ],
    );
    equal(rebooted.store.ranges('o').size, 0);
    const last = buffersOf('d/0', 0, 30)[29];
    deepEqual(rebooted.store.ranges('d').get(0), { first: 0, next: 30, nextChain: last?.chain });
    equal((await rebooted.store.read('d', 0, 0, 1e9)).length, 30);
    equal(rebooted.store.metrics.regions, 2);
    await rebooted.store.drop('done');
    await rebooted.store.drop('empty');
    for (const folder of disks) deepEqual(readdirSync(folder), []);
    deepEqual([...first.events, ...again.events, ...rebooted.events], []);
    await rebooted.store.close();
  });

  it('knows where finished subpartitions end of which nothing was stored, as it was trimmed before', async () => {
    const folder = freshFolder();
    const first = await openStore([folder]);
    await first.store.write('w', [partOf('p', 0, 0, 4)], durable);
    const end = { partition: 'q', subpartition: 1, next: 3, nextChain: 77n };
    await first.store.finish('w', Buffer.from('spec'), [end]);
    await first.store.close();
    const rebooted = await openStore([folder], { bootId: 'next boot' });
    deepEqual([...rebooted.store.ranges('q')], [[1, { first: 3, next: 3, nextChain: 77n }]]);
    await rejects(rebooted.store.read('q', 1, 0, 1e9), { code: 'PARTITION_LOST' });
    deepEqual(await rebooted.store.read('q', 1, 3, 1e9), []);
    await rebooted.store.close();
  });

  it('finish syncs what was not synced before it says so', async () => {
    const folder = freshFolder();
    const calls: string[] = [];
    const disk = faultyDisk(nodeDisk(), (call, path) => {
      calls.push(`${call} ${path.slice(folder.length + 1)}`);
      return 'none';
    });
    const { store } = await openStore([folder], { disk });
    await store.write('w', [partOf('p', 0, 0, 4)], { durable: false });
    await store.write('w', [partOf('p', 0, 4, 8)], durable);
    calls.length = 0;
    await store.finish('w', Buffer.from('spec'));
    deepEqual(
      calls.filter((call) => !call.startsWith('append')),
      ['file.sync region-000000000001', 'write finished-000000000003.tmp', 'rename finished-000000000003'],
    );
    await store.close();
  });

  it('after regions in the middle were trimmed, what is whole begins behind the hole', async () => {
    const folder = freshFolder();
    const first = await openStore([folder]);
    await first.store.write('w', [partOf('p', 0, 0, 10), partOf('p', 1, 0, 10)], durable);
    await first.store.write('w', [partOf('p', 0, 10, 20)], durable);
    await first.store.write('w', [partOf('p', 0, 20, 30)], durable);
    await first.store.trim('p', [20, 0]);
    await first.store.close();
    const { store } = await openStore([folder]);
    equal(store.ranges('p').get(0)?.first, 20);
    await rejects(store.read('p', 0, 12, 1e9), { code: 'PARTITION_LOST', message: /not stored any more/ });
    equal((await store.read('p', 0, 20, 1e9)).length, 10);
    await store.close();
  });

  it('what was written twice is read once', async () => {
    const folder = freshFolder();
    const first = await openStore([folder]);
    await first.store.write('w', [partOf('p', 0, 0, 10)], durable);
    await first.store.close();
    const { store } = await openStore([folder]);
    await store.write('w', [partOf('p', 0, 5, 15)], durable);
    await store.write('w', [partOf('p', 0, 7, 9)], durable);
    const { first: from, next } = store.ranges('p').get(0) ?? {};
    deepEqual([from, next], [0, 15]);
    const seqs = (await store.read('p', 0, 3, 1e9)).map(({ seq }) => seq);
    deepEqual(seqs, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    await store.close();
  });
});

describe('regions in an object store', () => {
  const region = (from: number) => partOf('p', 0, from, from + 10);

  /** Room for two regions of ten buffers. */
  async function withObjects(objects: HeldObjects, folder = freshFolder(), seed = 1) {
    return { folder, ...(await openStore([folder], { objects, diskBytesMax: 2300, random: seededRandom(seed) })) };
  }

  it('the oldest move when the disk has what it may hold; reads, restarts, trims and drops go on', async () => {
    const objects = new HeldObjects();
    const { folder, store } = await withObjects(objects);
    for (let at = 0; at < 50; at += 10) await store.write('w', [region(at)], durable);
    ok(store.metrics.bytesOnDisk <= 2300);
    equal(objects.held.size, 3);
    const held = [...objects.held.values()].reduce((sum, { length }) => sum + length, 0);
    equal(store.metrics.bytesInObjects, held);
    deepEqual(await store.read('p', 0, 0, 1e9), await fresh(50));
    await store.finish('w', Buffer.from('spec'));
    await store.close();
    const again = await openStore([folder], { objects, bootId: 'next boot', diskBytesMax: 2300 });
    deepEqual(await again.store.read('p', 0, 4, 1e9), (await fresh(50)).slice(4));
    equal(again.store.metrics.bytesInObjects, held);
    await again.store.trim('p', [10]);
    equal(objects.held.size, 2);
    await again.store.drop('w');
    equal(objects.held.size, 0);
    deepEqual(await again.store.read('p', 0, 0, 1e9), []);
    await again.store.close();
    deepEqual(readdirSync(folder), []);
    deepEqual(again.events, []);
  });

  it('a failed put leaves the region on disk, and says why there is no room', async () => {
    const objects = new HeldObjects();
    const { folder, store } = await withObjects(objects);
    for (let at = 0; at < 20; at += 10) await store.write('w', [region(at)], durable);
    objects.failing.add('put');
    await rejects(store.write('w', [region(20)], durable), { code: 'SPILL_FULL', message: /put was made to fail/ });
    equal((await store.read('p', 0, 0, 1e9)).length, 20);
    objects.failing.clear();
    await store.write('w', [region(20)], durable);
    equal((await store.read('p', 0, 0, 1e9)).length, 30);
    equal(objects.held.size, 1);
    await store.drop('w');
    equal(objects.held.size, 0);
    await store.close();
    deepEqual(readdirSync(folder), []);
  });

  it('an object whose store died before its record was written is deleted at the next open', async () => {
    const objects = new HeldObjects();
    const { folder, store } = await withObjects(objects);
    for (let at = 0; at < 20; at += 10) await store.write('w', [region(at)], durable);
    let died = () => {};
    const dead = new Promise<void>((resolve) => {
      died = resolve;
    });
    objects.afterPut = () => {
      died();
      return new Promise(() => {});
    };
    store.write('w', [region(20)], durable).catch(() => {});
    await dead;
    equal(objects.held.size, 1);
    objects.afterPut = () => {};
    const again = await withObjects(objects, folder, 2);
    equal(objects.held.size, 0);
    equal((await again.store.read('p', 0, 0, 1e9)).length, 20);
    await again.store.close();
  });

  it('a file whose record was written and that was not removed yet is removed at the next open', async () => {
    const objects = new HeldObjects();
    const folder = freshFolder();
    const disk = faultyDisk(nodeDisk(), (call, path) =>
      call === 'remove' && path.includes('region-') ? 'DISK_FAILED' : 'none',
    );
    const { store, events } = await openStore([folder], { disk, objects, diskBytesMax: 2300 });
    for (let at = 0; at < 20; at += 10) await store.write('w', [region(at)], durable);
    await rejects(store.write('w', [region(20)], durable), { code: 'SPILL_UNAVAILABLE' });
    equal((await store.read('p', 0, 0, 1e9)).length, 10, 'its object is still there');
    deepEqual(
      events.map(({ kind }) => kind),
      ['diskSetAside'],
    );
    await store.close();
    const names = () => readdirSync(folder).filter((name) => !name.startsWith('objects'));
    deepEqual(names(), ['moved-000000000001', 'region-000000000001', 'region-000000000002']);
    const again = await withObjects(objects, folder, 2);
    deepEqual(names(), ['moved-000000000001', 'region-000000000002']);
    equal((await again.store.read('p', 0, 0, 1e9)).length, 20);
    await again.store.drop('w');
    equal(objects.held.size, 0);
    await again.store.close();
  });

  it('while the object store is away reads say so and nothing is lost; what it did not delete goes later', async () => {
    const objects = new HeldObjects();
    const { folder, store, events } = await withObjects(objects);
    for (let at = 0; at < 30; at += 10) await store.write('w', [region(at)], durable);
    objects.failing.add('get').add('delete');
    await rejects(store.read('p', 0, 3, 1e9), { code: 'SPILL_OBJECTS_UNAVAILABLE', kind: 'unavailable' });
    equal((await store.read('p', 0, 10, 1e9)).length, 20);
    objects.failing.delete('get');
    equal((await store.read('p', 0, 3, 1e9)).length, 27);
    await store.drop('w');
    equal(objects.held.size, 1);
    deepEqual(events, []);
    await store.close();
    objects.failing.clear();
    const again = await withObjects(objects, folder, 2);
    equal(objects.held.size, 0);
    await again.store.close();
    deepEqual(readdirSync(folder), []);
  });

  it('damage in an object is found, and an object that is gone is a lost partition', async () => {
    const objects = new HeldObjects();
    const { store, events } = await withObjects(objects);
    for (let at = 0; at < 30; at += 10) await store.write('w', [region(at)], durable);
    const [[name, bytes] = ['', new Uint8Array()]] = objects.held;
    const at = Buffer.from(bytes).indexOf(buffersOf('p/0', 2, 3)[0]?.bytes as Uint8Array);
    bytes[at] = (bytes[at] as number) ^ 1;
    equal((await store.read('p', 0, 0, 1e9)).length, 2);
    await rejects(store.read('p', 0, 2, 1e9), { code: 'BUFFER_CORRUPT' });
    objects.held.delete(name);
    await rejects(store.read('p', 0, 0, 1e9), { code: 'PARTITION_LOST' });
    deepEqual(
      events.map(({ kind }) => kind),
      ['lost'],
    );
    await store.close();
  });

  it('a region that is dropped while it moves leaves no object', async () => {
    const objects = new HeldObjects();
    const { folder, store } = await withObjects(objects);
    for (const [writer, at] of [
      ['v', 0],
      ['w', 10],
    ] as const)
      await store.write(writer, [region(at)], durable);
    let dropped: Promise<void> | undefined;
    objects.afterPut = () => {
      dropped ??= store.drop('v');
    };
    await store.write('w', [region(20)], durable);
    await dropped;
    equal(objects.held.size, 0);
    await store.drop('w');
    await store.close();
    deepEqual(readdirSync(folder), []);
  });

  it('physically full disks make room by moving too', async () => {
    const objects = new HeldObjects();
    const folder = freshFolder();
    const disk = faultyDisk(nodeDisk(), (call) =>
      call === 'file.append' && readdirSync(folder).filter((n) => n.startsWith('region')).length > 2
        ? 'DISK_FULL'
        : 'none',
    );
    const { store } = await openStore([folder], { disk, objects });
    for (let at = 0; at < 40; at += 10) await store.write('w', [region(at)], durable);
    equal((await store.read('p', 0, 0, 1e9)).length, 40);
    equal(objects.held.size, 2);
    await store.drop('w');
    await store.close();
    deepEqual(readdirSync(folder), []);
  });

  async function fresh(to: number) {
    const { store } = await openStore([freshFolder()]);
    await store.write('w', [partOf('p', 0, 0, to)], durable);
    const buffers = await store.read('p', 0, 0, 1e9);
    await store.close();
    return buffers;
  }
});
