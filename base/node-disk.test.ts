import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { MillraceError } from './errors.js';
import { nodeDisk } from './node-disk.js';

const folder = mkdtempSync(join(tmpdir(), 'millrace-disk-'));
after(() => rmSync(folder, { recursive: true }));

let names = 0;
const fresh = () => join(folder, `file-${names++}`);
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const bytesOf = (of: string) => new TextEncoder().encode(of);

describe('nodeDisk', () => {
  const disk = nodeDisk();

  it('writes, replaces and reads whole files and ranges', async () => {
    const path = fresh();
    await disk.write(path, bytesOf('0123456789'));
    equal(text(await disk.read(path)), '0123456789');
    equal(text(await disk.read(path, { offset: 3, length: 4 })), '3456');
    equal(text(await disk.read(path, { offset: 8, length: 4 })), '89');
    equal((await disk.read(path, { offset: 20, length: 4 })).length, 0);
    await disk.write(path, bytesOf('ab'));
    equal(text(await disk.read(path)), 'ab');
    deepEqual(await disk.stat(path), { bytes: 2, folder: false });
  });

  it('an exclusive write and a link are each won by exactly one', async () => {
    const path = fresh();
    const writes = Array.from({ length: 8 }, (_, i) => disk.write(path, bytesOf(String(i)), { exclusive: true }));
    const outcomes = await Promise.allSettled(writes);
    const won = outcomes.flatMap(({ status }, i) => (status === 'fulfilled' ? [String(i)] : []));
    deepEqual(won, [text(await disk.read(path))]);
    await rejects(disk.write(path, bytesOf('x'), { exclusive: true }), { code: 'DISK_EXISTS', kind: 'invalid' });
    const from = fresh();
    await disk.write(from, bytesOf('linked'));
    await rejects(disk.link(from, path), (e: MillraceError) => e.code === 'DISK_EXISTS' && e.message.includes(path));
    const to = fresh();
    await disk.link(from, to);
    equal(text(await disk.read(to)), 'linked');
  });

  it('rename replaces', async () => {
    const [from, to] = [fresh(), fresh()];
    await disk.write(from, bytesOf('new'));
    await disk.write(to, bytesOf('old'));
    await disk.rename(from, to);
    equal(text(await disk.read(to)), 'new');
    equal(await disk.stat(from), undefined);
  });

  it('appends to what is there', async () => {
    const path = fresh();
    for (const part of ['one ', 'two ']) {
      const file = await disk.append(path);
      await file.append(bytesOf(part));
      await file.append(bytesOf(part));
      await file.sync();
      await file.close();
    }
    equal(readFileSync(path, 'utf8'), 'one one two two ');
  });

  it('lists sorted names, and what is missing is empty, undefined, or removed already', async () => {
    const path = join(folder, 'a', 'b');
    await disk.makeFolder(path);
    await disk.makeFolder(path);
    for (const name of ['z', 'a', 'm']) await disk.write(join(path, name), bytesOf(name));
    deepEqual(await disk.list(path), ['a', 'm', 'z']);
    deepEqual((await disk.stat(path))?.folder, true);
    await rejects(disk.remove(path), { code: 'DISK_FAILED' });
    for (const name of ['z', 'a', 'm', 'never']) await disk.remove(join(path, name));
    await disk.remove(path);
    equal(await disk.stat(path), undefined);
    deepEqual(await disk.list(path), []);
  });

  it('names the path in every error', async () => {
    const missing = join(folder, 'nowhere', 'x');
    const notFound = { code: 'DISK_NOT_FOUND', kind: 'unavailable', message: `${missing} does not exist` };
    await rejects(disk.read(missing), notFound);
    await rejects(disk.write(missing, new Uint8Array()), notFound);
    await rejects(disk.append(missing), notFound);
    await rejects(disk.rename(missing, fresh()), notFound);
    await rejects(disk.read(folder), (e: MillraceError) => e.code === 'DISK_FAILED' && e.message.includes(folder));
  });

  it('a full disk: DISK_FULL with the free bytes, no half file, and an appended file stays bad', async (t) => {
    const small = join(folder, 'small');
    mkdirSync(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=65536', 'tmpfs', small]).status === 0;
    if (!mounted) {
      t.diagnostic('cannot mount a small disk here: checked with /dev/full only');
      if (existsSync('/dev/full')) {
        await rejects((await disk.append('/dev/full')).append(bytesOf('x')), { code: 'DISK_FULL' });
      }
      return;
    }
    try {
      const path = join(small, 'x');
      await rejects(disk.write(path, new Uint8Array(100_000)), (e: MillraceError) => {
        equal(e.code, 'DISK_FULL');
        match(e.message, /small\/x \(\d+ bytes free\)/);
        return true;
      });
      equal(await disk.stat(path), undefined);
      const file = await disk.append(path);
      await file.append(new Uint8Array(1000));
      await rejects(file.append(new Uint8Array(100_000)), { code: 'DISK_FULL' });
      await rejects(file.append(new Uint8Array(1)), { code: 'DISK_FULL' });
      await rejects(file.sync(), { code: 'DISK_FULL' });
      await file.close();
    } finally {
      execFileSync('umount', ['--lazy', small]);
    }
  });

  it('really syncs: data on write and sync, the folder on rename, link and exclusive creation', (t) => {
    if (spawnSync('strace', ['-V']).error !== undefined) {
      t.diagnostic('no strace here: not checked');
      return;
    }
    const trace = join(folder, 'trace');
    const file = join(folder, 'traced.mjs');
    writeFileSync(
      file,
      `import { nodeDisk } from ${JSON.stringify(new URL('./node-disk.js', import.meta.url).href)};
       const [disk, at, bytes] = [nodeDisk(), ${JSON.stringify(folder)} + '/', new Uint8Array(1)];
       await disk.write(at + 't1', bytes);
       await disk.link(at + 't1', at + 't2');
       await disk.rename(at + 't1', at + 't3');
       await disk.write(at + 't4', bytes, { exclusive: true });
       const file = await disk.append(at + 't5');
       await file.append(bytes);
       await file.sync();
       await file.sync();`,
    );
    execFileSync('strace', ['-f', '-e', 'trace=fsync,fdatasync', '-o', trace, process.execPath, file]);
    const calls = readFileSync(trace, 'utf8').match(/f(data)?sync\(/g) ?? [];
    const data = calls.filter((call) => call === 'fdatasync(').length;
    deepEqual({ data, folders: calls.length - data }, { data: 4, folders: 4 });
    ok(calls.length === 8);
  });
});
