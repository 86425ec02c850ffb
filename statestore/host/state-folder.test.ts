import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { StateWorld } from './state-world.test.support.js';

// What went wrong once, in the world of `state-folder-model.test.ts`: there by chance, here each time.

/** As many worlds, each with other changes, other key groups and other losses. */
async function inWorlds(run: (world: StateWorld) => Promise<void>): Promise<void> {
  for (let seed = 0; seed < 20; seed++) {
    const world = new StateWorld(seed);
    try {
      await world.open();
      await run(world);
    } catch (thrown) {
      throw new Error(`seed ${seed}`, { cause: thrown });
    }
    await world.close();
  }
}

async function checkpoint(world: StateWorld, lost = false): Promise<void> {
  world.change(8);
  await world.barrier(lost);
  await world.complete(0, true);
}

test('key groups that were given up at a checkpoint which is rolled back are fetched all the same', () =>
  inWorlds(async (world) => {
    await checkpoint(world);
    world.rescale(3);
    await checkpoint(world);
    await checkpoint(world, true);
    await world.rollBack(1);
    await world.check();
    await world.hydrate();
    await world.check();
    equal(world.folder.missing({ first: 0, last: 7 }).length, 0);
  }));

test('uncommitted local state survives (KAFKA-9891): not here, however the process ends', async () => {
  for (const powerCut of [false, true]) {
    await inWorlds(async (world) => {
      await checkpoint(world);
      // Held, and never completed: the job starts again without it, and under the same id another comes.
      world.change(8);
      await world.barrier(false);
      await world.takeOver();
      await world.check();
      await world.folder.fold();
      await world.crash(powerCut);
      await world.check();
      await checkpoint(world);
      await world.check();
      await world.folder.fold();
      await world.check();
    });
  }
});

test('uncommitted local state survives (KAFKA-9891): nor what was completed and then rolled back, folded or not', async () => {
  for (const folded of [false, true]) {
    await inWorlds(async (world) => {
      await checkpoint(world);
      await checkpoint(world);
      if (folded) await world.folder.fold();
      await world.rollBack(1);
      await world.check();
      await world.hydrate();
      await world.check();
      await checkpoint(world);
      await world.check();
    });
  }
});

test('restore at other parallelism reads wrong key groups (FLINK-16576)', () =>
  inWorlds(async (world) => {
    let seed = 0;
    for (const tasks of [2, 3, 1, 8, 5, 2]) {
      await checkpoint(world);
      if (seed++ % 3 === 0) await world.folder.fold();
      world.rescale(tasks);
      // Every range shows its own key groups and nothing of others, on this host and from object storage.
      await world.check();
      world.change(3);
    }
    await checkpoint(world);
    await world.folder.fold();
    await world.check();
    equal(world.folder.describe().segments.length, 0);
  }));
