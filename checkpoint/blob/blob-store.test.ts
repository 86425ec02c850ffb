import { deepEqual, equal, rejects } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Disk, MillraceError, nodeDisk, runContractCase, systemRandom } from '../../base/index.js';
import { type BlobStorePair, blobStoreContract } from './blob-store-contract.js';
import { DirectoryBlobStore } from './directory-blob-store.js';
import { MemoryBlobStore } from './memory-blob-store.js';

async function inFolder<T>(fn: (root: string) => Promise<T>): Promise<T> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  try {
    return await fn(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

const open = (root: string, disk: Disk = nodeDisk()) =>
  DirectoryBlobStore.open({ disk, root: `${root}/store`, random: systemRandom() });

async function memoryPair(): Promise<BlobStorePair> {
  const store = new MemoryBlobStore();
  return { one: store, other: store, close: async () => {} };
}

async function directoryPair(): Promise<BlobStorePair> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  return { one: await open(root), other: await open(root), close: async () => rmSync(root, { recursive: true }) };
}

for (const [name, makePair] of [
  ['memory', memoryPair],
  ['directory', directoryPair],
] as const) {
  describe(`blob store: ${name}`, () => {
    for (const contractCase of blobStoreContract) {
      it(contractCase.name, () => runContractCase(contractCase, makePair));
    }
  });
}

describe('directory blob store', () => {
  it('leaves no temp file, keeps few versions, and removes what a dead process left', () =>
    inFolder(async (root) => {
      const store = await open(root);
      await store.put('a', Uint8Array.of(1));
      let version: string | undefined;
      for (let i = 0; i < 30; i++) version = await store.compareAndSet('HEAD', version, Uint8Array.of(i));
      deepEqual(readdirSync(`${root}/store/temp`), []);
      equal(readdirSync(`${root}/store/values/HEAD`).length, 8);
      writeFileSync(`${root}/store/temp/left-by-the-dead`, 'x');
      const again = await open(root);
      deepEqual(readdirSync(`${root}/store/temp`), []);
      deepEqual([...((await again.read('HEAD'))?.bytes ?? [])], [29]);
      equal((await again.read('HEAD'))?.version, version);
    }));

  it('a put that dies half way leaves nothing under the final name', () =>
    inFolder(async (root) => {
      const real = nodeDisk();
      const tearing: Disk = {
        ...real,
        async write(path, bytes) {
          await real.write(path, bytes.subarray(0, bytes.length >> 1));
          throw new MillraceError('unavailable', 'DISK_FULL', `no room for ${path}`);
        },
      };
      const store = await open(root, tearing);
      await rejects(store.put('a', Uint8Array.of(1, 2)), { code: 'STORE_UNAVAILABLE', message: /no room/ });
      await rejects(store.compareAndSet('HEAD', undefined, Uint8Array.of(1, 2)), { code: 'STORE_UNAVAILABLE' });
      deepEqual(await store.list(''), []);
      equal(await store.read('HEAD'), undefined);
    }));

  it('what was linked and not synced is synced before it is trusted', () =>
    inFolder(async (root) => {
      const real = nodeDisk();
      const synced: string[] = [];
      let broken: 'link' | 'rename' | undefined;
      const failed = (path: string) => new MillraceError('unavailable', 'DISK_FAILED', `${path}: cannot be synced`);
      const store = await open(root, {
        ...real,
        async link(from, to) {
          await real.link(from, to);
          if (broken === 'link') throw failed(to);
        },
        async rename(from, to) {
          if (broken === 'rename') throw failed(to);
          await real.rename(from, to);
          synced.push(to.slice(`${root}/store/`.length));
        },
      });
      broken = 'link';
      await rejects(store.compareAndSet('HEAD', undefined, Uint8Array.of(1)), { code: 'STORE_UNAVAILABLE' });
      await rejects(store.put('a/b', Uint8Array.of(2)), { code: 'STORE_UNAVAILABLE' });
      broken = 'rename';
      // The value stands there for all to see, and would be gone after a power cut: nobody may be told that it was moved.
      await rejects(store.read('HEAD'), { code: 'STORE_UNAVAILABLE' });
      await rejects(store.get('a/b'), { code: 'STORE_UNAVAILABLE' });
      await rejects(store.stat('a/b'), { code: 'STORE_UNAVAILABLE' });
      broken = undefined;
      deepEqual([...((await store.read('HEAD'))?.bytes ?? [])], [1]);
      deepEqual([...(await store.get('a/b'))], [2]);
      deepEqual(synced, ['values/HEAD/.synced', 'objects/a/.synced']);
      deepEqual(await store.list(''), ['a/b']);
      await store.read('HEAD');
      equal(synced.length, 2);
    }));

  it('a writer paused past the cleanup of its version is not told that it won', () =>
    inFolder(async (root) => {
      const real = nodeDisk();
      let resume = () => {};
      const paused = new Promise<void>((resolve) => {
        resume = resolve;
      });
      let reached = () => {};
      const atLink = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const sleepy = await open(root, {
        ...real,
        async link(from, to) {
          reached();
          await paused;
          await real.link(from, to);
        },
      });
      const store = await open(root);
      let version = await store.compareAndSet('HEAD', undefined, Uint8Array.of(0));
      const late = sleepy.compareAndSet('HEAD', version, Uint8Array.of(99));
      await atLink;
      for (let i = 1; i <= 20; i++) version = await store.compareAndSet('HEAD', version, Uint8Array.of(i));
      resume();
      await rejects(late, { code: 'STORE_UNAVAILABLE', message: /overtaken/ });
      deepEqual([...((await store.read('HEAD'))?.bytes ?? [])], [20]);
    }));

  it('a temp file taken by the cleanup of another process that opens the store is written again', () =>
    inFolder(async (root) => {
      const real = nodeDisk();
      let opened = 0;
      const store = await open(root, {
        ...real,
        async link(from, to) {
          if (opened++ === 0) await open(root);
          await real.link(from, to);
        },
      });
      await store.put('a', Uint8Array.of(7));
      deepEqual([...(await store.get('a'))], [7]);
    }));

  it('a reader whose version is cleaned away under it reads a newer one', () =>
    inFolder(async (root) => {
      const real = nodeDisk();
      const writer = await open(root);
      let version = await writer.compareAndSet('HEAD', undefined, Uint8Array.of(0));
      let first = true;
      const reader = await open(root, {
        ...real,
        async list(path) {
          const names = await real.list(path);
          if (first && path.endsWith('HEAD')) {
            first = false;
            for (let i = 1; i <= 12; i++) version = await writer.compareAndSet('HEAD', version, Uint8Array.of(i));
          }
          return names;
        },
      });
      deepEqual([...((await reader.read('HEAD'))?.bytes ?? [])], [12]);
    }));
});
