import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { MessageChannel, Worker } from 'node:worker_threads';
import { addByCompareAndSwap, probeMappedAtomics } from './atomics-probe.js';
import { mappedMemory } from './mapped-memory.js';
import { memoryBackedFolder } from './memory-folder.js';
import { serveMappedMemory } from './thread-mapped-memory.js';

const shm = memoryBackedFolder();
const moduleOf = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(shm as string, 'millrace-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function linesMapping(folder: string): number {
  return readFileSync('/proc/self/maps', 'utf8').split(folder).length - 1;
}

const MEBIBYTE = 2 ** 20;

/** Runs a script with a memory-backed `folder` of so many MiB of its own, mounted in a name space that ends with it. */
function inSmallFolder(t: TestContext, mebibytes: number, body: string): { readonly stdout: string } {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const script = `
    const { mappedMemory } = await import(${moduleOf('./mapped-memory.js')});
    const { readdirSync, statfsSync, writeFileSync } = await import('node:fs');
    const folder = ${JSON.stringify(folder)};
    const MEBIBYTE = ${MEBIBYTE};
    ${body}`;
  const mount = `mount -t tmpfs -o size=${mebibytes}m tmpfs "$1" && exec "$0" --input-type=module -e "$2"`;
  const args = ['-Urm', 'sh', '-c', mount, process.execPath, folder, script];
  const { status, signal, stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8' });
  equal(status, 0, `${signal} ${stderr}`);
  return { stdout };
}

/** Some places do not let a user mount anything, not even for himself. */
const mayMount = spawnSync('unshare', ['-Urm', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;

if (shm !== undefined) {
  describe('mapped memory', () => {
    it('the atomics probe passes, quickly, and leaves nothing', async (t) => {
      const folder = folderFor(t);
      equal(await probeMappedAtomics(folder), undefined);
      deepEqual(readdirSync(folder), []);
    });

    it('the atomics probe says why not', async () => {
      match((await probeMappedAtomics('/nowhere/at/all')) as string, /\/nowhere\/at\/all/);
    });

    it('updates that are not compare-and-swap get lost, so the probe can fail', async (t) => {
      // On a busy machine the two may never run at the same instant of one round; they will in some round.
      for (let round = 0; round < 60; round++) if (await losesUpdates(folderFor(t))) return;
      ok(false, 'no update was lost in 60 rounds');
    });

    it('a stray write through a read view reaches nobody', async (t) => {
      const folder = folderFor(t);
      const mine = await mappedMemory({ folder }).create('a', 8192);
      const theirs = await mappedMemory({ folder }).open('a', 'read');
      theirs.bytes[0] = 9;
      equal(mine.bytes[0], 0);
    });

    it('another process sees the region', async (t) => {
      const folder = folderFor(t);
      const mine = await mappedMemory({ folder }).create('a', 4096);
      mine.bytes.set([1, 2, 3], 100);
      const body = `
        const { mappedMemory } = await import(${moduleOf('./mapped-memory.js')});
        const { bytes } = await mappedMemory({ folder: ${JSON.stringify(folder)} }).open('a', 'write');
        bytes[99] = bytes[100] + bytes[101] + bytes[102];`;
      execFileSync(process.execPath, ['--input-type=module', '-e', body]);
      equal(mine.bytes[99], 6);
    });

    it('retire gives the pages back', async (t) => {
      const folder = folderFor(t);
      const memory = mappedMemory({ folder });
      const region = await memory.create('a', 64 * MEBIBYTE);
      region.bytes.fill(1);
      await memory.remove('a');
      const residentBefore = process.memoryUsage().rss;
      equal(linesMapping(folder), 1);
      memory.retire(region);
      equal(linesMapping(folder), 0);
      ok(process.memoryUsage().rss < residentBefore - 60 * MEBIBYTE);
      equal(region.bytes[5], 0);
    });

    it('threads that are killed leave no mapping: their host unmaps what it mapped for them', async (t) => {
      const folder = folderFor(t);
      await mappedMemory({ folder }).create('a', 65536);
      const mappedBefore = linesMapping(folder);
      const body = `
        const { remoteMappedMemory } = await import(${moduleOf('./thread-mapped-memory.js')});
        const { parentPort, workerData } = await import('node:worker_threads');
        const memory = remoteMappedMemory(workerData);
        const a = await memory.open('a', 'write');
        const b = await memory.open('a', 'read');
        a.longs[0] += 1n;
        parentPort.postMessage(Number(b.longs[0]));
        setInterval(() => {}, 1000);`;
      const url = new URL(`data:text/javascript,${encodeURIComponent(body)}`);
      const lines = () => readFileSync('/proc/self/maps', 'utf8').split('\n').length;
      let linesBefore = 0;
      for (let i = 1; i <= 60; i++) {
        const { port1, port2 } = new MessageChannel();
        serveMappedMemory({ folder }, port1);
        const closed = once(port1, 'close');
        const worker = new Worker(url, { workerData: port2, transferList: [port2] });
        equal((await once(worker, 'message'))[0], i);
        if (i === 1) equal(linesMapping(folder), mappedBefore + 2, 'the thread does map');
        port1.ref();
        await worker.terminate();
        await closed;
        equal(linesMapping(folder), mappedBefore);
        if (i === 10) linesBefore = lines();
      }
      ok(lines() < linesBefore + 25, `/proc/self/maps grew by ${lines() - linesBefore} lines over 50 threads`);
    });
  });
}

if (mayMount) {
  describe('mapped memory in a small folder', () => {
    it('memory that another program takes later is not ours: no write to a region is SIGBUS', (t) => {
      const { stdout } = inSmallFolder(
        t,
        8,
        `const memory = mappedMemory({ folder });
        const region = await memory.create('a', 4 * MEBIBYTE);
        let error;
        try { for (let i = 0; ; i++) writeFileSync(folder + '/.other-program-' + i, new Uint8Array(65536)); } catch (e) { error = e.code; }
        region.bytes.fill(7);
        console.log(error, region.bytes.every((byte) => byte === 7));`,
      );
      equal(stdout, 'ENOSPC true\n');
    });

    it('what does not fit is refused: the error names folder, wish and free bytes, and nothing is left', (t) => {
      const { stdout } = inSmallFolder(
        t,
        16,
        `const memory = mappedMemory({ folder });
        const used = () => { const { blocks, bfree, bsize } = statfsSync(folder); return (blocks - bfree) * bsize / MEBIBYTE; };
        const told = (e) => [e.code, e.kind, e.context.neededBytes / MEBIBYTE, e.context.freeBytes / MEBIBYTE,
          e.message.includes(folder) && e.message.includes('--shm-dir')].join(' ');
        console.log(await memory.create('never', 17 * MEBIBYTE).catch(told), used());
        // Both fit when they begin, and take their pages in turns.
        const both = await Promise.allSettled([memory.create('a', 9 * MEBIBYTE), memory.create('b', 9 * MEBIBYTE)]);
        const lost = both.filter(({ status }) => status === 'rejected').map(({ reason }) => told(reason).slice(0, 25));
        const left = readdirSync(folder);
        console.log(lost.length >= 1, lost.every((text) => text === 'MEMORY_FULL unavailable 9'), left.length + lost.length, used() === 9 * left.length);
        for (const name of left) await memory.remove(name);
        for (const { value } of both) if (value !== undefined) memory.retire(value);
        console.log(used());
        await memory.create('again', 16 * MEBIBYTE);
        console.log(used());`,
      );
      deepEqual(stdout.trim().split('\n'), ['MEMORY_FULL unavailable 17 16 true 0', 'true true 2 true', '0', '16']);
    });
  });
}

/** Adds from here by compare-and-swap and from a thread without: whether the sum came out short. */
async function losesUpdates(folder: string): Promise<boolean> {
  const region = await mappedMemory({ folder }).create('a', 64);
  const body = `
    const { mappedMemory } = await import(${moduleOf('./mapped-memory.js')});
    const { parentPort, workerData } = await import('node:worker_threads');
    const { longs } = await mappedMemory({ folder: workerData }).open('a', 'write');
    Atomics.store(longs, 1, 1n);
    let adds = 0n;
    for (; Atomics.load(longs, 2) === 0n; adds++) longs[0] += 1n;
    longs[3] = adds;`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(body)}`);
  const worker = new Worker(url, { workerData: folder });
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  while (Atomics.load(region.longs, 1) === 0n) await new Promise((resolve) => setTimeout(resolve, 5));
  let adds = 0n;
  for (const end = performance.now() + 200; performance.now() < end; adds += 1000n) {
    addByCompareAndSwap(region.longs, 0, 1000);
  }
  Atomics.store(region.longs, 2, 1n);
  await exited;
  const theirs = region.longs[3] as bigint;
  ok(adds > 0n && theirs > 0n);
  return (region.longs[0] as bigint) < adds + theirs;
}
