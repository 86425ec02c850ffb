import { deepEqual, equal, throws } from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ByteFiles, memoryByteFiles, nodeByteFiles } from './byte-file.js';
import { MillraceError } from './errors.js';

const content = Uint8Array.from({ length: 100 }, (_, i) => i);
const isCode = (code: string) => (thrown: unknown) => thrown instanceof MillraceError && thrown.code === code;

function check(files: ByteFiles, folder: string, removed: () => void): void {
  throws(() => files.open(`${folder}/missing`), isCode('DISK_NOT_FOUND'));
  const file = files.open(`${folder}/a`);
  equal(file.size, 100);
  const target = new Uint8Array(10).fill(255);
  file.read(target, 2, 5, 90);
  deepEqual([...target], [255, 255, 90, 91, 92, 93, 94, 255, 255, 255]);
  throws(() => file.read(target, 0, 10, 95), isCode('DISK_FAILED'));
  removed();
  file.read(target, 0, 10, 0);
  equal(target[9], 9);
  file.close();
  file.close();
}

test('ranges of a file are read, also after it was removed; what is not there is an error', () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-bytes-'));
  try {
    writeFileSync(join(folder, 'a'), content);
    check(nodeByteFiles(), folder, () => rmSync(join(folder, 'a')));
    writeFileSync(join(folder, 'b'), content);
    const closed = nodeByteFiles().open(join(folder, 'b'));
    closed.close();
    throws(() => closed.read(new Uint8Array(1), 0, 1, 0), isCode('DISK_FAILED'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('in memory likewise', () => {
  const files = new Map([['/f/a', content]]);
  check(
    memoryByteFiles((path) => files.get(path)),
    '/f',
    () => files.delete('/f/a'),
  );
});
