import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type MillraceError, xxh64 } from '../base/index.js';
import type { RegionBuffer } from './region-file.js';
import { buffersOf, openStore, partOf } from './region-store.test.support.js';

const root = mkdtempSync(join(tmpdir(), 'millrace-regions-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
const freshFolder = () => join(root, `disk-${folders++}`);
const plain = (buffers: readonly RegionBuffer[]) => buffers.map((b) => ({ ...b, bytes: Buffer.from(b.bytes) }));
const durable = { durable: true };

describe('RegionStore', () => {
  it('reads back what was written, over regions, up to the bytes asked for and at least one buffer', async () => {
    const { store } = await openStore([freshFolder(), freshFolder()]);
    await store.write('w', [partOf('p', 1, 0, 6), partOf('o', 0, 0, 3), partOf('p', 0, 0, 10)], durable);
    await store.write('w', [partOf('p', 0, 10, 25), partOf('p', 2, 4, 4)], { durable: false });
    const expected = buffersOf('p/0', 0, 25);
    deepEqual(plain(await store.read('p', 0, 0, 1e9)), plain(expected));
    deepEqual(plain(await store.read('p', 0, 7, 1e9)), plain(expected.slice(7)));
    deepEqual(plain(await store.read('p', 1, 0, 1e9)), plain(buffersOf('p/1', 0, 6, 40, true)));
    deepEqual(plain(await store.read('p', 0, 9, 1)), plain(expected.slice(9, 10)), 'one, however large');
    const two = expected.slice(9, 11);
    const bytes = two.reduce((sum, b) => sum + b.bytes.length, 0);
    deepEqual(plain(await store.read('p', 0, 9, bytes)), plain(two), 'exactly what fits, over the end of a region');
    deepEqual(plain(await store.read('p', 0, 9, bytes - 1)), plain(two.slice(0, 1)));
    deepEqual(await store.read('p', 0, 25, 1e9), []);
    deepEqual(await store.read('never', 0, 0, 1e9), []);
    await rejects(store.read('p', 0, 26, 1e9), {
      code: 'PARTITION_LOST',
      context: { partition: 'p', subpartition: 0, seq: 26 },
    });
    deepEqual(
      [...store.ranges('p')].sort(([a], [b]) => a - b),
      [
        [0, { first: 0, next: 25, nextChain: expected[24]?.chain }],
        [1, { first: 0, next: 6, nextChain: buffersOf('p/1', 0, 6, 40, true)[5]?.chain }],
      ],
    );
    equal(store.metrics.regions, 2);
    await store.close();
    await rejects(store.read('p', 0, 0, 1), { code: 'SPILL_CLOSED', kind: 'closed' });
  });

  it('writes buffers larger than a piece, and many small ones, unchanged', async () => {
    const { store } = await openStore([freshFolder()]);
    const large = new Uint8Array(3_500_001).map((_, i) => (i * 7919) >>> 5);
    const sizes = [0, 1, 1 << 20, 3_500_001, 5, (1 << 20) - 1, 2 << 20];
    const buffers = sizes.map((length, seq) => {
      const bytes = large.subarray(0, length);
      return { seq, kind: 0 as const, rows: 1, rawLength: length, checksum: xxh64(bytes), chain: BigInt(seq), bytes };
    });
    await store.write('w', [{ partition: 'p', subpartition: 0, buffers }], durable);
    deepEqual(plain(await store.read('p', 0, 0, 1e9)), plain(buffers));
    await store.close();
  });

  it('trimming removes regions when all in them is trimmed, and dropping leaves nothing behind', async () => {
    const folder = freshFolder();
    const { store, events } = await openStore([folder]);
    await store.write('w', [partOf('p', 0, 0, 10), partOf('p', 1, 0, 10)], durable);
    await store.write('w', [partOf('p', 0, 10, 20)], durable);
    await store.write('v', [partOf('q', 0, 0, 5)], durable);
    await store.trim('p', [10, 9]);
    equal(readdirSync(folder).length, 3);
    await store.trim('p', [3, 0]);
    await rejects(store.read('p', 0, 9, 100), (e: MillraceError) => {
      equal(e.code, 'PARTITION_LOST');
      match(e.message, /below 10 was trimmed/);
      return true;
    });
    equal((await store.read('p', 1, 9, 100)).length, 1);
    await store.trim('p', [10, 10]);
    equal(readdirSync(folder).length, 2);
    equal(store.ranges('p').get(0)?.first, 10);
    await store.finish('w', Buffer.from('spec'));
    const { bytesOnDisk } = store.metrics;
    ok(bytesOnDisk > 0);
    await store.drop('w');
    equal(readdirSync(folder).length, 1);
    await store.drop('v');
    deepEqual(readdirSync(folder), []);
    equal(store.metrics.bytesOnDisk, 0);
    deepEqual(events, []);
    await store.close();
  });
});
