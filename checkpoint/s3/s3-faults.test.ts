import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MillraceError, seededRandom, silentLogger, systemClock, systemRandom } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { ManualDeadlines } from '../blob/manual-deadlines.test.support.js';
import { RetryingBlobStore } from '../blob/retrying-blob-store.js';
import type { S3Fault } from './s3-front.test.support.js';
import { onS3, patternBytes } from './s3-ground.test.support.js';

const unavailable = { code: 'STORE_UNAVAILABLE', kind: 'unavailable' };
const one = Uint8Array.of(1);

/** Every call, as it is when `a` is an object of 2,000 bytes and `v` a value at `version`. */
const calls: readonly { name: string; run: (store: BlobStore, version: string) => Promise<unknown> }[] = [
  { name: 'put', run: (store) => store.put('new', one) },
  { name: 'get', run: (store) => store.get('a') },
  { name: 'get of a range', run: (store) => store.get('a', { offset: 100, length: 1000 }) },
  { name: 'stat', run: (store) => store.stat('a') },
  { name: 'delete', run: (store) => store.delete('b') },
  { name: 'list', run: (store) => store.list('') },
  { name: 'read', run: (store) => store.read('v') },
  { name: 'compare-and-set', run: (store, version) => store.compareAndSet('v', version, one) },
];

const anyCall: readonly { name: string; fault: S3Fault; says: RegExp }[] = [
  { name: 'a response lost after success', fault: { kind: 'lost' }, says: /ECONNRESET/ },
  { name: 'a reset connection', fault: { kind: 'reset' }, says: /ECONNRESET/ },
  { name: '500', fault: { kind: 'answer', status: 500, code: 'InternalError' }, says: /500/ },
  {
    name: '503 SlowDown',
    fault: { kind: 'answer', status: 503, code: 'SlowDown' },
    says: /(HTTP 503|503.*; the store asks for fewer requests)$/,
  },
  {
    name: '409 ConditionalRequestConflict',
    fault: { kind: 'answer', status: 409, code: 'ConditionalRequestConflict' },
    says: /409/,
  },
];

