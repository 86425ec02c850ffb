import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Logger, MillraceError, runContractCase, seededRandom, silentLogger } from '../../base/index.js';
import type { BlobStore } from './blob-store.js';
import { blobStoreContract } from './blob-store-contract.js';
import { CountedBlobStore } from './counted-blob-store.js';
import { FaultyBlobStore } from './faulty-blob-store.js';
import { JumpingClock } from './jumping-clock.test.support.js';
import { MemoryBlobStore } from './memory-blob-store.js';
import { RetryingBlobStore, type RetrySettings } from './retrying-blob-store.js';

function setUp(settings: Partial<RetrySettings> = {}, seed = 1) {
  const clock = new JumpingClock();
  const memory = new MemoryBlobStore();
  const faulty = new FaultyBlobStore({ inner: memory, clock, random: seededRandom(seed) });
  const counted = new CountedBlobStore(faulty);
  const lines: { readonly level: string; readonly message: string; readonly location: unknown }[] = [];
  const line = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, location: (fields as { location?: unknown }).location });
  };
  const logger: Logger = { ...silentLogger(), info: line('info'), warn: line('warn'), error: line('error') };
  const store = new RetryingBlobStore({ inner: counted, clock, random: seededRandom(seed + 1), logger, settings });
  return { clock, memory, faulty, counted, store, lines };
}

const own = Uint8Array.of(1, 2, 3);

/** A store whose n-th call of one kind ends as told, after it was carried out or instead. */
function scripted(inner: BlobStore, call: 'put' | 'get' | 'stat', outcomes: ('ok' | 'lost' | 'failed')[]): BlobStore {
  const away = () => new MillraceError('unavailable', 'STORE_UNAVAILABLE', 'no answer');
  const run = async <T>(fn: () => Promise<T>): Promise<T> => {
    const outcome = outcomes.shift() ?? 'ok';
    if (outcome === 'failed') throw away();
    const result = await fn();
    if (outcome === 'lost') throw away();
    return result;
  };
  return {
    location: inner.location,
    put: (name, bytes) => (call === 'put' ? run(() => inner.put(name, bytes)) : inner.put(name, bytes)),
    get: (name, range) => (call === 'get' ? run(() => inner.get(name, range)) : inner.get(name, range)),
    stat: (name) => (call === 'stat' ? run(() => inner.stat(name)) : inner.stat(name)),
    delete: (name) => inner.delete(name),
    list: (prefix) => inner.list(prefix),
    read: (name) => inner.read(name),
    compareAndSet: (name, expected, bytes) => inner.compareAndSet(name, expected, bytes),
  };
}

function overScript(inner: BlobStore): RetryingBlobStore {
  return new RetryingBlobStore({
    inner,
    clock: new JumpingClock(),
    random: seededRandom(1),
    logger: silentLogger(),
  });
}

describe('blob store: retrying', () => {
  for (const contractCase of blobStoreContract) {
    it(contractCase.name, () => {
      const { store } = setUp();
      return runContractCase(contractCase, async () => ({ one: store, other: store, close: async () => {} }));
    });
  }
});

