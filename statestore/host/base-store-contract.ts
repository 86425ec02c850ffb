import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { MillraceError } from '../../base/index.js';
import { type BaseSnapshot, type BaseStore, type BaseStores, baseKeyBytesMax } from './base-store.js';

export interface BaseStoreContractCase {
  readonly name: string;
  /** `path` is free. */
  run(stores: BaseStores, path: string): Promise<void>;
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const first = bytes('\0');
const last = bytes('\xff\xff\xff');

function textAt(snapshot: BaseSnapshot, key: Uint8Array): string | undefined {
  const length = snapshot.find(key);
  return length < 0 ? undefined : Buffer.from(snapshot.value.slice(0, length)).toString('latin1');
}

/** Of the newest state. */
function value(store: BaseStore, key: string): string | undefined {
  const snapshot = store.snapshot();
  try {
    return textAt(snapshot, bytes(key));
  } finally {
    snapshot.release();
  }
}

function keys(snapshot: BaseSnapshot, from: Uint8Array = first, to: Uint8Array = last): string[] {
  const scan = snapshot.scan(from, to);
  const found: string[] = [];
  while (scan.next()) found.push(Buffer.from(scan.key).toString('latin1'));
  scan.close();
  return found;
}

function isCode(code: string): (thrown: unknown) => boolean {
  return (thrown) => thrown instanceof MillraceError && thrown.code === code;
}

/** What every BaseStores must do. */
export const baseStoreContract: readonly BaseStoreContractCase[] = [
  {
    name: 'entries are found, replaced and removed, and come in order of their bytes, a prefix first',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      store.write((t) => {
        for (const key of ['b', 'a\0', 'a', '\xff', 'ab', '\0\0', 'a\xff']) t.put(bytes(key), bytes(`${key}!`));
        t.put(bytes('gone'), first);
      });
      store.write((t) => {
        t.put(bytes('ab'), bytes('new'));
        t.remove(bytes('gone'));
        t.remove(bytes('never there'));
      });
      const snapshot = store.snapshot();
      deepEqual(keys(snapshot), ['\0\0', 'a', 'a\0', 'ab', 'a\xff', 'b', '\xff']);
      deepEqual(keys(snapshot, bytes('a\0'), bytes('b')), ['a\0', 'ab', 'a\xff']);
      deepEqual(keys(snapshot, bytes('b\0'), bytes('b\x01')), []);
      deepEqual(
        ['ab', 'a', 'gone', 'aa'].map((key) => textAt(snapshot, bytes(key))),
        ['new', 'a!', undefined, undefined],
      );
      equal(store.stats().entries, 7);
      ok(store.stats().bytes > 0);
      snapshot.release();
      await store.close();
    },
  },
  {
    name: 'keys of any length up to the bound, values of any size, none and large ones',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      const sizes = [0, 1, 13, 2000, 5000, 40_000, 1_000_000];
      const key = (length: number) => new Uint8Array(length).fill(length & 255);
      store.write((t) => {
        for (const size of sizes) t.put(bytes(`size ${size}`), new Uint8Array(size).fill(size % 251));
        for (const length of [1, 2, 511, 512, baseKeyBytesMax]) t.put(key(length), bytes(String(length)));
      });
      const snapshot = store.snapshot();
      for (const size of sizes) {
        equal(snapshot.find(bytes(`size ${size}`)), size);
        ok(snapshot.value.subarray(0, size).every((byte) => byte === size % 251));
      }
      const scan = snapshot.scan(bytes('size'), bytes('sizf'));
      const scanned: number[] = [];
      while (scan.next()) scanned.push(scan.value.length);
      scan.close();
      deepEqual(
        scanned.sort((a, b) => a - b),
        sizes,
      );
      for (const length of [1, 2, 511, 512, baseKeyBytesMax]) equal(textAt(snapshot, key(length)), String(length));
      snapshot.release();
      await store.close();
    },
  },
  {
    name: 'a transaction that throws changes nothing, and the next one works (lmdb-js#115: it committed)',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      store.write((t) => t.put(bytes('a'), bytes('1')));
      const error = new MillraceError('invalid', 'TEST', 'on purpose');
      throws(
        () =>
          store.write((t) => {
            t.put(bytes('a'), bytes('2'));
            t.put(bytes('b'), bytes('2'));
            t.remove(bytes('a'));
            throw error;
          }),
        (thrown) => thrown === error,
      );
      deepEqual([value(store, 'a'), value(store, 'b')], ['1', undefined]);
      store.write((t) => t.put(bytes('c'), bytes('3')));
      deepEqual([value(store, 'a'), value(store, 'b'), value(store, 'c')], ['1', undefined, '3']);
      await store.close();
      const again = await stores.openWritable(path);
      deepEqual([value(again, 'a'), value(again, 'b'), value(again, 'c')], ['1', undefined, '3']);
      await again.close();
    },
  },
  {
    name: 'a transaction reads what it wrote',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      store.write((t) => t.put(bytes('a'), bytes('1')));
      store.write((t) => {
        equal(Buffer.from(t.get(bytes('a')) ?? first).toString(), '1');
        t.put(bytes('a'), bytes('22'));
        const copy = t.get(bytes('a')) as Uint8Array;
        t.put(bytes('b'), bytes('33'));
        t.get(bytes('b'));
        equal(Buffer.from(copy).toString(), '22');
        t.remove(bytes('a'));
        equal(t.get(bytes('a')), undefined);
      });
      await store.close();
    },
  },
  {
    name: 'what is put is copied',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      // Slices of a Buffer are no copies.
      for (const make of [bytes, (text: string) => Buffer.from(text)]) {
        const key = make('k');
        const content = make('content');
        store.write((t) => {
          t.put(key, content);
          content.fill(0);
          key[0] = 0x6c;
          t.put(key, make('other'));
        });
        for (let i = 0; i < 2; i++) deepEqual([value(store, 'k'), value(store, 'l')], ['content', 'other']);
        const snapshot = store.snapshot();
        ok(textAt(snapshot, bytes('k')) !== textAt(snapshot, bytes('l')));
        equal(textAt(snapshot, bytes('k')), 'content');
        snapshot.release();
      }
      await store.close();
    },
  },
  {
    name: 'a snapshot stays what it is while others write; several at a time',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      const put = (key: string, text: string) => store.write((t) => t.put(bytes(key), bytes(text)));
      put('a', '1');
      const one = store.snapshot();
      put('a', '2');
      put('b', '2');
      const two = store.snapshot();
      const scan = two.scan(first, last);
      ok(scan.next());
      store.write((t) => {
        t.remove(bytes('a'));
        t.remove(bytes('b'));
      });
      const three = store.snapshot();
      deepEqual([textAt(one, bytes('a')), textAt(one, bytes('b')), keys(one).length], ['1', undefined, 1]);
      deepEqual([textAt(two, bytes('a')), textAt(two, bytes('b'))], ['2', '2']);
      ok(scan.next());
      equal(Buffer.from(scan.key).toString(), 'b');
      ok(!scan.next());
      scan.close();
      deepEqual(keys(three), []);
      one.release();
      equal(textAt(two, bytes('a')), '2');
      two.release();
      three.release();
      await store.close();
    },
  },
  {
    name: 'a reader sees what was committed before its snapshot, whoever wrote it',
    async run(stores, path) {
      await rejects(stores.openReader(path), isCode('BASE_UNAVAILABLE'));
      const store = await stores.openWritable(path);
      store.write((t) => t.put(bytes('a'), bytes('1')));
      const reader = await stores.openReader(path);
      equal(value(reader, 'a'), '1');
      const before = reader.snapshot();
      store.write((t) => t.put(bytes('a'), bytes('2')));
      equal(textAt(before, bytes('a')), '1');
      // In the same turn of the event loop.
      equal(value(reader, 'a'), '2');
      before.release();
      await reader.close();
      await store.sync();
      await store.close();
    },
  },
  {
    name: 'what is released or closed says so',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      store.write((t) => t.put(bytes('a'), bytes('1')));
      const snapshot = store.snapshot();
      snapshot.release();
      snapshot.release();
      throws(() => snapshot.find(bytes('a')), isCode('BASE_CLOSED'));
      throws(() => snapshot.scan(first, last), isCode('BASE_CLOSED'));
      const open = store.snapshot();
      await store.close();
      throws(() => open.find(bytes('a')), isCode('BASE_CLOSED'));
      throws(() => store.snapshot(), isCode('BASE_CLOSED'));
      throws(() => store.write(() => {}), isCode('BASE_CLOSED'));
      await store.close();
    },
  },
  {
    name: 'what is destroyed is gone',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      store.write((t) => t.put(bytes('a'), bytes('1')));
      await store.close();
      await stores.destroy(path);
      await stores.destroy(path);
      const fresh = await stores.openWritable(path);
      equal(value(fresh, 'a'), undefined);
      await fresh.close();
    },
  },
  {
    name: 'a reader goes on with one that was destroyed; opened anew, it sees what is there now',
    async run(stores, path) {
      const store = await stores.openWritable(path);
      store.write((t) => t.put(bytes('a'), bytes('old')));
      const reader = await stores.openReader(path);
      await store.close();
      await stores.destroy(path);
      const fresh = await stores.openWritable(path);
      fresh.write((t) => t.put(bytes('a'), bytes('new')));
      equal(value(reader, 'a'), 'old');
      const anew = await stores.openReader(path);
      equal(value(anew, 'a'), 'new');
      await reader.close();
      fresh.write((t) => t.put(bytes('a'), bytes('newer')));
      equal(value(anew, 'a'), 'newer');
      await anew.close();
      await fresh.close();
    },
  },
];
