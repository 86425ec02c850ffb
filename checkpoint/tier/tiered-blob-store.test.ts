import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { MillraceError, nodeDisk, runContractCase, silentLogger, systemClock, systemRandom } from '../../base/index.js';
import { type BlobStorePair, blobStoreContract } from '../blob/blob-store-contract.js';
import { CountedBlobStore } from '../blob/counted-blob-store.js';
import { JumpingClock } from '../blob/jumping-clock.test.support.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { away, Gate, HookedBlobStore, until, withTier } from './tier.test.support.js';
import type { TierAuthority } from './tier-folder.js';
import type { TierSettings } from './tier-settings.js';
import { TieredBlobStore } from './tiered-blob-store.js';

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill);

async function pair(authority: TierAuthority, settings: Partial<TierSettings>): Promise<BlobStorePair> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  const store = await TieredBlobStore.open({
    disk: nodeDisk(),
    root,
    remote: new MemoryBlobStore(),
    clock: systemClock(),
    random: systemRandom(),
    logger: silentLogger(),
    settings: { authority, ...settings },
  });
  return {
    one: store,
    other: store,
    close: async () => {
      await store.close();
      rmSync(root, { recursive: true });
    },
  };
}

for (const authority of ['remote', 'local'] as const) {
  for (const [what, settings] of [
    ['memory and disk', {}],
    ['disk only', { memoryBytesMax: 0 }],
    ['neither: all is read from the remote', { memoryBytesMax: 0, diskBytesMax: 0 }],
  ] as const) {
    describe(`blob store: tiered, authority ${authority}, ${what}`, () => {
      for (const contractCase of blobStoreContract) {
        it(contractCase.name, () => runContractCase(contractCase, () => pair(authority, settings)));
      }
    });
  }

  describe(`tiered blob store: copies, authority ${authority}`, () => {
    it('what was put is read from memory, what is too large for it from the disk', async () => {
      const remote = new CountedBlobStore(new MemoryBlobStore());
      await withTier(authority, remote, async ({ root, open }) => {
        const store = await open({ memoryBytesMax: 8_000 });
        await store.put('small', bytes(1_000, 1));
        await store.put('large', bytes(200_000, 2));
        await store.drain();
        rmSync(`${root}/cache/small`);
        deepEqual(await store.get('small'), bytes(1_000, 1));
        deepEqual(await store.get('small', { offset: 990, length: 20 }), bytes(10, 1));
        deepEqual(await store.get('large'), bytes(200_000, 2));
        deepEqual(await store.get('large', { offset: 130_000, length: 7 }), bytes(7, 2));
        deepEqual(await store.stat('large'), { bytes: 200_000 });
        equal(remote.counts.get.requests, 0);
        deepEqual([store.status.diskBytes, store.status.memoryBytes], [201_000, 1_000]);
      });
    });

    it('the disk keeps no more copies than it may, the longest unused go first', async () => {
      const remote = new CountedBlobStore(new MemoryBlobStore());
      await withTier(authority, remote, async ({ root, open }) => {
        const store = await open({ memoryBytesMax: 0, diskBytesMax: 3_000 });
        for (const name of ['a', 'b', 'c']) await store.put(name, bytes(1_000));
        await store.drain();
        await store.get('a');
        await store.put('d', bytes(1_000));
        await store.put('huge', bytes(9_000));
        await store.drain();
        deepEqual(readdirSync(`${root}/cache`), ['a', 'c', 'd']);
        equal(remote.counts.get.requests, 0);
        deepEqual(await store.get('b'), bytes(1_000));
        equal(remote.counts.get.requests, 1);
        deepEqual(await store.get('huge', { offset: 8_999, length: 5 }), bytes(1));
        await store.close();
        equal(readdirSync(`${root}/cache`).length, 3);
        const again = await open({ memoryBytesMax: 0, diskBytesMax: 2_000 });
        equal(readdirSync(`${root}/cache`).length, 2);
        for (const name of ['a', 'b', 'c', 'd']) deepEqual(await again.get(name), bytes(1_000));
      });
    });

    it('a range that came from the remote is remembered, a whole object is kept', async () => {
      const remote = new CountedBlobStore(new MemoryBlobStore());
      await withTier(authority, remote, async ({ root, open }) => {
        const store = await open({ diskBytesMax: 0, memoryBytesMax: 8_000 });
        await store.put('a', bytes(5_000));
        await store.drain();
        for (let i = 0; i < 3; i++) deepEqual(await store.get('a', { offset: 10, length: 20 }), bytes(20));
        equal(remote.counts.get.requests, 1);
        await store.close();
        const roomy = await open({ memoryBytesMax: 0 });
        await Promise.all([roomy.get('a'), roomy.get('a')]);
        equal(remote.counts.get.requests, 2);
        await until(async () => existsSync(`${root}/cache/a`));
        await roomy.close();
        await (await open({ memoryBytesMax: 0 })).get('a');
        equal(remote.counts.get.requests, 2);
      });
    });

    it('a damaged copy does not stand before the good one at the remote', async () => {
      const remote = new CountedBlobStore(new MemoryBlobStore());
      const size = 700_000;
      await withTier(authority, remote, async ({ root, open }) => {
        const damage: ((file: Buffer) => Buffer)[] = [
          (file) => file.fill(0, 300_000, 300_001),
          (file) => file.subarray(0, file.length - 70_000),
          (file) => file.subarray(0, 0),
          (file) => Buffer.concat([file, file]),
          (file) => file.fill(0, size, size + 1),
          (file) => file.fill(0, file.length - 1),
        ];
        for (const [i, change] of damage.entries()) {
          const store = await open({ memoryBytesMax: 0 });
          await store.put(`a${i}`, bytes(size));
          await store.drain();
          const path = `${root}/cache/a${i}`;
          writeFileSync(path, change(readFileSync(path)));
          remote.reset();
          deepEqual(await store.get(`a${i}`, { offset: 299_990, length: 100 }), bytes(100));
          equal(Buffer.compare(await store.get(`a${i}`), bytes(size)), 0);
          await store.close();
          ok(remote.counts.get.requests > 0, `damage ${i} was not noticed`);
        }
      });
    });

    it('what the remote delivered wrong is dropped on demand, and what it cut short is never kept', async () => {
      const inner = new MemoryBlobStore();
      const remote = new HookedBlobStore(inner);
      await withTier(authority, remote, async ({ open }) => {
        const store = await open({ memoryBytesMax: 100_000, diskBytesMax: 0 });
        await store.put('a', bytes(100));
        await store.drain();
        await store.close();
        const lying = new HookedBlobStore({
          ...passing(remote),
          get: async (name, range) => (await remote.get(name, range)).fill(9),
        });
        let cut = false;
        const bad = new HookedBlobStore({
          ...passing(lying),
          get: async (name, range) => (await lying.get(name, range)).subarray(0, cut ? 50 : 100),
        });
        let lies = true;
        const switched = new HookedBlobStore({
          ...passing(remote),
          get: (name, range) => (lies ? bad.get(name, range) : remote.get(name, range)),
        });
        const reader = await open({ remote: switched });
        cut = true;
        await rejects(reader.get('a'), { code: 'STORE_UNAVAILABLE', message: /50 of 100 bytes/ });
        cut = false;
        deepEqual(await reader.get('a'), bytes(100, 9));
        lies = false;
        deepEqual(await reader.get('a'), bytes(100, 9));
        await reader.close();
        const again = await open({ remote: switched });
        await again.forget('a');
        deepEqual(await again.get('a'), bytes(100));
      });
    });

    it('a full disk gives up its copies first, then puts fail until there is room', async () => {
      await withTier(authority, new MemoryBlobStore(), async ({ root, open }) => {
        const real = nodeDisk();
        const used = (folder: string): number =>
          existsSync(folder)
            ? readdirSync(folder).reduce((sum, name) => sum + statSync(`${folder}/${name}`).size, 0)
            : 0;
        const disk = {
          ...real,
          async write(path: string, data: Uint8Array, options?: { readonly exclusive?: boolean }) {
            if (data.length > 0 && used(`${root}/cache`) + used(`${root}/pending`) + data.length > 5_000) {
              throw new MillraceError('unavailable', 'DISK_FULL', `no room for ${path}`);
            }
            await real.write(path, data, options);
          },
        };
        const store = await open({ disk, memoryBytesMax: 0 });
        for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) {
          await store.put(name, bytes(1_500));
          await store.drain();
        }
        await rejects(store.put('g', bytes(6_000)), { code: 'STORE_UNAVAILABLE', message: /put g failed: no room/ });
        await store.put('g', bytes(10));
        for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) deepEqual(await store.get(name), bytes(1_500), name);
        await store.drain();
      });
    });

    it('beyond the quota of what waits, puts are refused and told what to do', async () => {
      const inner = new MemoryBlobStore();
      const remote = new HookedBlobStore(inner);
      await withTier(authority, remote, async ({ open }) => {
        const store = await open({ pendingBytesMax: 2_500 });
        const gate = new Gate();
        remote.before = (call) => (call === 'put' ? gate.pass() : undefined);
        const puts = ['a', 'b'].map((name) => store.put(name, bytes(1_000)));
        await gate.reached;
        await until(async () => store.status.pendingObjects === 2);
        await rejects(store.put('c', bytes(1_000)), {
          code: 'UPLOADS_FULL',
          kind: 'unavailable',
          message: /no room for c \(1000 bytes\): 2 objects of 2000 bytes .* pendingBytesMax is 2500\. .*reached/,
        });
        deepEqual([store.status.pendingObjects, store.status.pendingBytes], [2, 2_000]);
        gate.open();
        await Promise.all(puts);
        await store.drain();
        await store.put('c', bytes(1_000));
        await store.drain();
        deepEqual(await inner.list(''), ['a', 'b', 'c']);
        equal(store.status.pendingBytes, 0);
      });
    });

    it('uploads no more at a time than it may', async () => {
      const remote = new HookedBlobStore(new MemoryBlobStore());
      await withTier(authority, remote, async ({ root, open }) => {
        const store = await open({ uploadsMax: 3 });
        let running = 0;
        let highest = 0;
        let done = 0;
        remote.before = async (call) => {
          if (call !== 'put') return;
          highest = Math.max(highest, ++running);
          // All are there to be uploaded before the first upload ends.
          await until(async () => highest >= 3 && readdirSync(`${root}/pending/a`).length + done >= 20);
        };
        remote.after = (call) => {
          if (call !== 'put') return;
          running--;
          done++;
        };
        await Promise.all(Array.from({ length: 20 }, (_, i) => store.put(`a/${i}`, bytes(10))));
        await store.drain();
        equal(highest, 3);
        equal(store.status.uploadedObjects, 20);
        equal(store.status.uploadedBytes, 200);
      });
    });

    it('uploads no faster than it may', async () => {
      await withTier(authority, new MemoryBlobStore(), async ({ open }) => {
        const clock = new JumpingClock();
        const store = await open({ clock, uploadBytesPerSecondMax: 1_000 });
        const beginMs = clock.timeMs;
        await Promise.all(Array.from({ length: 10 }, (_, i) => store.put(`a/${i}`, bytes(1_000))));
        await store.drain();
        const tookMs = clock.timeMs - beginMs;
        ok(tookMs >= 9_000 && tookMs < 9_100, `${tookMs} ms`);
      });
    });

    it('closed, it refuses everything', async () => {
      await withTier(authority, new MemoryBlobStore(), async ({ open }) => {
        const store = await open();
        await store.put('a', bytes(1));
        await store.close();
        const closed = { code: 'STORE_CLOSED', kind: 'closed' };
        for (const call of [
          () => store.put('b', bytes(1)),
          () => store.get('a'),
          () => store.stat('a'),
          () => store.list(''),
          () => store.delete('a'),
          () => store.read('v'),
          () => store.compareAndSet('v', undefined, bytes(1)),
          () => store.drain(),
        ]) {
          await rejects(call, closed);
        }
      });
    });

    it('settings that make no sense, and a folder of the other kind, are refused by name', async () => {
      await withTier(authority, new MemoryBlobStore(), async ({ open }) => {
        const bad: [Partial<TierSettings>, RegExp][] = [
          [{ uploadsMax: 0 }, /uploadsMax .* not 0/],
          [{ uploadsMax: 1.5 }, /uploadsMax/],
          [{ pendingBytesMax: 0 }, /pendingBytesMax/],
          [{ memoryBytesMax: -1 }, /memoryBytesMax/],
          [{ diskBytesMax: Number.NaN }, /diskBytesMax/],
          [{ uploadBytesPerSecondMax: 0 }, /uploadBytesPerSecondMax/],
          [{ authority: 'both' as TierAuthority }, /authority .* not both/],
        ];
        for (const [settings, message] of bad) await rejects(open(settings), { code: 'TIER_SETTINGS', message });
        await (await open()).close();
        const other = authority === 'local' ? 'remote' : 'local';
        await rejects(open({ authority: other }), { code: 'TIER_AUTHORITY', message: /use another folder/ });
      });
    });
  });
}

