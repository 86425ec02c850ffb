import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { MillraceError, nodeDisk, seededRandom, silentLogger, systemClock, yieldTurn } from '../../base/index.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { CheckpointStore } from '../checkpoint-store.js';
import { away, Gate, HookedBlobStore, until, withTier } from './tier.test.support.js';

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill);

async function text(store: { read(name: string): Promise<{ bytes: Uint8Array } | undefined> }, name = 'HEAD') {
  const value = await store.read(name);
  return value === undefined ? undefined : new TextDecoder().decode(value.bytes);
}
const encode = (value: string) => new TextEncoder().encode(value);

describe('tiered blob store: authority local', () => {
  it('works while the remote is away, over restarts, and the remote catches up', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    let gone = true;
    remote.before = () => {
      if (gone) throw away();
    };
    await withTier('local', remote, async ({ root, open }) => {
      let version: string | undefined;
      for (let run = 0; run < 4; run++) {
        const store = await open();
        equal(await text(store), run === 0 ? undefined : `head ${run - 1}`);
        await store.put(`a/${run}`, bytes(1_000, run));
        version = await store.compareAndSet('HEAD', version, encode(`head ${run}`));
        for (let i = 0; i <= run; i++) deepEqual(await store.get(`a/${i}`), bytes(1_000, i));
        deepEqual(await store.list('a/'), ['a/0', 'a/1', 'a/2', 'a/3'].slice(0, run + 1));
        equal(store.status.pendingObjects, run + 1);
        await store.close();
      }
      equal((await inner.list('')).length, 0);
      gone = false;
      const store = await open();
      const seen: number[] = [];
      await store.drain(({ pendingObjects }) => seen.push(pendingObjects));
      ok(seen.length > 0 && seen[0] === 4, `progress: ${seen}`);
      equal(await text(inner), 'head 3');
      for (let i = 0; i < 4; i++) deepEqual(await inner.get(`a/${i}`), bytes(1_000, i));
      deepEqual(readdirSync(`${root}/pending/a`), []);
    });
  });

  it('a value is moved at the remote only after every object that was put before it', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const gate = new Gate();
    const moves: string[] = [];
    remote.before = (call, name) => (call === 'put' && name === 'slow' ? gate.pass() : undefined);
    remote.after = (call, name) => {
      if (call === 'compareAndSet' && name === 'HEAD') moves.push('HEAD');
      if (call === 'put') moves.push(name);
    };
    await withTier('local', remote, async ({ open }) => {
      const store = await open({ uploadsMax: 2 });
      await store.put('slow', bytes(10));
      await gate.reached;
      const version = await store.compareAndSet('HEAD', undefined, encode('1'));
      for (let i = 0; i < 5; i++) await store.put(`fast/${i}`, bytes(10));
      await store.compareAndSet('HEAD', version, encode('2'));
      await until(async () => store.status.uploadedObjects >= 5);
      deepEqual(moves.includes('HEAD'), false);
      gate.open();
      await store.drain();
      equal(moves.indexOf('slow') < moves.indexOf('HEAD'), true);
      equal(await text(inner), '2');
    });
  });

  it('an object deleted while a value that refers to it is on its way is uploaded before, and deleted after the next', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const gate = new Gate();
    const log: string[] = [];
    remote.before = (call, name) => (call === 'put' && name === 'first' ? gate.pass() : undefined);
    remote.after = async (call, name) => {
      if (call === 'put' || call === 'delete') log.push(`${call} ${name}`);
      if (call === 'compareAndSet' && name === 'HEAD') log.push(`move ${await text(inner)}`);
    };
    await withTier('local', remote, async ({ open }) => {
      const real = nodeDisk();
      let valueReads = 0;
      const disk = {
        ...real,
        async read(path: string, range?: { readonly offset: number; readonly length: number }) {
          if (path.includes('/local/values/HEAD/')) valueReads++;
          return real.read(path, range);
        },
      };
      const store = await open({ disk, uploadsMax: 1 });
      for (const name of ['first', 'old']) await store.put(name, bytes(10));
      await gate.reached;
      const version = await store.compareAndSet('HEAD', undefined, encode('old'));
      await until(async () => valueReads > 0);
      await store.get('old');
      await store.put('new', bytes(10));
      await store.compareAndSet('HEAD', version, encode('new'));
      await store.delete('old');
      await rejects(store.get('old'), { code: 'BLOB_NOT_FOUND' });
      deepEqual(await store.list(''), ['first', 'new']);
      gate.open();
      await store.drain();
      equal(log.indexOf('delete old'), log.length - 1, log.join(', '));
      const at = (entry: string) => log.indexOf(entry);
      ok(at('put old') >= 0 && at('put old') < at('move old') && at('move old') < at('move new'), log.join(', '));
      ok(at('put new') < at('move new'), log.join(', '));
      deepEqual(await inner.list(''), ['first', 'new']);
    });
  });

  it('a value that was read before an object it refers to was cancelled is not moved to', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const moved: (string | undefined)[] = [];
    remote.after = async (call, name) => {
      if (call === 'compareAndSet' && name === 'HEAD') moved.push(await text(inner));
    };
    const claimed = new Gate();
    const cancelled = new Gate();
    remote.before = (call) => {
      if (call === 'list') return claimed.pass();
      if (call === 'put') return cancelled.pass();
    };
    await withTier('local', remote, async ({ open }) => {
      const real = nodeDisk();
      let interfere = async () => {};
      const disk = {
        ...real,
        async read(path: string, range?: { readonly offset: number; readonly length: number }) {
          const read = await real.read(path, range);
          if (path.includes('/local/values/HEAD/')) {
            const now = interfere;
            interfere = async () => {};
            await now();
          }
          return read;
        },
      };
      // Nothing is mirrored before the claim, so the first round finds all of this.
      const store = await open({ disk });
      await store.put('x', bytes(10));
      const version = await store.compareAndSet('HEAD', undefined, encode('x'));
      interfere = async () => {
        await store.compareAndSet('HEAD', version, encode('nothing'));
        await store.delete('x');
        cancelled.open();
      };
      claimed.open();
      await store.drain();
      deepEqual(moved, ['nothing']);
      deepEqual(await inner.list(''), []);
    });
  });

  it('a deletion waits for the upload of its object that is on its way (SPARK-55892)', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const gate = new Gate();
    remote.before = (call) => (call === 'put' ? gate.pass() : undefined);
    await withTier('local', remote, async ({ root, open }) => {
      const store = await open();
      await store.put('a', bytes(10));
      await gate.reached;
      await store.delete('a');
      await rejects(store.put('a', bytes(10)), { code: 'BLOB_EXISTS' });
      const drained = store.drain();
      await until(async () => store.status.pendingObjects === 0);
      gate.open();
      await drained;
      deepEqual(await inner.list(''), []);
      deepEqual([readdirSync(`${root}/pending`), readdirSync(`${root}/deleted`)], [[], []]);
    });
  });

  it('a deletion survives a restart, and no restart brings the object back (FLINK-7268)', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    let gone = false;
    remote.before = () => {
      if (gone) throw away();
    };
    await withTier('local', remote, async ({ root, open }) => {
      let store = await open();
      await store.put('uploaded', bytes(10));
      await store.drain();
      gone = true;
      await store.put('waiting', bytes(10));
      await until(async () => store.status.uploadFailures > 0);
      await store.delete('uploaded');
      await store.delete('waiting');
      await store.close();
      store = await open();
      deepEqual(await store.list(''), []);
      equal(store.status.pendingObjects, 0);
      await rejects(store.put('uploaded', bytes(10)), { code: 'BLOB_EXISTS' });
      gone = false;
      await store.drain();
      deepEqual(await inner.list(''), []);
      // The put without an answer could still land: it is deleted once more when it no longer can.
      await inner.put('waiting', bytes(10));
      await until(async () => (await inner.list('')).length + readdirSync(`${root}/deleted`).length === 0);
      equal(await text(store), undefined);
    });
  });

  it('an object that was never offered to the remote is deleted without a trace', async () => {
    const remote = new HookedBlobStore(new MemoryBlobStore());
    const gate = new Gate();
    remote.before = (call) => (call === 'put' ? gate.pass() : undefined);
    await withTier('local', remote, async ({ root, open }) => {
      const store = await open({ uploadsMax: 1 });
      await store.put('first', bytes(10));
      await gate.reached;
      await store.put('second', bytes(10));
      await store.delete('second');
      equal(readdirSync(root).includes('deleted'), false);
      equal(store.status.pendingObjects, 1);
      gate.open();
      await store.drain();
      deepEqual(await remote.list(''), ['first']);
    });
  });

  it('a lost response of a move is settled by reading, and the mirror goes on', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    let calls = 0;
    remote.after = (call) => {
      if (call === 'compareAndSet' && calls++ % 2 === 1) throw away();
    };
    await withTier('local', remote, async ({ open }) => {
      const store = await open();
      let version: string | undefined;
      for (let i = 0; i < 8; i++) {
        version = await store.compareAndSet('HEAD', version, encode(`${i}`));
        await store.drain();
        equal(await text(inner), `${i}`);
      }
    });
  });

  it('damage to the only copy is told, keeps the remote at its last good state, and ends with the object', async () => {
    const inner = new MemoryBlobStore();
    const remote = new HookedBlobStore(inner);
    const gate = new Gate();
    let closed = false;
    remote.before = (call) => (call === 'put' && closed ? gate.pass() : undefined);
    await withTier('local', remote, async ({ root, open }) => {
      const store = await open({ memoryBytesMax: 0, uploadsMax: 1 });
      await store.put('good', bytes(10));
      const first = await store.compareAndSet('HEAD', undefined, encode('good'));
      await store.drain();
      closed = true;
      await store.put('blocker', bytes(10));
      await gate.reached;
      await store.put('bad', bytes(10));
      const second = await store.compareAndSet('HEAD', first, encode('bad'));
      const file = readFileSync(`${root}/pending/bad`);
      file[3] = 99;
      writeFileSync(`${root}/pending/bad`, file);
      await rejects(store.get('bad'), { code: 'BLOB_DAMAGED', kind: 'corrupt', message: /pending\/bad/ });
      gate.open();
      await rejects(store.drain(), { code: 'BLOB_DAMAGED' });
      equal(store.status.problem?.code, 'BLOB_DAMAGED');
      equal(await text(inner), 'good');
      await store.compareAndSet('HEAD', second, encode('better'));
      await store.delete('bad');
      await store.drain();
      equal(await text(inner), 'better');
      deepEqual(await inner.list(''), ['blocker', 'good']);
    });
  });

  it('a file that is gone before its upload is told as damage', async () => {
    const remote = new HookedBlobStore(new MemoryBlobStore());
    remote.before = () => {
      throw away();
    };
    await withTier('local', remote, async ({ root, open }) => {
      const store = await open({ memoryBytesMax: 0 });
      await store.put('a', bytes(10));
      await store.put('b', bytes(10));
      rmSync(`${root}/pending/a`);
      writeFileSync(`${root}/pending/b`, 'short');
      for (const name of ['a', 'b']) await rejects(store.get(name), { code: 'BLOB_DAMAGED' });
      await store.close();
      await rejects((await open()).get('b'), { code: 'BLOB_DAMAGED', message: /size/ });
    });
  });

  it("another's object under the name of an acknowledged one is told, and nothing refers to it", async () => {
    const inner = new MemoryBlobStore();
    await withTier('local', inner, async ({ open }) => {
      const store = await open();
      await store.drain();
      await inner.put('a', bytes(10, 1));
      await store.put('a', bytes(10, 2));
      await store.compareAndSet('HEAD', undefined, encode('a'));
      await rejects(store.drain(), { code: 'BLOB_EXISTS' });
      equal(await text(inner), undefined);
      deepEqual(await store.get('a'), bytes(10, 2));
    });
  });

  it('the mirror of one folder is not overwritten by another, nor is what was there before', async () => {
    const inner = new MemoryBlobStore();
    const clock = systemClock();
    await withTier('local', inner, async ({ open }) => {
      const store = await open();
      await store.compareAndSet('HEAD', undefined, encode('mine'));
      await store.drain();
      await store.close();
      await withTier('local', inner, async ({ open: openOther }) => {
        await rejects(openOther({ clock }), { code: 'MIRROR_TAKEN', kind: 'invalid', message: /another folder/ });
      });
      await (await open()).drain();
    });
    const used = new MemoryBlobStore();
    await used.put('segments/1', bytes(1));
    await withTier('local', used, async ({ open }) => {
      await rejects(open({ clock }), { code: 'MIRROR_NOT_EMPTY', message: /segments\/1/ });
    });
    const headed = new MemoryBlobStore();
    await headed.compareAndSet('HEAD', undefined, encode('theirs'));
    await withTier('local', headed, async ({ open }) => {
      const store = await open({ clock });
      await store.compareAndSet('HEAD', undefined, encode('mine'));
      await rejects(store.drain(), { code: 'MIRROR_NOT_EMPTY', message: /the value HEAD/ });
      equal(await text(headed), 'theirs');
      equal(await text(store), 'mine');
    });
  });

  it('a process that was replaced moves no value any more', async () => {
    const inner = new MemoryBlobStore();
    await withTier('local', inner, async ({ open }) => {
      const zombieRemote = new HookedBlobStore(inner);
      const zombie = await open({ remote: zombieRemote });
      const first = await zombie.compareAndSet('HEAD', undefined, encode('1'));
      await zombie.drain();
      // It sleeps just before it moves HEAD at the remote.
      const gate = new Gate();
      zombieRemote.before = (call) => (call === 'compareAndSet' ? gate.pass() : undefined);
      const second = await zombie.compareAndSet('HEAD', first, encode('2'));
      await gate.reached;
      const store = await open();
      await store.compareAndSet('HEAD', second, encode('3'));
      await store.drain();
      gate.open();
      await rejects(zombie.drain(), { code: 'MIRROR_TAKEN', message: /another process/ });
      equal(await text(inner), '3');
    });
  });

  it('closed, it writes nothing to its folder any more, whatever comes back late', async () => {
    const remote = new HookedBlobStore(new MemoryBlobStore());
    const gate = new Gate();
    let late = 0;
    remote.before = (call, name) => ((call === 'read' && name === 'HEAD') || call === 'put' ? gate.pass() : undefined);
    remote.after = (call) => {
      if (call === 'read' || call === 'put') late++;
    };
    await withTier('local', remote, async ({ root, open }) => {
      const store = await open();
      await store.compareAndSet('HEAD', undefined, encode('1'));
      await gate.reached;
      await store.put('a', bytes(10));
      await store.close();
      rmSync(root, { recursive: true });
      const before = late;
      gate.open();
      await until(async () => late >= before + 2);
      for (let i = 0; i < 50; i++) await yieldTurn(systemClock());
      equal(existsSync(root), false);
    });
  });

  it('what is missing is no error, and a value that fails is told', async () => {
    const remote = new HookedBlobStore(new MemoryBlobStore());
    await withTier('local', remote, async ({ open }) => {
      const store = await open();
      await store.delete('nothing');
      equal(await store.stat('nothing'), undefined);
      await rejects(store.compareAndSet('HEAD', '4', encode('x')), { code: 'CAS_CONFLICT' });
      await store.drain();
      equal(await remote.read('HEAD'), undefined);
      remote.before = (call) => {
        if (call === 'get') throw new MillraceError('unavailable', 'BLOB_NOT_FOUND', 'gone from the bucket');
      };
      await store.put('a', bytes(10));
      await store.drain();
      await store.forget('a');
      await rejects(store.get('a'), { code: 'BLOB_NOT_FOUND' });
    });
  });

  it('a job whose host is lost goes on from the remote alone', async () => {
    const remote = new MemoryBlobStore();
    const manifest = (epoch: number, checkpointId: number) => ({
      format: 2 as const,
      checkpointId,
      epoch,
      tasks: [],
      meta: `m${checkpointId}`,
      final: false,
    });
    const openCheckpoints = (store: import('../blob/blob-store.js').BlobStore) =>
      CheckpointStore.open({ store, random: seededRandom(1), logger: silentLogger() });
    await withTier('local', remote, async ({ open }) => {
      const store = await open();
      const checkpoints = await openCheckpoints(store);
      const epoch = await checkpoints.takeOver();
      for (let id = 1; id <= 10; id++) {
        await checkpoints.publish(manifest(epoch, id));
        await checkpoints.collect();
      }
      await store.drain();
      await checkpoints.publish(manifest(epoch, 11));
    });
    const restored = await openCheckpoints(remote);
    ok(restored.latest !== undefined && restored.latest.checkpointId >= 10);
    for (const id of restored.checkpointIds) equal((await restored.manifest(id)).meta, `m${id}`);
    equal(restored.checkpointIds.length, 3);
  });
});