describe('an S3 blob store before a bad network', () => {
  for (const { name, fault, says } of anyCall) {
    it(`${name} is STORE_UNAVAILABLE, for every call, and nothing is tried twice`, () =>
      onS3(async ({ front, direct, open }) => {
        const store = await open();
        for (const call of calls) {
          await direct.put('a', patternBytes(2000)).catch(() => {});
          await direct.put('b', one).catch(() => {});
          await direct.deleteValue('v');
          const version = await direct.compareAndSet('v', undefined, Uint8Array.of(7));
          front.requests.length = 0;
          const injected = front.inject({}, fault);
          await rejects(call.run(store, version), (thrown: MillraceError) => {
            deepEqual([thrown.code, thrown.kind], ['STORE_UNAVAILABLE', 'unavailable'], call.name);
            match(thrown.message, says);
            match(thrown.message, /^s3:\/\/test-bucket\/p: \S+ .*failed: [^\n]+$/);
            return true;
          });
          equal(front.requests.length, 1, `${call.name}: requests sent`);
          injected.lift();
          // And it works as soon as the network does.
          deepEqual(await store.list('a'), ['a']);
        }
      }));
  }

  for (const [name, fault] of [
    ['ends early', { kind: 'truncate' }],
    ['is cut, under a length that hides it', { kind: 'shorten' }],
  ] as const) {
    it(`truncated download on restore (restate#3380): a body that ${name} is never given out short`, () =>
      onS3(async ({ front, direct, open }) => {
        const store = await open();
        await direct.put('small', patternBytes(10));
        await direct.put('large', patternBytes(3_000_000));
        await direct.compareAndSet('v', undefined, patternBytes(500));
        const injected = front.inject({ method: 'GET' }, fault);
        for (const object of ['small', 'large']) {
          await rejects(store.get(object), unavailable);
          await rejects(store.get(object, { offset: 2, length: 6 }), unavailable);
          await rejects(store.get(object, { offset: 2, length: 9_000_000 }), unavailable);
        }
        await rejects(store.read('v'), unavailable);
        equal(injected.hits, 7);
        injected.lift();
        deepEqual(await store.get('large'), patternBytes(3_000_000));
        deepEqual(await store.get('small', { offset: 2, length: 9_000_000 }), patternBytes(10).slice(2));
      }));
  }

  it('own success reported as 412 by a retry (aws-sdk-java-v2#6580): one request each, and the second says what is there', () =>
    onS3(async ({ front, direct, open }) => {
      const store = await open();
      const lost = front.inject({ method: 'PUT' }, { kind: 'lost' });
      await rejects(store.put('a', one), unavailable);
      await rejects(store.compareAndSet('v', undefined, one), unavailable);
      equal(front.count('PUT'), 2);
      deepEqual(
        front.requests.map(({ headers }) => headers['amz-sdk-request']),
        ['attempt=1; max=1', 'attempt=1; max=1'],
      );
      lost.lift();
      deepEqual(await direct.get('a'), one);
      await rejects(store.put('a', one), { code: 'BLOB_EXISTS' });
      // It has looked first: a server that refuses a long body may close the connection before its 412 is read.
      equal(front.count('PUT'), 2);
      await rejects((await open()).put('a', one), { code: 'BLOB_EXISTS' });
      await rejects(store.compareAndSet('v', undefined, one), { code: 'CAS_CONFLICT' });
      deepEqual((await store.read('v'))?.bytes, one);
    }));

  it('own success reported as 412 by a retry (aws-sdk-java-v2#6580): known as such by whoever tries again', () =>
    onS3(async ({ front, direct, open }) => {
      const store = new RetryingBlobStore({
        inner: await open(),
        clock: systemClock(),
        random: systemRandom(),
        logger: silentLogger(),
        settings: { firstDelayMs: 1 },
      });
      const lost = front.inject({ method: 'PUT', times: 1 }, { kind: 'lost' });
      await store.put('a', one);
      equal(lost.hits, 1);
      await direct.put('b', Uint8Array.of(2));
      front.inject({ method: 'PUT', times: 1 }, { kind: 'reset' });
      await rejects(store.put('b', one), { code: 'BLOB_EXISTS' });
      deepEqual(await direct.get('b'), Uint8Array.of(2));
      store.close();
    }));

  it('a value that another writer moves meanwhile is a conflict, and stays as the other left it', () =>
    onS3(async ({ front, direct, open }) => {
      const store = await open();
      const version = await store.compareAndSet('v', undefined, one);
      const first = async () => {
        await direct.compareAndSet('v', version, Uint8Array.of(9));
        await direct.put('a', Uint8Array.of(9));
      };
      front.inject({ method: 'PUT', key: /values\/v/, times: 1 }, { kind: 'race', first });
      await rejects(store.compareAndSet('v', version, Uint8Array.of(2)), { code: 'CAS_CONFLICT', kind: 'fenced' });
      deepEqual((await store.read('v'))?.bytes, Uint8Array.of(9));
      await rejects(store.put('a', one), { code: 'BLOB_EXISTS' });
      deepEqual(await store.get('a'), Uint8Array.of(9));
    }));

  it('a store that is away is unavailable, and the same object works when it is back', () =>
    onS3(async ({ front, open }) => {
      const store = await open();
      const version = await store.compareAndSet('v', undefined, one);
      const lift = front.outage();
      for (const call of calls) await rejects(call.run(store, version), unavailable, call.name);
      lift();
      await store.put('a', one);
      await store.compareAndSet('v', version, Uint8Array.of(2));
      deepEqual(await store.list(''), ['a']);
    }));

  it('a server that stalls is an error at the deadline, before an answer and in the middle of one', () =>
    onS3(async ({ front, direct, open }) => {
      const clock = new ManualDeadlines();
      const store = await open({ clock, settings: { requestTimeoutMs: 12_345 } });
      await direct.put('a', patternBytes(2000));
      await direct.put('b', one);
      const version = await direct.compareAndSet('v', undefined, one);
      for (const where of ['start', 'body'] as const) {
        const injected = front.inject({}, { kind: 'stall', where });
        // An answer without a body has no middle.
        for (const call of calls.filter(({ name }) => where === 'start' || /get|read|list/.test(name))) {
          const called = call.run(store, version);
          const outcome = rejects(called, { ...unavailable, message: /failed: no answer within 12345 ms/ });
          await front.stalled();
          clock.expire(12_345);
          await outcome;
        }
        injected.lift();
      }
      equal(clock.pending, 0);
      deepEqual(await store.get('a'), patternBytes(2000));
    }));

  it('a download that makes progress gets its time anew with each MiB', () =>
    onS3(async ({ direct, open }) => {
      const clock = new ManualDeadlines();
      const store = await open({ clock });
      await direct.put('a', patternBytes(5 * 1024 * 1024 + 1));
      const before = clock.started;
      equal((await store.get('a')).length, 5 * 1024 * 1024 + 1);
      const timers = clock.started - before;
      ok(timers >= 5 && timers <= 7, `${timers} timers for 5 MiB`);
      equal(clock.pending, 0);
    }));

  it('a store that is closed ends what is in flight, and takes nothing more', () =>
    onS3(async ({ front, open }) => {
      const store = await open();
      front.inject({}, { kind: 'stall', where: 'start' });
      const outcomes = calls.map(({ run }) => rejects(run(store, 'x'), { code: 'STORE_CLOSED', kind: 'closed' }));
      await front.stalled(calls.length);
      store.close();
      store.close();
      await Promise.all(outcomes);
      await rejects(store.list(''), { code: 'STORE_CLOSED' });
    }));

  it('what is acknowledged is there and no increment is lost or counted twice, whatever breaks on the way', async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    t.diagnostic(`seed ${seed}`);
    await onS3(
      async ({ front, direct, open }) => {
        const random = seededRandom(seed);
        const store = await open({ settings: { multipartFromBytes: 3000, partBytes: 1000, partsInFlight: 2 } });
        const faults: S3Fault[] = [
          { kind: 'lost' },
          { kind: 'reset' },
          { kind: 'truncate' },
          { kind: 'answer', status: 503, code: 'SlowDown' },
          { kind: 'answer', status: 409, code: 'ConditionalRequestConflict' },
        ];
        const planted = faults.map((fault) => front.inject({ rate: 0.06 }, fault));
        const acknowledged = new Map<string, Uint8Array>();
        let [sure, unsure] = [0, 0];
        for (let i = 0; i < 80; i++) {
          const name = `o${i}`;
          const bytes = patternBytes(1 + random.below(6000)).fill(i & 0xff, 0, 1);
          try {
            await store.put(name, bytes);
            acknowledged.set(name, bytes);
          } catch (thrown) {
            equal((thrown as MillraceError).code, 'STORE_UNAVAILABLE', String(thrown));
          }
          try {
            const read = await store.read('counter');
            const next = Uint8Array.of((read?.bytes[0] ?? 0) + 1);
            unsure++;
            await store.compareAndSet('counter', read?.version, next);
            sure++;
            unsure--;
          } catch (thrown) {
            ok(thrown instanceof MillraceError && thrown.code === 'STORE_UNAVAILABLE', String(thrown));
          }
        }
        for (const each of planted) each.lift();
        for (const [name, bytes] of acknowledged) deepEqual(await direct.get(name), bytes, name);
        for (const name of await direct.list('')) ok(/^o\d+$/.test(name));
        const counter = (await direct.read('counter'))?.bytes[0] ?? 0;
        ok(counter >= sure && counter <= sure + unsure, `${counter}, of ${sure} sure and ${unsure} unsure`);
        ok(acknowledged.size > 10 && acknowledged.size < 80 && unsure > 0, 'some broke, and some did not');
      },
      { seed },
    );
  });
});
