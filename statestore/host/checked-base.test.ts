import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { type BaseStores, baseKeyBytesMax, type WritableBaseStore } from './base-store.js';
import { baseStoreContract } from './base-store-contract.js';
import { checkedBase, checkedReader } from './checked-base.js';
import { MemoryBaseStores } from './memory-base-store.js';

function checked(stores: BaseStores): BaseStores {
  return {
    openWritable: async (path) => checkedBase(path, await stores.openWritable(path)),
    openReader: async (path) => checkedReader(path, await stores.openReader(path)),
    fileBytes: (path) => stores.fileBytes(path),
    destroy: (path) => stores.destroy(path),
  };
}

for (const { name, run } of baseStoreContract) {
  test(`checked: ${name}`, () => run(checked(new MemoryBaseStores()), '/base'));
}

const key = Uint8Array.of(1, 2, 3);
const from = Uint8Array.of(0);
const to = Uint8Array.of(255);

/** The record of `key` as it stands in the file, and the same with one byte changed at a time. */
async function recordOf(value: Uint8Array): Promise<{ readonly raw: WritableBaseStore; readonly record: Uint8Array }> {
  const raw = await new MemoryBaseStores().openWritable('/base');
  checkedBase('/base', raw).write((transaction) => transaction.put(key, value));
  const snapshot = raw.snapshot();
  const length = snapshot.find(key);
  return { raw, record: snapshot.value.slice(0, length) };
}

for (const bytes of [0, 1, 24, 256, 257, 1000]) {
  test(`a change of any byte of a record with ${bytes} bytes is found by whoever reads it`, async () => {
    const { raw, record } = await recordOf(Uint8Array.from({ length: bytes }, (_, i) => i));
    equal(record.length, bytes + 4);
    const base = checkedBase('/base', raw);
    for (let at = 0; at < record.length; at++) {
      const damaged = record.slice();
      damaged[at] = (damaged[at] as number) ^ (1 << (at % 8));
      raw.write((transaction) => transaction.put(key, damaged));
      const snapshot = base.snapshot();
      throws(() => snapshot.find(key), { code: 'BASE_DAMAGED', kind: 'corrupt' });
      const scan = snapshot.scan(from, to);
      throws(() => scan.next(), { code: 'BASE_DAMAGED' });
      scan.close();
      throws(() => base.write((transaction) => void transaction.get(key)), { code: 'BASE_DAMAGED' });
      snapshot.release();
    }
  });
}

test('a record that stands under another key, or is cut short, is found too', async () => {
  const { raw, record } = await recordOf(Uint8Array.of(7, 8, 9));
  const other = new Uint8Array(baseKeyBytesMax).fill(3);
  raw.write((transaction) => {
    transaction.put(other, record);
    transaction.put(key, record.subarray(0, 3));
  });
  const snapshot = checkedReader('/base', raw).snapshot();
  throws(() => snapshot.find(other), { code: 'BASE_DAMAGED' });
  throws(() => snapshot.find(key), { code: 'BASE_DAMAGED' });
  snapshot.release();
});

test('values have no trace of their checksums', async () => {
  const { raw } = await recordOf(Uint8Array.of(7, 8, 9));
  const base = checkedBase('/base', raw);
  base.write((transaction) => deepEqual(transaction.get(key), Uint8Array.of(7, 8, 9)));
  const snapshot = base.snapshot();
  equal(snapshot.find(key), 3);
  const scan = snapshot.scan(from, to);
  equal(scan.next(), true);
  deepEqual([scan.key, scan.value], [key, Uint8Array.of(7, 8, 9)]);
  equal(scan.next(), false);
  snapshot.release();
});
