import { deepEqual, equal, notDeepEqual, ok, rejects, throws } from 'node:assert/strict';
import { createDecipheriv, hkdfSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MillraceError, nodeDisk, runContractCase, seededRandom, systemClock, systemRandom } from '../../base/index.js';
import type { BlobStore } from './blob-store.js';
import { type BlobStorePair, blobStoreContract } from './blob-store-contract.js';
import { CountedBlobStore } from './counted-blob-store.js';
import { DirectoryBlobStore } from './directory-blob-store.js';
import { EncryptedBlobStore } from './encrypted-blob-store.js';
import { MemoryBlobStore } from './memory-blob-store.js';
import { chunkBytes, headerBytes, plainBytes, sealedBytes, sealedChunkBytes } from './sealed-blob.js';

const key = (fill: number) => new Uint8Array(32).fill(fill);

function encrypted(inner: BlobStore, keys: Record<string, Uint8Array> = { k1: key(1) }, current = 'k1') {
  return new EncryptedBlobStore({
    inner,
    keys: new Map(Object.entries(keys)),
    current,
    random: systemRandom(),
    clock: systemClock(),
  });
}

function noise(length: number, seed = 1): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = random.u32();
  return bytes;
}

async function memoryPair(): Promise<BlobStorePair> {
  const inner = new MemoryBlobStore();
  return { one: encrypted(inner), other: encrypted(inner), close: async () => {} };
}

async function directoryPair(): Promise<BlobStorePair> {
  const root = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  const open = async () => encrypted(await DirectoryBlobStore.open({ disk: nodeDisk(), root, random: systemRandom() }));
  return { one: await open(), other: await open(), close: async () => rmSync(root, { recursive: true }) };
}

for (const [name, makePair] of [
  ['memory', memoryPair],
  ['directory', directoryPair],
] as const) {
  describe(`blob store: encrypted, over ${name}`, () => {
    for (const contractCase of blobStoreContract) {
      it(contractCase.name, () => runContractCase(contractCase, makePair));
    }
  });
}

/** Sizes and offsets around the ends of chunks. */
const near = (chunksMax: number) =>
  fc
    .tuple(fc.integer({ min: 0, max: chunksMax }), fc.integer({ min: -3, max: 3 }))
    .map(([chunks, off]) => Math.max(0, chunks * chunkBytes + off));

/** Replaces the stored bytes of an object behind the store's back. */
async function replace(inner: BlobStore, name: string, change: (bytes: Uint8Array) => Uint8Array): Promise<void> {
  const bytes = change(await inner.get(name));
  await inner.delete(name);
  await inner.put(name, bytes);
}

const tampered = { code: 'BLOB_TAMPERED', kind: 'corrupt', message: /a\/b/ };

