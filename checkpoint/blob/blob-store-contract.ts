import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { type ContractCase, MillraceError } from '../../base/index.js';
import type { BlobStore } from './blob-store.js';

/** Two objects over one store, as two processes have them; where that cannot be, the same object twice. */
export interface BlobStorePair {
  readonly one: BlobStore;
  readonly other: BlobStore;
  close(): Promise<void>;
}

const bytes = (...values: number[]) => Uint8Array.from(values);

/** What every BlobStore must do. Each case wants a fresh, empty pair, and closes it: `runContractCase`. */
export const blobStoreContract: readonly ContractCase<BlobStorePair>[] = [
  {
    name: 'what one puts the other gets, whole or a range of it',
    async run({ one, other }) {
      await one.put('a/b.c', bytes(1, 2, 3, 4));
      await one.put('a/empty', bytes());
      deepEqual([...(await other.get('a/b.c'))], [1, 2, 3, 4]);
      deepEqual([...(await other.get('a/b.c', { offset: 1, length: 2 }))], [2, 3]);
      deepEqual([...(await other.get('a/b.c', { offset: 3, length: 9 }))], [4]);
      equal((await other.get('a/empty')).length, 0);
      deepEqual(await other.stat('a/b.c'), { bytes: 4 });
      deepEqual(await other.stat('a/empty'), { bytes: 0 });
      equal(await other.stat('a/none'), undefined);
      equal(await other.stat('a'), undefined);
    },
  },
  {
    name: "the caller's bytes may change after put and get",
    async run({ one }) {
      // A Buffer's `slice` is no copy.
      for (const [i, copied] of [bytes, (...values: number[]) => Buffer.from(values)].entries()) {
        const name = `a${i}`;
        const mine = copied(1, 2);
        await one.put(name, mine);
        mine[0] = 9;
        (await one.get(name))[1] = 9;
        (await one.get(name, { offset: 0, length: 2 }))[1] = 9;
        deepEqual([...(await one.get(name))], [1, 2]);
        deepEqual([...(await one.get(name, { offset: 0, length: 2 }))], [1, 2]);
        const value = copied(5);
        await one.compareAndSet(`v${i}`, undefined, value);
        value[0] = 9;
        const read = await one.read(`v${i}`);
        if (read !== undefined) read.bytes[0] = 9;
        deepEqual([...((await one.read(`v${i}`))?.bytes ?? [])], [5]);
      }
    },
  },
  {
    name: 'an object is put once',
    async run({ one, other }) {
      await one.put('a', bytes(1));
      await rejects(other.put('a', bytes(2)), { code: 'BLOB_EXISTS', kind: 'invalid' });
      deepEqual([...(await other.get('a'))], [1]);
      const racers = await Promise.allSettled([one, other, one, other].map((s, i) => s.put('race', bytes(i))));
      equal(racers.filter((r) => r.status === 'fulfilled').length, 1);
      equal(
        (await one.get('race'))[0],
        racers.findIndex((r) => r.status === 'fulfilled'),
      );
    },
  },
  {
    name: 'an object that is not there is named in the error, and deleting it is no error',
    async run({ one }) {
      await rejects(one.get('no/where'), { code: 'BLOB_NOT_FOUND', kind: 'unavailable', message: /no\/where/ });
      await one.delete('no/where');
    },
  },
  {
    name: 'a deleted object is gone for all',
    async run({ one, other }) {
      await one.put('x/a', bytes(1));
      await one.put('x/b', bytes(2));
      await other.delete('x/a');
      await rejects(one.get('x/a'), { code: 'BLOB_NOT_FOUND' });
      deepEqual(await one.list('x/'), ['x/b']);
    },
  },
  {
    name: 'lists are sorted, and a prefix may end anywhere in a name',
    async run({ one, other }) {
      for (const name of ['s/b-1', 's/a-2', 's/a-1', 't', 's2/a', 'deep/er/x']) await one.put(name, bytes(0));
      deepEqual(await other.list('s/'), ['s/a-1', 's/a-2', 's/b-1']);
      deepEqual(await other.list('s/a'), ['s/a-1', 's/a-2']);
      deepEqual(await other.list('s'), ['s/a-1', 's/a-2', 's/b-1', 's2/a']);
      deepEqual(await other.list('deep/er/x'), ['deep/er/x']);
      deepEqual(await other.list('nothing/'), []);
      deepEqual(await other.list(''), ['deep/er/x', 's/a-1', 's/a-2', 's/b-1', 's2/a', 't']);
    },
  },
  {
    name: 'a value moves only from the expected version',
    async run({ one, other }) {
      equal(await one.read('HEAD'), undefined);
      const first = await one.compareAndSet('HEAD', undefined, bytes(1));
      await rejects(other.compareAndSet('HEAD', undefined, bytes(9)), { code: 'CAS_CONFLICT', kind: 'fenced' });
      const second = await other.compareAndSet('HEAD', first, bytes(2));
      await rejects(one.compareAndSet('HEAD', first, bytes(9)), { code: 'CAS_CONFLICT' });
      const read = await one.read('HEAD');
      deepEqual([...(read?.bytes ?? [])], [2]);
      equal(read?.version, second);
      await rejects(one.compareAndSet('other', second, bytes(9)), { code: 'CAS_CONFLICT' });
      equal(await one.read('other'), undefined);
    },
  },
  {
    name: 'values are no objects, and objects no values',
    async run({ one }) {
      await one.compareAndSet('HEAD', undefined, bytes(1));
      deepEqual(await one.list(''), []);
      await rejects(one.get('HEAD'), { code: 'BLOB_NOT_FOUND' });
      await one.put('HEAD', bytes(2));
      deepEqual([...((await one.read('HEAD'))?.bytes ?? [])], [1]);
    },
  },
  {
    name: 'of many who move a value from one version one wins, and no increment is lost',
    async run({ one, other }) {
      const increment = async (store: BlobStore) => {
        for (;;) {
          const read = await store.read('counter');
          try {
            await store.compareAndSet('counter', read?.version, bytes((read?.bytes[0] ?? 0) + 1));
            return;
          } catch (e) {
            ok(e instanceof MillraceError && e.code === 'CAS_CONFLICT', String(e));
          }
        }
      };
      const writer = async (store: BlobStore) => {
        for (let i = 0; i < 10; i++) await increment(store);
      };
      await Promise.all([writer(one), writer(other), writer(one)]);
      deepEqual([...((await other.read('counter'))?.bytes ?? [])], [30]);
    },
  },
  {
    name: 'names that not every store can hold are refused',
    async run({ one }) {
      for (const name of ['', '/a', 'a/', 'a//b', '..', 'a/../b', '.hidden', 'a b', 'ä', 'a\\b', 'x'.repeat(201)]) {
        await rejects(one.put(name, bytes()), { code: 'BLOB_NAME', kind: 'invalid' });
        await rejects(one.get(name), { code: 'BLOB_NAME' });
        await rejects(one.delete(name), { code: 'BLOB_NAME' });
        await rejects(one.read(name), { code: 'BLOB_NAME' });
        await rejects(one.compareAndSet(name, undefined, bytes()), { code: 'BLOB_NAME' });
      }
    },
  },
];
