import { equal, ok, rejects } from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { MillraceError } from '../../base/index.js';
import type { WritableBaseStore } from './base-store.js';
import { lmdbBaseStores } from './lmdb-base-store.js';

const stores = lmdbBaseStores({ mapBytes: 2 ** 32 });
const support = new URL('./lmdb-reader.test.support.js', import.meta.url);

async function inFolder(run: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-lmdb-'));
  try {
    await run(join(folder, 'base'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

let round = 0;
/** Replaces every entry, some times. @returns how much larger the file is for it. */
function rewrite(store: WritableBaseStore, times = 6): number {
  const before = store.stats().bytes;
  for (let i = 0; i < times; i++) {
    round++;
    store.write((t) => {
      for (let key = 0; key < 1000; key++) t.put(Buffer.from(`key ${key}`), Buffer.from(`${round} `.repeat(20)));
    });
  }
  return store.stats().bytes - before;
}

/** Pages of the file once its free list has settled. */
const settle = (store: WritableBaseStore) => rewrite(store, 20);
const pinnedBytes = 300_000;

test('a killed reader pins all that is replaced, until readers are checked', () =>
  inFolder(async (path) => {
    const store = await stores.openWritable(path);
    settle(store);
    equal(rewrite(store), 0);
    const reader = fork(fileURLToPath(support), [path]);
    const [said] = (await once(reader, 'message')) as [string];
    equal(said, `${round} `.repeat(20));
    ok(rewrite(store) > pinnedBytes, 'a live reader has a snapshot');
    reader.kill('SIGKILL');
    await once(reader, 'exit');
    ok(rewrite(store) > pinnedBytes, 'a dead one still has it');
    equal(store.checkReaders(), 1);
    settle(store);
    equal(rewrite(store), 0);
    await store.close();
  }));

test('a thread that is terminated lets go of its snapshot', () =>
  inFolder(async (path) => {
    const store = await stores.openWritable(path);
    settle(store);
    const thread = new Worker(support, { workerData: path });
    const [said] = (await once(thread, 'message')) as [string];
    equal(said, `${round} `.repeat(20));
    ok(rewrite(store) > pinnedBytes);
    await thread.terminate();
    settle(store);
    equal(rewrite(store), 0);
    await store.close();
  }));

test('a snapshot that is released pins nothing', () =>
  inFolder(async (path) => {
    const store = await stores.openWritable(path);
    settle(store);
    const snapshot = store.snapshot();
    ok(rewrite(store) > pinnedBytes);
    snapshot.release();
    settle(store);
    equal(rewrite(store), 0);
    await store.close();
  }));

test('a file that is no base is refused (lmdb opens it, fails, and takes the process with it)', () =>
  inFolder(async (path) => {
    for (const bytes of [100_000, 100]) {
      writeFileSync(path, new Uint8Array(bytes).fill(7));
      for (const open of [stores.openWritable, stores.openReader]) {
        await rejects(open(path), (thrown) => thrown instanceof MillraceError && thrown.code === 'BASE_DAMAGED');
      }
    }
    writeFileSync(path, '');
    await rejects(stores.openReader(path));
    await (await stores.openWritable(path)).close();
  }));