describe('retrying blob store', () => {
  it('gets through a store that fails, loses responses and is slow, and what was put is there once', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { store, faulty, memory } = setUp({}, seed);
      Object.assign(faulty.faults, { errorRate: 0.3, lostResponseRate: 0.3, delayMs: [1, 200] });
      for (let i = 0; i < 10; i++) await store.put(`a/${i}`, Uint8Array.of(i));
      deepEqual(await store.list('a/'), await memory.list('a/'), `seed ${seed}`);
      for (let i = 0; i < 10; i++) deepEqual(await store.get(`a/${i}`), Uint8Array.of(i), `seed ${seed}`);
      deepEqual(await store.stat('a/3'), { bytes: 1 });
      await store.delete('a/3');
      equal(await store.stat('a/3'), undefined);
      equal(await store.read('HEAD'), undefined);
      ok(store.retries > 0 && faulty.lostResponses > 0, `seed ${seed} met no faults`);
    }
  });

  it('own success reported as 412 by a retry (aws-sdk-java-v2#6580)', async () => {
    const memory = new MemoryBlobStore();
    await overScript(scripted(memory, 'put', ['lost'])).put('a', own);
    deepEqual(await memory.get('a'), own);
    // The comparison itself meets a store that is away.
    await overScript(scripted(scripted(memory, 'put', ['lost']), 'get', ['failed', 'failed'])).put('b', own);
    await overScript(scripted(scripted(memory, 'put', ['failed', 'lost']), 'stat', ['failed'])).put('c', own);
    deepEqual(await memory.list(''), ['a', 'b', 'c']);
  });

  it("another's object is not taken for one's own", async () => {
    const memory = new MemoryBlobStore();
    await memory.put('a', Uint8Array.of(1, 2, 4));
    await memory.put('b', Uint8Array.of(1, 2));
    for (const name of ['a', 'b']) {
      await rejects(overScript(scripted(memory, 'put', ['failed'])).put(name, own), { code: 'BLOB_EXISTS' });
    }
  });

  it('a first attempt that meets the name is refused, even if the bytes are the same', async () => {
    const { store, counted, memory } = setUp();
    await memory.put('a', own);
    await rejects(store.put('a', own), { code: 'BLOB_EXISTS', kind: 'invalid' });
    equal(counted.counts.total.requests, 1);
  });

  it('an object that is deleted between a lost put and its comparison is not put again', async () => {
    const memory = new MemoryBlobStore();
    const store = overScript({
      ...scripted(memory, 'put', ['lost']),
      stat: async (name) => {
        const stat = await memory.stat(name);
        await memory.delete(name);
        return stat;
      },
    });
    await rejects(store.put('a', own), { code: 'BLOB_EXISTS' });
    deepEqual(await memory.list(''), []);
  });

  it('never moves a value twice', async () => {
    const { store, faulty, counted, memory } = setUp();
    faulty.faults.lostResponseRate = 1;
    await rejects(store.compareAndSet('HEAD', undefined, own), { code: 'STORE_UNAVAILABLE' });
    equal(counted.counts.compareAndSet.requests, 1);
    equal((await memory.read('HEAD'))?.version, '1');
  });

  it('waits longer each time, tries once at the deadline, and says how long it tried', async () => {
    const { store, faulty, clock, counted } = setUp({ retryForMs: 10_000, firstDelayMs: 100, delayMsMax: 2_000 });
    faulty.faults.outage = true;
    await rejects(store.get('a/b'), {
      code: 'STORE_UNAVAILABLE',
      kind: 'unavailable',
      message: /^memory: get a\/b failed \d+ times in 10\.0 s: memory: get a\/b failed: no connection/,
    });
    equal(clock.timeMs, 10_000);
    // 100 + 200 + 400 + 800 + 1,600 + 2,000... in full: 9 attempts; at half: 13.
    const { requests } = counted.counts.get;
    ok(requests >= 9 && requests <= 14, `${requests} attempts`);
  });

  it('survives an outage shorter than the deadline, and says so in two lines', async () => {
    const { store, faulty, clock, lines } = setUp({ retryForMs: 60_000 });
    faulty.faults.outage = true;
    clock.schedule(40_000, () => {
      faulty.faults.outage = false;
    });
    const puts = Array.from({ length: 20 }, (_, i) => store.put(`a/${i}`, own));
    clock.schedule(20_000, () => {
      ok((store.awayMs ?? 0) > 15_000);
    });
    await Promise.all(puts);
    equal(store.awayMs, undefined);
    deepEqual(lines, [
      { level: 'warn', message: 'the blob store does not answer', location: 'memory' },
      { level: 'info', message: 'the blob store answers again', location: 'memory' },
    ]);
    const { store: impatient, faulty: gone, lines: one } = setUp({ retryForMs: 0 });
    gone.faults.outage = true;
    await rejects(impatient.list(''), { code: 'STORE_UNAVAILABLE' });
    equal(one.length, 1, 'a caller that gives up is worth a line');
  });

  it('says nothing of hiccups', async () => {
    const { store, faulty, lines } = setUp();
    faulty.faults.errorRate = 0.1;
    for (let i = 0; i < 300; i++) await store.put(`a/${i}`, own);
    deepEqual(lines, []);
    ok(store.retries > 20);
  });

  it('does not try again what has an answer', async () => {
    const { store, counted } = setUp();
    await rejects(store.get('none'), { code: 'BLOB_NOT_FOUND' });
    await rejects(store.put('.bad', own), { code: 'BLOB_NAME' });
    equal(counted.counts.total.requests, 2);
  });

  it('close ends the waits and refuses later calls', async () => {
    const { store, faulty, clock, counted } = setUp();
    faulty.faults.outage = true;
    const waiting = ['a', 'b', 'c'].map((name) => rejects(store.get(name), { code: 'STORE_CLOSED', kind: 'closed' }));
    clock.schedule(1_000, () => store.close());
    await Promise.all(waiting);
    equal(clock.timeMs, 1_000);
    const { requests } = counted.counts.total;
    await rejects(store.list(''), { code: 'STORE_CLOSED', message: /^memory: / });
    await rejects(store.compareAndSet('v', undefined, own), { code: 'STORE_CLOSED' });
    equal(counted.counts.total.requests, requests);
  });

  it('names a setting that makes no sense', () => {
    throws(() => setUp({ retryForMs: Number.NaN }), { code: 'RETRY_SETTINGS', message: /retryForMs .* NaN/ });
    throws(() => setUp({ firstDelayMs: -1 }), { code: 'RETRY_SETTINGS', message: /firstDelayMs/ });
  });
});
