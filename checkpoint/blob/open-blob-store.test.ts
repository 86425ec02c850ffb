import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { nodeDisk, systemClock, systemRandom } from '../../base/index.js';
import { TestS3Server } from '../s3/s3-server.test.support.js';
import { openBlobStore, parseBlobStoreUrl } from './open-blob-store.js';

const around = { disk: nodeDisk(), random: systemRandom(), clock: systemClock() };

describe('the URL of a blob store', () => {
  it('is s3://bucket/prefix, a file: URL or a path', () => {
    deepEqual(parseBlobStoreUrl('s3://my-bucket/team=a/job.1/'), {
      kind: 's3',
      bucket: 'my-bucket',
      prefix: 'team=a/job.1',
    });
    deepEqual(parseBlobStoreUrl('s3://my-bucket'), { kind: 's3', bucket: 'my-bucket', prefix: '' });
    deepEqual(parseBlobStoreUrl('s3://my-bucket/'), { kind: 's3', bucket: 'my-bucket', prefix: '' });
    deepEqual(parseBlobStoreUrl('file:///data/a%20b'), { kind: 'directory', root: '/data/a b' });
    deepEqual(parseBlobStoreUrl('/data/a b'), { kind: 'directory', root: '/data/a b' });
    deepEqual(parseBlobStoreUrl('some/where'), { kind: 'directory', root: join(process.cwd(), 'some/where') });
  });

  it('is refused with what is wrong with it', () => {
    const wrong: [url: string, why: RegExp][] = [
      ['', /empty/],
      ['s3://', /bucket is missing/],
      ['s3:/my-bucket/a', /bucket is missing/],
      ['s3://My_Bucket/a', /"My_Bucket" is no name of a bucket/],
      ['s3://my-bucket/a//b', /"" cannot be part/],
      ['s3://my-bucket/../b', /"\.\." cannot be part/],
      ['s3://my-bucket/a?region=x', /cannot be part/],
      ['gs://my-bucket/a', /nothing is known of gs:/],
      ['https://my-bucket.example.org/a', /nothing is known of https:/],
      ['file://otherhost/a', /host/],
    ];
    for (const [url, message] of wrong) {
      throws(() => parseBlobStoreUrl(url), { kind: 'invalid', code: 'STORE_URL', message }, url);
    }
  });
});

describe('opening a blob store by its URL', () => {
  it('makes a directory store, without loading the S3 client', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
    try {
      const store = await openBlobStore(pathToFileURL(join(folder, 'store')).href, around);
      await store.put('a', Uint8Array.of(1));
      equal(store.location, `directory ${join(folder, 'store')}`);
      const code = `
        import { createRequire } from 'node:module';
        import { nodeDisk, systemClock, systemRandom } from '${new URL('../../base/index.js', import.meta.url)}';
        import { openBlobStore } from '${new URL('../index.js', import.meta.url)}';
        const around = { disk: nodeDisk(), random: systemRandom(), clock: systemClock() };
        const store = await openBlobStore('${join(folder, 'store')}', around);
        const loaded = () => Object.keys(createRequire(import.meta.url).cache).filter((m) => m.includes('client-s3')).length > 0;
        const before = loaded();
        await openBlobStore('s3://a-bucket', { ...around, s3: { endpoint: 'http://127.0.0.1:1', credentials: { accessKeyId: 'a', secretAccessKey: 'b' } }, probe: false });
        console.log(JSON.stringify([await store.list(''), before, loaded()]));`;
      const done = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' });
      deepEqual(JSON.parse(done.stdout || done.stderr), [['a'], false, true]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('probes a store in S3 and leaves nothing of that there; without the probe it sends nothing', async () => {
    const s3 = await TestS3Server.listen();
    try {
      const url = 's3://test-bucket/jobs/a';
      const store = await openBlobStore(url, { ...around, s3: s3.server });
      equal(store.location, url);
      deepEqual([...s3.bucket.objects.keys()], []);
      await store.put('a', Uint8Array.of(1));
      deepEqual([...s3.bucket.objects.keys()], ['jobs/a/objects/a']);
      store.close?.();
      const unfit = await TestS3Server.listen({ ignore: ['if-match'] });
      try {
        await rejects(openBlobStore(url, { ...around, s3: unfit.server }), { code: 'STORE_CONDITIONS' });
        const reader = await openBlobStore(url, { ...around, s3: unfit.server, probe: false });
        deepEqual(await reader.list(''), []);
        ok(unfit.bucket.objects.size === 0);
        reader.close?.();
      } finally {
        await unfit.close();
      }
    } finally {
      await s3.close();
    }
  });
});