function passing(inner: HookedBlobStore) {
  return {
    location: inner.location,
    put: inner.put.bind(inner),
    get: inner.get.bind(inner),
    stat: inner.stat.bind(inner),
    delete: inner.delete.bind(inner),
    list: inner.list.bind(inner),
    read: inner.read.bind(inner),
    compareAndSet: inner.compareAndSet.bind(inner),
  };
}

describe('tiered blob store: authority remote', () => {
  it('put resolves when the remote has it, however long that takes', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    let attempts = 0;
    remote.before = (call) => {
      if (call === 'put' && ++attempts < 20) throw away();
    };
    await withTier('remote', remote, async ({ open }) => {
      const store = await open();
      await store.put('a', bytes(10));
      deepEqual(await inner.get('a'), bytes(10));
      equal(store.status.uploadFailures, 19);
    });
  });

  it('a lost response is settled by looking at the bytes', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    let lost = 0;
    remote.after = (call) => {
      if (call === 'put' && lost++ === 0) throw away();
    };
    await withTier('remote', remote, async ({ open }) => {
      await (await open()).put('a', bytes(10));
      equal(lost, 1);
    });
  });

  it('a name that another host has taken is refused, and nothing stays behind', async () => {
    const inner = new MemoryBlobStore();
    await inner.put('a', bytes(10));
    await withTier('remote', inner, async ({ root, open }) => {
      const store = await open();
      await rejects(store.put('a', bytes(10)), { code: 'BLOB_EXISTS', kind: 'invalid' });
      deepEqual(readdirSync(`${root}/pending`), []);
      equal(store.status.pendingObjects, 0);
      await store.drain();
    });
  });

  it('what was not uploaded when it was closed, is after the next open, once', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    let open_ = false;
    remote.before = (call) => {
      if (call === 'put' && !open_) throw away();
    };
    await withTier('remote', remote, async ({ root, open }) => {
      const store = await open();
      const puts = ['x/a', 'x/b'].map((name) =>
        rejects(store.put(name, bytes(10)), { code: 'STORE_CLOSED', kind: 'closed' }),
      );
      await until(async () => store.status.uploadFailures >= 4);
      deepEqual(await store.list(''), [], 'what no put resolved for is not there yet');
      await rejects(store.get('x/a'), { code: 'BLOB_NOT_FOUND' });
      await store.close();
      await Promise.all(puts);
      // One of them had arrived after all.
      await inner.put('x/b', bytes(10));
      open_ = true;
      const again = await open();
      await again.drain();
      deepEqual(await again.list(''), ['x/a', 'x/b']);
      deepEqual(readdirSync(`${root}/pending/x`), []);
    });
  });

  it("the caller's buffer is the caller's again after a put that was cut off (bookkeeper#2563)", async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const gate = new Gate();
    remote.before = (call) => (call === 'put' ? gate.pass() : undefined);
    await withTier('remote', remote, async ({ open }) => {
      const store = await open();
      const mine = bytes(100, 1);
      const put = rejects(store.put('a', mine), { code: 'STORE_CLOSED' });
      await gate.reached;
      await store.close();
      await put;
      mine.fill(2);
      gate.open();
      await (await open()).drain();
      deepEqual(await inner.get('a'), bytes(100, 1));
    });
  });

  it('a leftover whose name another has taken meanwhile is dropped: nobody was told of it', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    remote.before = (call) => {
      if (call === 'put') throw away();
    };
    await withTier('remote', remote, async ({ root, open }) => {
      const store = await open();
      const put = rejects(store.put('a', bytes(10, 1)), { code: 'STORE_CLOSED' });
      await until(async () => store.status.uploadFailures >= 1);
      await store.close();
      await put;
      await inner.put('a', bytes(10, 2));
      const again = await open({ remote: inner });
      await again.drain();
      deepEqual(await again.get('a'), bytes(10, 2));
      deepEqual(readdirSync(`${root}/pending`), []);
    });
  });

  it('delete cancels the upload on its way, waits for its end, and nothing comes back', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const gate = new Gate();
    remote.before = (call) => (call === 'put' ? gate.pass() : undefined);
    await withTier('remote', remote, async ({ root, open }) => {
      const store = await open({ uploadsMax: 1 });
      const first = store.put('a', bytes(10)).then(
        () => 'stored',
        (thrown: MillraceError) => thrown.code,
      );
      await gate.reached;
      const second = rejects(store.put('b', bytes(10)), { code: 'UPLOAD_CANCELLED', kind: 'closed' });
      await until(async () => store.status.pendingObjects === 2);
      const deletes = [store.delete('a'), store.delete('b')];
      await deletes[1];
      gate.open();
      await Promise.all(deletes);
      await second;
      equal(await first, 'stored');
      await store.drain();
      deepEqual(await inner.list(''), []);
      deepEqual(readdirSync(`${root}/pending`), []);
      await store.close();
      await (await open()).drain();
      deepEqual(await inner.list(''), []);
    });
  });

  it('a remote that refuses for other reasons is asked once, and its answer passed on', async () => {
    const remote = new HookedBlobStore(new MemoryBlobStore());
    remote.before = (call) => {
      if (call === 'put') throw new MillraceError('invalid', 'S3_ACCESS', 'no rights');
    };
    await withTier('remote', remote, async ({ root, open }) => {
      await rejects((await open()).put('a', bytes(10)), { code: 'S3_ACCESS' });
      deepEqual(readdirSync(`${root}/pending`), []);
    });
  });

  it('two hosts share the remote; a copy may outlive its object, but nothing else does', async () => {
    const remote = new MemoryBlobStore();
    await withTier('remote', remote, async ({ open: openOne }) => {
      await withTier('remote', remote, async ({ open: openOther }) => {
        const [one, other] = [await openOne(), await openOther({ memoryBytesMax: 0, diskBytesMax: 0 })];
        await one.put('a', bytes(10));
        deepEqual(await other.get('a'), bytes(10));
        const version = await one.compareAndSet('HEAD', undefined, bytes(1));
        await rejects(other.compareAndSet('HEAD', undefined, bytes(2)), { code: 'CAS_CONFLICT' });
        await other.compareAndSet('HEAD', version, bytes(2));
        await other.delete('a');
        deepEqual(await one.list(''), []);
        deepEqual(await one.get('a'), bytes(10));
        await rejects(other.get('a'), { code: 'BLOB_NOT_FOUND' });
        await rejects(one.put('a', bytes(11)), { code: 'BLOB_EXISTS' });
      });
    });
  });
});
