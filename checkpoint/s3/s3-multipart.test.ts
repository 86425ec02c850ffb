import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Clock, nodeDisk, systemClock, systemRandom } from '../../base/index.js';
import { openBlobStore } from '../blob/open-blob-store.js';
import { onS3, patternBytes } from './s3-ground.test.support.js';

const settings = { multipartFromBytes: 1000, partBytes: 100, partsInFlight: 3 };
const unavailable = { code: 'STORE_UNAVAILABLE', kind: 'unavailable' };

describe('uploads in parts', () => {
  it('send as many parts at a time as is allowed, and each once', () =>
    onS3(async ({ s3, front, open }) => {
      const store = await open({ settings });
      let meet = () => {};
      const met = new Promise<void>((resolve) => {
        meet = resolve;
      });
      let arrived = 0;
      const first = () => {
        if (++arrived === 3) meet();
        return met;
      };
      front.inject({ query: 'partNumber', times: 3 }, { kind: 'race', first });
      // Were there more than three, they would now meet.
      front.inject({ query: 'partNumber' }, { kind: 'delay', ms: 5 });
      await store.put('a', patternBytes(2950));
      const parts = front.requests
        .filter(({ query }) => query.has('partNumber'))
        .map(({ query }) => query.get('partNumber'));
      deepEqual(
        parts.map(Number).sort((a, b) => a - b),
        Array.from({ length: 30 }, (_, i) => i + 1),
      );
      equal(front.inFlightMax, 3);
      equal(Buffer.compare(await store.get('a'), patternBytes(2950)), 0);
      equal(s3.bucket.uploads.size, 0);
    }));

  it('have no more than 10,000 parts, however small these are set', () =>
    onS3(async ({ front, open }) => {
      const store = await open({ settings: { ...settings, partBytes: 1 } });
      front.inject({ query: 'partNumber', nth: 1 }, { kind: 'answer', status: 500, code: 'InternalError' });
      await rejects(store.put('a', new Uint8Array(25_000)), {
        ...unavailable,
        message: /put a part \d+ of 8334 failed: .*500/,
      });
    }));

  for (const [what, query, fault] of [
    ['a part is refused', 'partNumber', { kind: 'answer', status: 503, code: 'SlowDown' }],
    ['the connection of a part breaks', 'partNumber', { kind: 'reset' }],
    ['the answer to a part is lost', 'partNumber', { kind: 'lost' }],
  ] as const) {
    it(`half-uploaded checkpoint leaks (FLINK-37867): nothing is left where ${what}`, () =>
      onS3(async ({ s3, front, open }) => {
        const store = await open({ settings });
        front.inject({ query, nth: 7 }, fault);
        await rejects(store.put('a', patternBytes(2000)), unavailable);
        ok(front.requests.filter((r) => r.query.has('partNumber')).length < 12, 'the others are not sent any more');
        equal(s3.bucket.uploads.size, 0);
        deepEqual(await store.list(''), []);
        await store.put('a', patternBytes(2000));
        equal(s3.bucket.uploads.size, 0);
      }));
  }

  it('half-uploaded checkpoint leaks (FLINK-37867): nothing is left where the completion fails', () =>
    onS3(async ({ s3, front, open }) => {
      const store = await open({ settings });
      const refused = front.inject(
        { method: 'POST', query: 'uploadId' },
        { kind: 'answer', status: 500, code: 'Oops' },
      );
      await rejects(store.put('a', patternBytes(2000)), { ...unavailable, message: /put a, completion failed: Oops/ });
      refused.lift();
      equal(s3.bucket.uploads.size, 0);
      const lost = front.inject({ method: 'POST', query: 'uploadId' }, { kind: 'lost' });
      await rejects(store.put('a', patternBytes(2000)), unavailable);
      lost.lift();
      // It was completed; that nobody heard of it undoes nothing.
      equal(Buffer.compare(await store.get('a'), patternBytes(2000)), 0);
      equal(s3.bucket.uploads.size, 0);
      const parts = front.count('PUT');
      await rejects((await open({ settings })).put('a', patternBytes(2000)), { code: 'BLOB_EXISTS' });
      equal(front.count('PUT'), parts, 'no part is uploaded in vain');
    }));

  it('half-uploaded checkpoint leaks (FLINK-37867): what a dead process left is swept, by name or by age', () =>
    onS3(
      async ({ s3, front, direct, open }) => {
        const store = await open({ settings });
        let lift = () => {};
        front.inject(
          { query: 'partNumber', nth: 2 },
          {
            kind: 'race',
            // As if the process died: not even the abort arrives.
            first: () => {
              lift = front.outage();
            },
          },
        );
        await rejects(store.put('segments/3-1-h-x', patternBytes(2000)), unavailable);
        lift();
        for (const name of ['segments/4-2-h-x', 'segments/4-3-h-x'])
          s3.bucket.createUpload(`p/objects/${name}`, Date.now());
        s3.bucket.createUpload('elsewhere/objects/a', 0);
        equal(s3.bucket.uploads.size, 4);

        const names = (uploads: readonly { readonly name: string }[]) => uploads.map(({ name }) => name);
        deepEqual(names(await direct.sweepUploads(({ name }) => name.startsWith('segments/3-'))), ['segments/3-1-h-x']);
        equal(s3.bucket.uploads.size, 3);

        const openAt = async (hoursLater: number) => {
          const real = systemClock();
          const clock: Clock = { ...real, now: () => real.now() + hoursLater * 3_600_000 };
          const around = { disk: nodeDisk(), random: systemRandom(), clock, s3: s3.server };
          (await openBlobStore('s3://test-bucket/p', around)).close?.();
        };
        await openAt(23);
        equal(s3.bucket.uploads.size, 3, 'a process may still be at it');
        await openAt(25);
        deepEqual(
          [...s3.bucket.uploads.values()].map(({ key }) => key),
          ['elsewhere/objects/a'],
        );
      },
      { pageKeysMax: 1 },
    ));

  it("caller's buffer reused during upload (bookkeeper#2563): a mixture of before and after is not stored", () =>
    onS3(async ({ s3, front, open }) => {
      const store = await open({ settings });
      const changed = { code: 'BLOB_CHANGED', kind: 'invalid' };
      for (const nth of [2, 15]) {
        const bytes = patternBytes(2000);
        const hit = front.inject({ query: 'partNumber', nth }, { kind: 'race', first: () => void bytes.fill(0) });
        await rejects(store.put('a', bytes), changed);
        hit.lift();
      }
      // Even what changes before a single byte is sent.
      const bytes = patternBytes(2000);
      const put = store.put('a', bytes);
      bytes[1999] = 0;
      await rejects(put, changed);
      equal(s3.bucket.uploads.size, 0);
      deepEqual(await store.list(''), []);
    }));
});
