import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runContractCase, seededRandom, systemClock } from '../../base/index.js';
import { blobStoreContract } from './blob-store-contract.js';
import { CountedBlobStore } from './counted-blob-store.js';
import { FaultyBlobStore } from './faulty-blob-store.js';
import { MemoryBlobStore } from './memory-blob-store.js';

const bytes = (length: number) => new Uint8Array(length);

describe('blob store: counted', () => {
  for (const contractCase of blobStoreContract) {
    it(contractCase.name, () => {
      const store = new CountedBlobStore(new MemoryBlobStore());
      return runContractCase(contractCase, async () => ({ one: store, other: store, close: async () => {} }));
    });
  }
});

describe('counted blob store', () => {
  it('counts each kind of call, its bytes, and what became of it', async () => {
    const faulty = new FaultyBlobStore({
      inner: new MemoryBlobStore(),
      clock: systemClock(),
      random: seededRandom(1),
    });
    const store = new CountedBlobStore(faulty);
    await store.put('a', bytes(100));
    await store.get('a');
    await store.get('a', { offset: 90, length: 100 });
    await store.stat('a');
    await store.list('');
    await store.delete('b');
    await store.compareAndSet('HEAD', undefined, bytes(7));
    await store.read('HEAD');
    await store.read('none');
    await rejects(store.put('a', bytes(1)), { code: 'BLOB_EXISTS' });
    await rejects(store.get('none'), { code: 'BLOB_NOT_FOUND' });
    await rejects(store.compareAndSet('HEAD', undefined, bytes(3)), { code: 'CAS_CONFLICT' });
    faulty.faults.outage = true;
    await rejects(store.put('c', bytes(9)), { code: 'STORE_UNAVAILABLE' });
    await rejects(store.list(''), { code: 'STORE_UNAVAILABLE' });
    const none = { requests: 1, failures: 0, refusals: 0, bytesWritten: 0, bytesRead: 0 };
    deepEqual(store.counts, {
      put: { requests: 3, failures: 1, refusals: 1, bytesWritten: 100, bytesRead: 0 },
      get: { requests: 3, failures: 0, refusals: 1, bytesWritten: 0, bytesRead: 110 },
      stat: none,
      delete: none,
      list: { ...none, requests: 2, failures: 1 },
      read: { ...none, requests: 2, bytesRead: 7 },
      compareAndSet: { requests: 2, failures: 0, refusals: 1, bytesWritten: 7, bytesRead: 0 },
      total: { requests: 14, failures: 2, refusals: 3, bytesWritten: 107, bytesRead: 117 },
    });
  });

  it('gives copies, and begins anew after a reset', async () => {
    const store = new CountedBlobStore(new MemoryBlobStore());
    const before = store.counts;
    await store.put('a', bytes(5));
    equal(before.put.requests, 0);
    store.reset();
    equal(store.counts.total.requests, 0);
    await store.get('a');
    equal(store.counts.total.bytesRead, 5);
    equal(store.counts.put.bytesWritten, 0);
  });
});
