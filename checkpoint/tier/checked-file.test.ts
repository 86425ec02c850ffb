import { deepEqual, equal, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Disk, MillraceError, seededRandom } from '../../base/index.js';
import { checkedBytes, checkedFile, checkedFileBytes, readChecked } from './checked-file.js';

const chunk = 65_536;

/** A disk with one file. */
function diskWith(file: Uint8Array): Disk {
  const read = async (_: string, range?: { readonly offset: number; readonly length: number }) =>
    range === undefined ? file.slice() : file.slice(range.offset, range.offset + range.length);
  return { read } as unknown as Disk;
}

function noise(length: number): Uint8Array {
  const random = seededRandom(length);
  return Uint8Array.from({ length }, () => random.u32());
}

const near = (chunksMax: number) =>
  fc
    .tuple(fc.integer({ min: 0, max: chunksMax }), fc.integer({ min: -2, max: 2 }))
    .map(([chunks, off]) => Math.max(0, chunks * chunk + off));

describe('checked file', () => {
  it('gives any range back, and none of a damaged place', async () => {
    await fc.assert(
      fc.asyncProperty(near(6), near(7), near(3), fc.nat(), async (size, offset, length, place) => {
        const bytes = noise(size);
        const file = checkedFile(bytes);
        equal(checkedBytes(file.byteLength), size);
        const range = { offset, length };
        const read = await readChecked(diskWith(file), '/f', size, range);
        equal(Buffer.compare(read, bytes.subarray(offset, offset + length)), 0);
        equal(Buffer.compare(await readChecked(diskWith(file), '/f', size), bytes), 0);

        const at = place % file.byteLength;
        const bad = file.slice();
        bad[at] = (bad[at] as number) ^ 1;
        await rejects(readChecked(diskWith(bad), '/f', size), {
          code: 'BLOB_DAMAGED',
          kind: 'corrupt',
          message: /\/f/,
        });
        try {
          const other = await readChecked(diskWith(bad), '/f', size, range);
          equal(
            Buffer.compare(other, bytes.subarray(offset, offset + length)),
            0,
            `${at} of ${size}: ${offset} ${length}`,
          );
        } catch (thrown) {
          equal((thrown as MillraceError).code, 'BLOB_DAMAGED');
        }
        for (const end of [0, at, file.byteLength - 1]) {
          await rejects(readChecked(diskWith(file.slice(0, end)), '/f', size, range), { code: 'BLOB_DAMAGED' });
        }
        const longer = Buffer.concat([file, new Uint8Array(1)]);
        await rejects(readChecked(diskWith(longer), '/f', size, range), { code: 'BLOB_DAMAGED' });
      }),
      { numRuns: 60 },
    );
  });

  it('sizes of files and of what they hold give each other', () => {
    const sizes = new Map(Array.from({ length: 200_000 }, (_, bytes) => [checkedFileBytes(bytes), bytes]));
    for (let file = 0; file < 200_000; file++) deepEqual(checkedBytes(file), sizes.get(file));
  });

  it('passes on what the disk says, and believes no short read', async () => {
    const failing = {
      read: async () => {
        throw new MillraceError('unavailable', 'DISK_FAILED', 'broken');
      },
    } as unknown as Disk;
    await rejects(readChecked(failing, '/f', 10), { code: 'DISK_FAILED' });
    const whole = diskWith(checkedFile(noise(9 * chunk)));
    const short: Disk = {
      ...whole,
      read: async (path, range) =>
        (await whole.read(path, range)).subarray(0, range?.offset === chunk ? chunk : undefined),
    };
    const range = { offset: chunk, length: 2 * chunk };
    await rejects(readChecked(short, '/f', 9 * chunk, range), { code: 'BLOB_DAMAGED', message: /cut short/ });
  });
});
