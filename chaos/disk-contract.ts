import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Disk, MillraceError } from '../base/index.js';

/** An empty folder on the disk under test. `run` lets the disk work until `body` is done: real time, or virtual. */
export interface DiskUnderTest {
  readonly disk: Disk;
  readonly folder: string;
  run(body: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (found: Uint8Array) => new TextDecoder().decode(found);

function fails(code: string, path: string): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof MillraceError, String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.kind, code === 'DISK_EXISTS' ? 'invalid' : 'unavailable');
    assert(error.message.includes(path), `${path} is not named in: ${error.message}`);
    return true;
  };
}

/** What every Disk must do (`base/disk.ts`): run on the machine's own and on the simulated one, so that they agree. */
export function diskContract(name: string, open: () => Promise<DiskUnderTest>): void {
  const on = (what: string, body: (disk: Disk, folder: string) => Promise<void>) =>
    it(what, async () => {
      const subject = await open();
      try {
        await subject.run(() => body(subject.disk, subject.folder));
      } finally {
        await subject.close();
      }
    });

  describe(`disk contract: ${name}`, () => {
    on('reads back what was written, whole and in ranges cut at the end', async (disk, at) => {
      await disk.write(`${at}/a`, bytes('0123456789'));
      assert.equal(text(await disk.read(`${at}/a`)), '0123456789');
      assert.equal(text(await disk.read(`${at}/a`, { offset: 3, length: 4 })), '3456');
      assert.equal(text(await disk.read(`${at}/a`, { offset: 8, length: 9 })), '89');
      assert.equal((await disk.read(`${at}/a`, { offset: 10, length: 1 })).length, 0);
      assert.equal((await disk.read(`${at}/a`, { offset: 99, length: 1 })).length, 0);
    });

    on('a write replaces all that was there; an exclusive one refuses', async (disk, at) => {
      await disk.write(`${at}/a`, bytes('long content'), { exclusive: true });
      await disk.write(`${at}/a`, bytes('short'));
      assert.equal(text(await disk.read(`${at}/a`)), 'short');
      await assert.rejects(disk.write(`${at}/a`, bytes('x'), { exclusive: true }), fails('DISK_EXISTS', `${at}/a`));
      assert.equal(text(await disk.read(`${at}/a`)), 'short');
    });

    on('what is read belongs to the reader, what was written is no longer the writer’s', async (disk, at) => {
      const mine = bytes('abc');
      await disk.write(`${at}/a`, mine);
      mine.fill(0);
      (await disk.read(`${at}/a`)).fill(1);
      assert.equal(text(await disk.read(`${at}/a`)), 'abc');
    });

    on('a Buffer from a pool is copied, not kept', async (disk, at) => {
      const mine = Buffer.from('pooled');
      const file = await disk.append(`${at}/a`);
      await file.append(mine);
      mine.fill(0);
      await file.close();
      assert.equal(text(await disk.read(`${at}/a`)), 'pooled');
    });

    on('appends go to the end, also after opening again, also of a file written at once', async (disk, at) => {
      await disk.write(`${at}/a`, bytes('1'));
      const first = await disk.append(`${at}/a`);
      assert.equal(first.path, `${at}/a`);
      await first.append(bytes('23'));
      await first.append(bytes(''));
      await first.sync();
      await first.close();
      const second = await disk.append(`${at}/a`);
      await second.append(bytes('4'));
      await second.close();
      assert.equal(text(await disk.read(`${at}/a`)), '1234');
    });

    on('opening for appending makes an empty file', async (disk, at) => {
      await (await disk.append(`${at}/a`)).close();
      assert.deepEqual(await disk.stat(`${at}/a`), { bytes: 0, folder: false });
    });

    on('an open file goes on under another name, and after it was removed', async (disk, at) => {
      const file = await disk.append(`${at}/a`);
      await file.append(bytes('1'));
      await disk.rename(`${at}/a`, `${at}/b`);
      await file.append(bytes('2'));
      assert.equal(text(await disk.read(`${at}/b`)), '12');
      await disk.remove(`${at}/b`);
      await file.append(bytes('3'));
      await file.close();
      assert.equal(await disk.stat(`${at}/b`), undefined);
    });

    on('rename replaces, and the old name is gone', async (disk, at) => {
      await disk.write(`${at}/a`, bytes('new'));
      await disk.write(`${at}/b`, bytes('old'));
      await disk.rename(`${at}/a`, `${at}/b`);
      assert.equal(text(await disk.read(`${at}/b`)), 'new');
      assert.deepEqual(await disk.list(at), ['b']);
    });

    on('link gives a second name to one file, and never takes a name away', async (disk, at) => {
      await disk.write(`${at}/a`, bytes('1'));
      await disk.write(`${at}/taken`, bytes('2'));
      await disk.link(`${at}/a`, `${at}/b`);
      await assert.rejects(disk.link(`${at}/a`, `${at}/taken`), fails('DISK_EXISTS', `${at}/taken`));
      await disk.remove(`${at}/a`);
      assert.equal(text(await disk.read(`${at}/b`)), '1');
      assert.equal(text(await disk.read(`${at}/taken`)), '2');
    });

    on('of many links to one name exactly one succeeds', async (disk, at) => {
      for (let i = 0; i < 8; i++) await disk.write(`${at}/from-${i}`, bytes(String(i)));
      const racing = Array.from({ length: 8 }, (_, i) => disk.link(`${at}/from-${i}`, `${at}/to`));
      const won = (await Promise.allSettled(racing)).map((r) => r.status === 'fulfilled');
      assert.equal(won.filter(Boolean).length, 1);
      assert.equal(text(await disk.read(`${at}/to`)), String(won.indexOf(true)));
    });

    on('what is not there is named', async (disk, at) => {
      await assert.rejects(disk.read(`${at}/no`), fails('DISK_NOT_FOUND', `${at}/no`));
      await assert.rejects(disk.write(`${at}/no/x`, bytes('')), fails('DISK_NOT_FOUND', `${at}/no/x`));
      await assert.rejects(disk.append(`${at}/no/x`), fails('DISK_NOT_FOUND', `${at}/no/x`));
      await assert.rejects(disk.rename(`${at}/no`, `${at}/b`), fails('DISK_NOT_FOUND', `${at}/no`));
      await assert.rejects(disk.link(`${at}/no`, `${at}/b`), fails('DISK_NOT_FOUND', at));
      assert.equal(await disk.stat(`${at}/no`), undefined);
      assert.deepEqual(await disk.list(`${at}/no`), []);
      await disk.remove(`${at}/no`);
      await disk.remove(`${at}/no/deeper`);
    });

    on('folders: made with parents, listed sorted, removed only when empty', async (disk, at) => {
      await disk.makeFolder(`${at}/x/y`);
      await disk.makeFolder(`${at}/x/y`);
      for (const name of ['b', 'a', 'B', '10', '9']) await disk.write(`${at}/x/${name}`, bytes(''));
      assert.deepEqual(await disk.list(`${at}/x`), ['10', '9', 'B', 'a', 'b', 'y']);
      assert.equal((await disk.stat(`${at}/x`))?.folder, true);
      await assert.rejects(disk.remove(`${at}/x`), fails('DISK_FAILED', `${at}/x`));
      await disk.remove(`${at}/x/y`);
      assert.equal(await disk.stat(`${at}/x/y`), undefined);
    });

    on('a folder may be named with a slash at its end', async (disk, at) => {
      await disk.makeFolder(`${at}/x/`);
      await disk.write(`${at}/x/a`, bytes('1'));
      assert.deepEqual(await disk.list(`${at}/x/`), ['a']);
      assert.equal(text(await disk.read(`${at}/x//a`)), '1');
      assert.equal((await disk.stat(`${at}/x/`))?.folder, true);
    });

    on('a folder is not a file, and a file is not a folder', async (disk, at) => {
      await disk.makeFolder(`${at}/folder`);
      await disk.write(`${at}/file`, bytes('1'));
      await assert.rejects(disk.read(`${at}/folder`), fails('DISK_FAILED', `${at}/folder`));
      await assert.rejects(disk.write(`${at}/folder`, bytes('1')), fails('DISK_FAILED', `${at}/folder`));
      await assert.rejects(disk.append(`${at}/folder`), fails('DISK_FAILED', `${at}/folder`));
      await assert.rejects(disk.list(`${at}/file`), fails('DISK_FAILED', `${at}/file`));
      await assert.rejects(disk.write(`${at}/file/x`, bytes('1')), fails('DISK_FAILED', `${at}/file/x`));
      await assert.rejects(disk.makeFolder(`${at}/file`), fails('DISK_EXISTS', `${at}/file`));
    });
  });
}
