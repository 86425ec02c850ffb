import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict';
import type { ContractCase } from './contract-case.js';
import type { SharedMemory } from './shared-memory.js';

/** Two objects over one memory, as two threads or processes have them; where there is only one thread, the same twice. */
export interface SharedMemoryPair {
  readonly one: SharedMemory;
  readonly other: SharedMemory;
  close(): Promise<void>;
}

/** What every SharedMemory must do. Each case wants a fresh, empty pair, and closes it: `runContractCase`. */
export const sharedMemoryContract: readonly ContractCase<SharedMemoryPair>[] = [
  {
    name: 'a region starts zeroed, and its three views show the same bytes',
    async run({ one }) {
      const region = await one.create('a', 4096);
      equal(region.name, 'a');
      deepEqual([region.bytes.length, region.words.length, region.longs.length], [4096, 1024, 512]);
      ok(region.bytes.every((byte) => byte === 0));
      region.longs[1] = 0x0102030405060708n;
      deepEqual([...region.bytes.subarray(8, 16)], [8, 7, 6, 5, 4, 3, 2, 1]);
      equal(region.words[2], 0x05060708);
    },
  },
  {
    name: 'what one writes the other reads, through views opened and looked at before',
    async run({ one, other }) {
      const mine = await one.create('a', 65536);
      const reading = await other.open('a', 'read');
      const writing = await other.open('a', 'write');
      equal(reading.bytes[60000], 0);
      mine.bytes.fill(7, 59999, 60002);
      Atomics.store(mine.longs, 0, 9n);
      equal(Atomics.load(reading.longs, 0), 9n);
      deepEqual([...reading.bytes.subarray(59998, 60003)], [0, 7, 7, 7, 0]);
      writing.bytes[5] = 1;
      equal(mine.bytes[5], 1);
      equal(reading.bytes[5], 1);
    },
  },
  {
    name: 'compare-and-swap changes a word only from the expected value, and tells what it found',
    async run({ one, other }) {
      const mine = await one.create('a', 64);
      const theirs = await other.open('a', 'write');
      equal(Atomics.compareExchange(mine.longs, 3, 0n, 5n), 0n);
      equal(Atomics.compareExchange(theirs.longs, 3, 0n, 6n), 5n);
      equal(Atomics.compareExchange(theirs.longs, 3, 5n, 0xffff_ffff_ffff_ffffn), 5n);
      equal(Atomics.load(mine.longs, 3), 0xffff_ffff_ffff_ffffn);
      equal(mine.longs[4], 0n);
    },
  },
  {
    name: 'a name is given once',
    async run({ one, other }) {
      await one.create('a', 64);
      await rejects(one.create('a', 64), { code: 'MEMORY_EXISTS', kind: 'invalid' });
      await rejects(other.create('a', 128), { code: 'MEMORY_EXISTS', kind: 'invalid' });
      equal((await other.open('a', 'write')).bytes.length, 64);
    },
  },
  {
    name: 'a region that is not there is named in the error',
    async run({ one }) {
      await rejects(one.open('nowhere', 'read'), {
        code: 'MEMORY_NOT_FOUND',
        kind: 'unavailable',
        message: /"nowhere"/,
      });
      await one.remove('nowhere');
    },
  },
  {
    name: 'after remove the name is gone, the views stay, and the name can be used again for new memory',
    async run({ one, other }) {
      const mine = await one.create('a', 64);
      const theirs = await other.open('a', 'write');
      await other.remove('a');
      await rejects(one.open('a', 'write'), { code: 'MEMORY_NOT_FOUND' });
      deepEqual(await one.list(), []);
      mine.bytes[0] = 3;
      equal(theirs.bytes[0], 3);
      const again = await other.create('a', 128);
      equal(again.bytes[0], 0);
      equal((await one.open('a', 'write')).bytes.length, 128);
      await one.remove('a');
      await one.create('a', 256);
      equal((await other.open('a', 'write')).bytes.length, 256);
      equal(mine.bytes[0], 3);
    },
  },
  {
    name: 'opening again gives the same region object',
    async run({ one, other }) {
      const mine = await one.create('a', 64);
      equal(await one.open('a', 'write'), mine);
      equal(await other.open('a', 'read'), await other.open('a', 'read'));
      equal(await other.open('a', 'write'), await other.open('a', 'write'));
    },
  },
  {
    name: 'a retired region can be opened anew and others do not notice',
    async run({ one, other }) {
      const mine = await one.create('a', 64);
      const theirs = await other.open('a', 'read');
      mine.bytes[1] = 4;
      one.retire(mine);
      one.retire(mine);
      equal(mine.bytes.length, 64);
      ok(mine.bytes[1] === 0 || mine.bytes[1] === 4);
      equal(theirs.bytes[1], 4);
      const again = await one.open('a', 'write');
      equal(again.bytes[1], 4);
      again.bytes[1] = 5;
      equal(theirs.bytes[1], 5);
    },
  },
  {
    name: 'sizes and names are checked',
    async run({ one }) {
      for (const byteLength of [0, -8, 12, 1.5, Number.NaN, 2 ** 32 + 8, 2 ** 60]) {
        await rejects(one.create('a', byteLength), { code: 'MEMORY_SIZE_INVALID', kind: 'invalid' });
      }
      for (const name of ['', 'x'.repeat(151)]) {
        await rejects(one.create(name, 8), { code: 'MEMORY_NAME_INVALID', kind: 'invalid' });
      }
      deepEqual(await one.list(), []);
    },
  },
  {
    name: 'any name is a name of its own, and lists are sorted',
    async run({ one, other }) {
      const names = ['..', '.hidden', 'a', 'a b', 'a%2Fb', 'a.json', 'a/b', 'a:b', 'Ärger'].sort();
      for (const [i, name] of names.entries()) (await one.create(name, 64)).bytes[0] = i + 1;
      deepEqual(await other.list(), names);
      for (const [i, name] of names.entries()) equal((await other.open(name, 'read')).bytes[0], i + 1);
      await other.remove('a/b');
      deepEqual(
        await one.list(),
        names.filter((name) => name !== 'a/b'),
      );
      notEqual(await one.open('a', 'write'), await one.open('a b', 'write'));
    },
  },
];
