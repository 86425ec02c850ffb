/** Those who use a checkpoint store beside its leader: readers, and a collector that knows of nobody. */
import { MillraceError, silentLogger } from '../base/index.js';
import { CheckpointStore, collectGarbage, pin, unpin } from '../checkpoint/index.js';
import type { Life } from './kills-life.js';
import type { KillsModel } from './kills-model.js';

/** Pins a kept checkpoint, reads all of it, slowly, and lets it go, over and over. */
export async function readPinned(life: Life, model: KillsModel, owner: string, idleMs: number): Promise<void> {
  const { store, random } = life;
  for (;;) {
    await life.sleep(random.float() * idleMs);
    try {
      life.doing = 'pin';
      // Of its own former lives: those cannot be reading.
      for (const name of await store.list('pins/')) {
        if (name.split('-').at(-2) === owner) await unpin(store, { name });
      }
      const checkpoints = await CheckpointStore.open({ store, random, logger: silentLogger() });
      const { checkpointIds } = checkpoints;
      const id = checkpointIds[random.below(Math.max(1, checkpointIds.length))];
      if (id === undefined) continue;
      const pinned = await pin(store, await checkpoints.manifest(id), owner, random);
      model.pinned(pinned);
      const forget = life.thread.onDeath(() => model.unpinned(pinned));
      life.doing = 'restore';
      await readAll(life, model, pinned.manifest.tasks);
      model.counts.pinnedReads++;
      life.doing = 'pin';
      forget();
      model.unpinned(pinned);
      await unpin(store, pinned);
    } catch (thrown) {
      const isGone = thrown instanceof MillraceError && thrown.code === 'CHECKPOINT_NOT_FOUND';
      if (!isGone && !(thrown instanceof MillraceError && thrown.kind === 'unavailable')) throw thrown;
    }
  }
}

type Tasks = Awaited<ReturnType<CheckpointStore['manifest']>>['tasks'];

async function readAll(life: Life, model: KillsModel, tasks: Tasks): Promise<void> {
  for (const { task, position, segments } of tasks) {
    for (;;) {
      try {
        await life.sleep(life.random.float() * 10);
        const content = await model.space(task).merged(life.store, segments, () => life.sleep(0));
        model.read(life.name, task, position, content);
        break;
      } catch (thrown) {
        // What is pinned is there, so that a store that fails is all there is to wait for.
        if (!(thrown instanceof MillraceError) || thrown.code !== 'STORE_UNAVAILABLE') throw thrown;
      }
    }
  }
}

/** Collects whatever it thinks dead. Is stopped in the midst of it more than others. */
export async function collectAlone(life: Life, idleMs: number): Promise<void> {
  for (;;) {
    await life.sleep(life.random.float() * idleMs);
    life.doing = 'collect';
    try {
      if (life.random.chance(0.5)) await collectGarbage(life.store);
      else {
        const { store, random } = life;
        const checkpoints = await CheckpointStore.open({ store, random, logger: silentLogger() });
        await checkpoints.collect({ thorough: true });
      }
    } catch (thrown) {
      if (!(thrown instanceof MillraceError) || thrown.kind !== 'unavailable') throw thrown;
    }
  }
}
