import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Disk } from '../base/index.js';
import { runMain } from './driving.js';
import { SimWorld } from './sim-world.js';

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);

async function afterReboot(seed: number, before: (disk: Disk) => Promise<void>): Promise<SimWorld> {
  const world = new SimWorld({ seed });
  await runMain(world, 'h', ({ disk }) => before(disk));
  world.reboot('h');
  return world;
}

async function sizeOf(world: SimWorld, path: string): Promise<number | undefined> {
  let size: number | undefined;
  await runMain(world, 'h', async ({ disk }) => {
    size = (await disk.stat(path))?.bytes;
  });
  return size;
}

/** The outcomes seen in many seeds. */
async function outcomes(
  seeds: number,
  before: (disk: Disk) => Promise<void>,
  path: string,
): Promise<Set<number | undefined>> {
  const seen = new Set<number | undefined>();
  for (let seed = 0; seed < seeds; seed++) seen.add(await sizeOf(await afterReboot(seed, before), path));
  return seen;
}

describe('SimDisk', () => {
  it('keeps synced bytes through a reboot, and any prefix of what came after', async () => {
    const seen = await outcomes(
      40,
      async (disk) => {
        const file = await disk.append('/log');
        await file.append(bytes(3, 1));
        await file.sync();
        await file.append(bytes(4, 2));
      },
      '/log',
    );
    assert.deepEqual([...seen].sort(), [3, 4, 5, 6, 7]);
  });

  it('may lose a file whose name was never synced, and a rename, but never half of one', async () => {
    const unsynced = await outcomes(30, async (disk) => void (await disk.write('/a', bytes(5, 1))), '/a');
    assert.deepEqual(unsynced, new Set([5, undefined]));
    const exclusive = await outcomes(
      30,
      async (disk) => void (await disk.write('/a', bytes(5, 1), { exclusive: true })),
      '/a',
    );
    assert.deepEqual(exclusive, new Set([5]));
    const replaced = await outcomes(
      30,
      async (disk) => {
        await disk.write('/a', bytes(5, 1), { exclusive: true });
        await disk.write('/b', bytes(7, 1), { exclusive: true });
        await disk.rename('/b', '/a');
      },
      '/a',
    );
    assert.deepEqual(replaced, new Set([7]));
    const removed = await outcomes(
      30,
      async (disk) => {
        await disk.write('/a', bytes(5, 1), { exclusive: true });
        await disk.remove('/a');
      },
      '/a',
    );
    assert.deepEqual(removed, new Set([5, undefined]));
  });

  it('keeps everything when only the process is killed', async () => {
    const world = new SimWorld({ seed: 1 });
    const process = world.spawn('p', 'h', async ({ disk }) => {
      await (await disk.append('/log')).append(bytes(4, 1));
    });
    await world.run();
    process.kill();
    assert.equal(await sizeOf(world, '/log'), 4);
  });

  it('carries out, tears or drops the call of a killed process', async () => {
    const seen = new Set<number | undefined>();
    for (let seed = 0; seed < 60; seed++) {
      const world = new SimWorld({ seed });
      const process = world.spawn('p', 'h', async ({ disk }) => {
        const file = await disk.append('/log');
        await file.append(bytes(3, 1));
        process.kill();
      });
      let size: number | undefined;
      world.spawn('q', 'h', async ({ disk, clock }) => {
        await new Promise<void>((resolve) => clock.schedule(50, resolve));
        size = (await disk.stat('/log'))?.bytes;
      });
      world.clock.at(0.2 + world.random.float() * 0.4, 'kill', () => process.kill());
      await world.run();
      seen.add(size);
    }
    assert.deepEqual([...seen].sort(), [0, 1, 2, 3, undefined]);
  });

  it('runs full: DISK_FULL, a part of an append stays, and a later one fits after space is freed', async () => {
    const world = new SimWorld({ seed: 1, disk: { capacityBytes: 100 } });
    await runMain(world, 'h', async ({ disk }) => {
      await disk.write('/big', bytes(80, 1));
      const file = await disk.append('/log');
      await file.append(bytes(10, 1));
      await assert.rejects(file.append(bytes(20, 2)), { code: 'DISK_FULL' });
      await assert.rejects(file.append(bytes(1, 2)), { code: 'DISK_FULL' }, 'a failed file stays failed');
      await assert.rejects(disk.write('/more', bytes(50, 1)), { code: 'DISK_FULL' });
      assert.equal(await disk.stat('/more'), undefined);
      await disk.remove('/big');
      const again = await disk.append('/log');
      await again.append(bytes(20, 3));
      const size = (await disk.stat('/log'))?.bytes ?? 0;
      assert(size >= 30 && size < 50);
    });
  });

  it('fails calls at the rate that was set; a failed sync is final', async () => {
    const world = new SimWorld({ seed: 1 });
    world.host('h').disk.faults.syncErrorRate = 1;
    await runMain(world, 'h', async ({ disk }) => {
      const file = await disk.append('/log');
      await file.append(bytes(3, 1));
      await assert.rejects(file.sync(), { code: 'DISK_FAILED', kind: 'unavailable' });
      world.host('h').disk.faults.syncErrorRate = 0;
      await assert.rejects(file.sync(), { code: 'DISK_FAILED' });
      world.host('h').disk.faults.errorRate = 0.5;
      const tries = await Promise.allSettled(Array.from({ length: 200 }, () => disk.stat('/log')));
      const failed = tries.filter((result) => result.status === 'rejected').length;
      assert(failed > 60 && failed < 140, `${failed} of 200`);
    });
  });

  it('fails the run when bytes change while they are written, or calls on a file overlap', async () => {
    const changed = new SimWorld({ seed: 1 });
    await assert.rejects(
      runMain(changed, 'h', async ({ disk }) => {
        const mine = bytes(4, 1);
        const writing = disk.write('/a', mine);
        mine[0] = 2;
        await writing;
      }),
      { code: 'BYTES_CHANGED' },
    );
    const overlapping = new SimWorld({ seed: 1 });
    await assert.rejects(
      runMain(overlapping, 'h', async ({ disk }) => {
        const file = await disk.append('/a');
        await Promise.all([file.append(bytes(1, 1)), file.append(bytes(1, 2))]);
      }),
      { code: 'DISK_MISUSED' },
    );
  });
});