describe('encrypted blob store', () => {
  it('any range of any object is what plain bytes give', async () => {
    const range = fc.record({ offset: near(4), length: fc.oneof(near(4), fc.integer({ min: 0, max: 9 })) });
    await fc.assert(
      fc.asyncProperty(near(3), fc.array(range, { minLength: 1, maxLength: 4 }), async (size, ranges) => {
        const inner = new MemoryBlobStore();
        const plain = noise(size);
        await encrypted(inner).put('a/b', plain);
        const fresh = encrypted(inner);
        for (const { offset, length } of ranges) {
          const got = await fresh.get('a/b', { offset, length });
          equal(Buffer.compare(got, plain.subarray(offset, offset + length)), 0, `${offset} ${length} of ${size}`);
        }
        equal(Buffer.compare(await fresh.get('a/b'), plain), 0);
        deepEqual(await fresh.stat('a/b'), { bytes: size });
      }),
      { numRuns: 60 },
    );
  });

  it('sizes of sealed blobs and plain ones give each other', () => {
    fc.assert(
      fc.property(fc.oneof(near(5), fc.nat(2 ** 40)), (size) => {
        equal(plainBytes(sealedBytes(size)), size);
      }),
    );
    const sizes = new Set(Array.from({ length: 200_000 }, (_, i) => sealedBytes(i)));
    for (let sealed = 0; sealed < 200_000; sealed++) equal(plainBytes(sealed) !== undefined, sizes.has(sealed));
  });

  it('a changed bit anywhere is found', async () => {
    const inner = new MemoryBlobStore();
    const size = chunkBytes + 100;
    const plain = noise(size);
    await encrypted(inner).put('a/b', plain);
    const sealed = await inner.get('a/b');
    const places = fc.oneof(
      fc.integer({ min: 0, max: headerBytes - 1 }),
      fc.integer({ min: headerBytes, max: sealed.byteLength - 1 }),
    );
    await fc.assert(
      fc.asyncProperty(places, fc.integer({ min: 0, max: 7 }), async (at, bit) => {
        const bad = sealed.slice();
        bad[at] = (bad[at] as number) ^ (1 << bit);
        await replace(inner, 'a/b', () => bad);
        const store = encrypted(inner);
        // A changed key id may be another key's.
        const refused = (e: unknown) =>
          e instanceof MillraceError && (e.code === 'BLOB_TAMPERED' || (e.code === 'BLOB_KEY_UNKNOWN' && at < 40));
        await rejects(store.get('a/b'), refused);
        const last = { offset: size - 1, length: 1 };
        const touched = at < headerBytes || at >= headerBytes + sealedChunkBytes;
        if (touched) await rejects(store.get('a/b', last), refused);
        else equal((await store.get('a/b', last))[0], plain[size - 1]);
      }),
      { numRuns: 150 },
    );
  });

  it('an object that was cut short or grew is never served shorter, longer or otherwise', async () => {
    const inner = new MemoryBlobStore();
    const size = 2 * chunkBytes + 10;
    const plain = noise(size);
    await encrypted(inner).put('a/b', plain);
    const sealed = await inner.get('a/b');
    const ends = [
      0,
      71,
      72,
      73,
      87,
      88,
      89,
      ...[1, 2].flatMap((n) => [-1, 0, 1].map((d) => 72 + n * sealedChunkBytes + d)),
    ];
    for (const end of [...ends, sealed.byteLength - 1, sealed.byteLength + 1, 72 + 3 * sealedChunkBytes]) {
      const changed = new Uint8Array(end);
      changed.set(sealed.subarray(0, end));
      await replace(inner, 'a/b', () => changed);
      await rejects(encrypted(inner).get('a/b'), tampered, `cut to ${end}`);
      for (const offset of [
        0,
        chunkBytes - 1,
        chunkBytes,
        2 * chunkBytes - 1,
        2 * chunkBytes,
        size - 1,
        size,
        3 * chunkBytes,
      ]) {
        for (const length of [1, 2, chunkBytes, 4 * chunkBytes]) {
          const what = `${length} at ${offset}, cut to ${end}`;
          try {
            const got = await encrypted(inner).get('a/b', { offset, length });
            equal(Buffer.compare(got, plain.subarray(offset, offset + length)), 0, what);
          } catch (thrown) {
            ok(thrown instanceof MillraceError && thrown.code === 'BLOB_TAMPERED', `${what}: ${thrown}`);
          }
        }
      }
    }
  });

  it('chunks open in no other place, objects under no other name, and neither as a value', async () => {
    const inner = new MemoryBlobStore();
    const store = encrypted(inner);
    await store.put('a/b', noise(3 * chunkBytes, 1));
    await store.put('a/b2', noise(3 * chunkBytes, 2));
    const [one, two] = [await inner.get('a/b'), await inner.get('a/b2')];
    const at = (chunk: number) => headerBytes + chunk * sealedChunkBytes;
    const swapped = one.slice();
    swapped.set(one.subarray(at(1), at(2)), at(0));
    swapped.set(one.subarray(at(0), at(1)), at(1));
    const grafted = one.slice();
    grafted.set(two.subarray(at(1), at(2)), at(1));
    const headed = one.slice();
    headed.set(two.subarray(0, headerBytes));
    for (const bytes of [swapped, grafted, headed, two, new Uint8Array(0), noise(500), new Uint8Array(500)]) {
      await replace(inner, 'a/b', () => bytes);
      await rejects(store.get('a/b'), tampered);
      await rejects(encrypted(inner).get('a/b', { offset: chunkBytes, length: 1 }), tampered);
    }
    const version = await store.compareAndSet('a/b', undefined, Uint8Array.of(1));
    const value = (await inner.read('a/b'))?.bytes as Uint8Array;
    await inner.compareAndSet('a/b2', undefined, value);
    await rejects(store.read('a/b2'), { ...tampered, message: /value a\/b2/ });
    await inner.compareAndSet('a/b', version, one);
    await rejects(store.read('a/b'), { ...tampered, message: /value a\/b/ });
    await replace(inner, 'a/b', () => value);
    await rejects(store.get('a/b'), tampered);
  });

  it('keys rotate: what an old one sealed is read as long as it is known, and is named when it is not', async () => {
    const inner = new MemoryBlobStore();
    const old = encrypted(inner, { 'key-2023': key(1) }, 'key-2023');
    await old.put('a', Uint8Array.of(1));
    await old.compareAndSet('HEAD', undefined, Uint8Array.of(2));
    const both = encrypted(inner, { 'key-2023': key(1), 'key-2024': key(2) }, 'key-2024');
    await both.put('b', Uint8Array.of(3));
    deepEqual([...(await both.get('a'))], [1]);
    deepEqual([...((await both.read('HEAD'))?.bytes ?? [])], [2]);
    const now = encrypted(inner, { 'key-2024': key(2) }, 'key-2024');
    deepEqual([...(await now.get('b'))], [3]);
    const unknown = { code: 'BLOB_KEY_UNKNOWN', kind: 'invalid', message: /"key-2023"; known are key-2024/ };
    await rejects(now.get('a'), unknown);
    await rejects(now.get('a', { offset: 0, length: 1 }), unknown);
    await rejects(now.read('HEAD'), unknown);
    await rejects(encrypted(inner, { 'key-2023': key(9) }, 'key-2023').get('a'), { code: 'BLOB_TAMPERED' });
  });

  it('a ranged get is two requests at first, then one, of the chunks it touches', async () => {
    const counted = new CountedBlobStore(new MemoryBlobStore());
    await encrypted(counted).put('a', noise(20 * chunkBytes));
    counted.reset();
    const store = encrypted(counted);
    await store.get('a', { offset: 5 * chunkBytes + 7, length: 100 });
    equal(counted.counts.total.requests, 2);
    await store.get('a', { offset: 9 * chunkBytes - 7, length: 100 });
    equal(counted.counts.total.requests, 3);
    equal(counted.counts.get.bytesRead, headerBytes + 3 * sealedChunkBytes + 2);
    await encrypted(counted).get('a', { offset: 0, length: 10 });
    equal(counted.counts.total.requests, 4);
  });

  it('an object that was put anew under its name is read with its new header', async () => {
    const inner = new MemoryBlobStore();
    const store = encrypted(inner);
    await store.put('a', noise(100, 1));
    await inner.delete('a');
    await encrypted(inner).put('a', noise(100, 2));
    deepEqual(await store.get('a', { offset: 10, length: 5 }), noise(100, 2).slice(10, 15));
    await store.delete('a');
    await rejects(store.get('a', { offset: 10, length: 5 }), { code: 'BLOB_NOT_FOUND' });
  });

  it('equal bytes are stored differently each time, and never plain', async () => {
    const inner = new MemoryBlobStore();
    const store = encrypted(inner);
    const plain = new TextEncoder().encode('a well known text '.repeat(10));
    await store.put('a', plain);
    await store.put('b', plain);
    const [a, b] = [Buffer.from(await inner.get('a')), await inner.get('b')];
    notDeepEqual(a.subarray(headerBytes), Buffer.from(b).subarray(headerBytes));
    notDeepEqual(a.subarray(40, 72), Buffer.from(b).subarray(40, 72));
    ok(!a.includes('known'));
  });

  it('the bytes are as drawn: another program can open them', async () => {
    const inner = new MemoryBlobStore();
    await encrypted(inner).put('a/b', noise(chunkBytes + 3));
    const sealed = Buffer.from(await inner.get('a/b'));
    equal(sealed.toString('latin1', 0, 8), 'MRES\x01\x02\x00\x00');
    equal(sealed.toString('latin1', 8, 40), 'k1'.padEnd(32, '\0'));
    const blobKey = hkdfSync('sha256', key(1), sealed.subarray(40, 72), 'millrace blob 1\0object\0a/b', 32);
    const place = Buffer.from('0000000000010000', 'hex');
    const nonce = Buffer.from('000000000000000000000101', 'hex');
    const decipher = createDecipheriv('aes-256-gcm', Buffer.from(blobKey), nonce);
    decipher.setAAD(Buffer.concat([sealed.subarray(0, 72), Buffer.from('o'), place, Buffer.from('a/b')]));
    decipher.setAuthTag(sealed.subarray(-16));
    const plain = Buffer.concat([decipher.update(sealed.subarray(-19, -16)), decipher.final()]);
    deepEqual(new Uint8Array(plain), noise(chunkBytes + 3).slice(-3));
  });

  it('refuses keys that are none', () => {
    const invalid = (message: RegExp) => ({ code: 'BLOB_KEY_INVALID', kind: 'invalid', message });
    const inner = new MemoryBlobStore();
    throws(() => encrypted(inner, { k1: new Uint8Array(16) }), invalid(/k1 has 16 bytes/));
    throws(() => encrypted(inner, { k1: key(1) }, 'k2'), invalid(/"k2" is not among k1/));
    throws(() => encrypted(inner, { 'k 1': key(1) }, 'k 1'), invalid(/"k 1"/));
    throws(() => encrypted(inner, {}, 'k1'), invalid(/none/));
  });
});
