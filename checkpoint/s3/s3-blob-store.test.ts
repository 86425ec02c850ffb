import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type MillraceError, runContractCase, systemClock } from '../../base/index.js';
import { blobStoreContract } from '../blob/blob-store-contract.js';
import { S3BlobStore } from './s3-blob-store.js';
import { S3Front } from './s3-front.test.support.js';
import { realS3OrStandIn, type S3UnderTest, smallS3 } from './s3-gateway.test.support.js';
import { patternBytes } from './s3-ground.test.support.js';
import type { S3Settings } from './s3-settings.js';

const MiB = 1024 * 1024;
const inParts: Partial<S3Settings> = { multipartFromBytes: 1, partBytes: 5 * MiB };

for (const [kind, start] of [
  ['the small server', () => smallS3('it always runs, other tests stand on it')],
  ['a real server', realS3OrStandIn],
] as const) {
  describe(`blob store: S3, ${kind}`, () => {
    let s3: S3UnderTest;
    let prefixes = 0;
    before(async () => {
      s3 = await start();
    });
    after(() => s3.close());

    const open = (prefix: string, settings: Partial<S3Settings> = {}, endpoint = s3.url) =>
      S3BlobStore.open({
        bucket: s3.bucket,
        prefix,
        server: { ...s3.server, endpoint },
        clock: systemClock(),
        settings,
      });

    const pair = async (settings: Partial<S3Settings> = {}) => {
      const prefix = `case-${++prefixes}/team=a`;
      const [one, other] = [await open(prefix, settings), await open(prefix, settings)];
      const close = async () => {
        for (const store of [one, other]) store.close();
      };
      return { one, other, close };
    };

    it('is named in the log', (t) => t.diagnostic(s3.says));

    for (const contractCase of blobStoreContract) {
      it(contractCase.name, () => runContractCase(contractCase, pair));
      it(`${contractCase.name} (in parts)`, () => runContractCase(contractCase, () => pair(inParts)));
    }

    it('a large object goes up in parts and comes back whole, and in ranges across parts', async () => {
      const { one, other, close } = await pair({ multipartFromBytes: 11 * MiB, partBytes: 5 * MiB });
      const bytes = patternBytes(11 * MiB + 7);
      await one.put('large', bytes);
      await one.put('smaller', bytes.subarray(1, 11 * MiB));
      equal(Buffer.compare(await other.get('large'), bytes), 0);
      equal(Buffer.compare(await other.get('smaller'), bytes.subarray(1, 11 * MiB)), 0);
      const range = { offset: 5 * MiB - 3, length: 5 * MiB + 6 };
      equal(Buffer.compare(await other.get('large', range), bytes.subarray(5 * MiB - 3, 10 * MiB + 3)), 0);
      deepEqual(await other.stat('large'), { bytes: bytes.length });
      deepEqual(await one.sweepUploads(() => true), []);
      await close();
    });

    it('of two that put one name in parts one wins, and the other leaves nothing unfinished', async () => {
      const { one, other, close } = await pair(inParts);
      const all = [1, 2].map((n) => patternBytes(6 * MiB).fill(n, 0, 9));
      const outcomes = await Promise.allSettled([one, other].map((store, i) => store.put('a', all[i] as Uint8Array)));
      const winner = outcomes.findIndex((o) => o.status === 'fulfilled');
      const codes = outcomes.map((o) => (o.status === 'rejected' ? (o.reason as MillraceError).code : 'won'));
      deepEqual(codes.sort(), ['BLOB_EXISTS', 'won']);
      equal(Buffer.compare(await one.get('a'), all[winner] as Uint8Array), 0);
      deepEqual(await one.sweepUploads(() => true), []);
      await close();
    });

    it('a long body for a name that is taken is refused, though the server may close before it has heard it all', async () => {
      const { one, other, close } = await pair();
      await other.put('a', Uint8Array.of(1));
      const bytes = new Uint8Array(12 * MiB);
      const code = (thrown: unknown) => (thrown as MillraceError).code;
      const first = await one.put('a', bytes).then(() => 'stored', code);
      ok(first === 'BLOB_EXISTS' || first === 'STORE_UNAVAILABLE', first);
      // The connections that the server closed may be noticed one by one: whoever is not answered asks again.
      let again = 'STORE_UNAVAILABLE';
      for (let i = 0; i < 5 && again === 'STORE_UNAVAILABLE'; i++)
        again = await one.put('a', bytes).then(() => 'stored', code);
      equal(again, 'BLOB_EXISTS');
      deepEqual(await other.get('a'), Uint8Array.of(1));
      await close();
    });

    it('If-Match on a missing key accepted (minio#21526): refused, and nothing is created', async () => {
      const { one, other, close } = await pair();
      const version = await one.compareAndSet('there', undefined, Uint8Array.of(1));
      await rejects(one.compareAndSet('missing', version, Uint8Array.of(2)), { code: 'CAS_CONFLICT', kind: 'fenced' });
      equal(await other.read('missing'), undefined);
      await close();
    });

    it("caller's buffer reused during upload (bookkeeper#2563): refused by the server, nothing is stored", async () => {
      const front = await S3Front.listen(s3.url);
      const prefix = `case-${++prefixes}`;
      const store = await open(prefix, {}, front.url);
      const direct = await open(prefix);
      const changed = { code: 'BLOB_CHANGED', kind: 'invalid', message: /the bytes of large changed/ };
      try {
        // More than the sockets on the way can take up at once.
        const length = 15 * MiB;
        let bytes = patternBytes(length);
        const hit = front.inject({ method: 'PUT' }, { kind: 'race', first: () => void bytes.fill(0, 14 * MiB) });
        await rejects(store.put('large', bytes), changed);
        bytes = patternBytes(length);
        await rejects(store.compareAndSet('large', undefined, bytes), changed);
        equal(hit.hits, 2);
        hit.lift();
        deepEqual(await direct.list(''), []);
        equal(await direct.read('large'), undefined);
        const early = Uint8Array.of(1, 2, 3);
        const put = store.put('early', early);
        early[0] = 9;
        await rejects(put, { code: 'BLOB_CHANGED' });
        const value = Uint8Array.of(1, 2, 3);
        const set = store.compareAndSet('value', undefined, value);
        value[0] = 9;
        await rejects(set, { code: 'BLOB_CHANGED' });
        deepEqual(await direct.list(''), []);
        equal(await direct.read('value'), undefined);
      } finally {
        for (const one of [store, direct]) one.close();
        await front.close();
      }
    });

    it('a front passes signed requests on, and loses none of them', async () => {
      const front = await S3Front.listen(s3.url);
      const store = await open(`case-${++prefixes}`, inParts, front.url);
      try {
        await store.put('a/b', patternBytes(5 * MiB + 1));
        equal((await store.get('a/b')).length, 5 * MiB + 1);
        const version = await store.compareAndSet('v', undefined, Uint8Array.of(1));
        await store.compareAndSet('v', version, Uint8Array.of(2));
        deepEqual(await store.list('a/'), ['a/b']);
        await store.delete('a/b');
        deepEqual(
          front.requests.map(({ method }) => method),
          ['HEAD', 'GET', 'POST', 'PUT', 'PUT', 'POST', 'GET', 'PUT', 'PUT', 'GET', 'DELETE'],
        );
      } finally {
        store.close();
        await front.close();
      }
    });
  });
}
