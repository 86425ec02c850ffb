import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type MillraceError, nodeDisk, systemClock, systemRandom } from '../../base/index.js';
import { S3BlobStore } from '../s3/s3-blob-store.js';
import { realS3OrStandIn } from '../s3/s3-gateway.test.support.js';
import { onS3 } from '../s3/s3-ground.test.support.js';
import type { IgnoredCondition } from '../s3/s3-objects.test.support.js';
import type { BlobStore } from './blob-store.js';
import { DirectoryBlobStore } from './directory-blob-store.js';
import { MemoryBlobStore } from './memory-blob-store.js';
import { probeConditions } from './store-probe.js';

const random = systemRandom();

/** A memory store with one call of its own. */
function memoryBut(change: (store: MemoryBlobStore) => Partial<BlobStore>): BlobStore {
  const store = new MemoryBlobStore();
  const methods = ['put', 'get', 'stat', 'delete', 'list', 'read', 'compareAndSet'] as const;
  const bound = Object.fromEntries(methods.map((method) => [method, store[method].bind(store)]));
  return { location: 'memory', ...(bound as unknown as Omit<BlobStore, 'location'>), ...change(store) };
}

describe('the probe of a store', () => {
  it('finds memory and a directory fit', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
    try {
      const directory = await DirectoryBlobStore.open({ disk: nodeDisk(), root: folder, random });
      for (const store of [new MemoryBlobStore(), directory]) {
        await probeConditions(store, { random });
        deepEqual(await store.list(''), []);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('finds a real S3 server fit', async (t) => {
    const s3 = await realS3OrStandIn();
    t.diagnostic(s3.says);
    try {
      const store = await S3BlobStore.open({ bucket: s3.bucket, server: s3.server, clock: systemClock() });
      await probeConditions(store, { random });
      deepEqual(await store.list(''), []);
      store.close();
    } finally {
      await s3.close();
    }
  });

  const ignored: readonly [IgnoredCondition, RegExp][] = [
    ['if-none-match', /it ignores If-None-Match on a put: it overwrites/],
    ['if-match', /it ignores If-Match: it takes a version that was replaced/],
    ['absent', /it ignores If-Match on a key that does not exist: it creates it/],
  ];
  for (const [condition, says] of ignored) {
    const where = condition === 'absent' ? ' (If-Match on a missing key accepted, minio#21526)' : '';
    it(`refuses by name an S3 server that ignores ${condition}${where}, and leaves nothing there`, () =>
      onS3(
        async ({ s3, direct }) => {
          await rejects(probeConditions(direct, { random }), (thrown: MillraceError) => {
            deepEqual([thrown.kind, thrown.code], ['invalid', 'STORE_CONDITIONS']);
            match(thrown.message, /^s3:\/\/test-bucket\/p: this store cannot hold checkpoints: [^\n]*or a directory$/);
            match(thrown.message, says);
            return true;
          });
          equal(s3.bucket.objects.size, 0);
        },
        { ignore: [condition] },
      ));
  }

  const faulty: readonly [string, (store: MemoryBlobStore) => Partial<BlobStore>, RegExp][] = [
    ['loses what is put', () => ({ put: async () => {}, list: async () => [] }), /If-None-Match on a put/],
    ['does not list what it holds', () => ({ list: async () => [] }), /a list does not show/],
    [
      'reads what was there before',
      () => ({ read: async () => ({ bytes: Uint8Array.of(9), version: '1' }) }),
      /a read does not see/,
    ],
    [
      'ignores that a value was never set',
      (store) => ({
        compareAndSet: async (name, expected, bytes) =>
          store.compareAndSet(name, expected ?? (await store.read(name))?.version, bytes),
      }),
      /If-None-Match on a value/,
    ],
    [
      'gives all values one version',
      (store) => {
        const real = store.compareAndSet.bind(store);
        return {
          read: async (name) => {
            const read = await store.read(name);
            return read === undefined ? undefined : { bytes: read.bytes, version: 'same' };
          },
          compareAndSet: async (name, expected, bytes) => {
            const now = (await store.read(name))?.version;
            if (now !== undefined && expected === undefined) return real(name, undefined, bytes);
            if (now === undefined && expected !== undefined) return real(name, expected, bytes);
            await real(name, now, bytes);
            return 'same';
          },
        };
      },
      /two values the same version/,
    ],
    [
      'refuses its own versions',
      (store) => ({
        compareAndSet: async (name, expected, bytes) =>
          store.compareAndSet(name, expected === undefined ? undefined : `${expected}?`, bytes),
      }),
      /refuses If-Match with the version that it gave itself/,
    ],
  ];
  for (const [what, change, says] of faulty) {
    it(`refuses a store that ${what}`, () =>
      rejects(probeConditions(memoryBut(change), { random }), { code: 'STORE_CONDITIONS', message: says }));
  }

  it('lets a failure of the store pass, which says nothing about its conditions', () =>
    onS3(async ({ front, open }) => {
      const store = await open();
      for (const key of [/objects/, /values/]) {
        // Where the probe wants to be refused: this is no refusal.
        const injected = front.inject(
          { method: 'PUT', key, nth: 2 },
          { kind: 'answer', status: 503, code: 'SlowDown' },
        );
        await rejects(probeConditions(store, { random }), { code: 'STORE_UNAVAILABLE' });
        equal(injected.hits, 1);
      }
      front.inject({ method: 'DELETE' }, { kind: 'answer', status: 403, code: 'AccessDenied' });
      await rejects(probeConditions(store, { random }), { code: 'S3_ACCESS', message: /delete.*s3:DeleteObject/ });
    }));
});
