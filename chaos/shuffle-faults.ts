import { SHUFFLE_HOST, SPILL_DEADLINE_MS } from './shuffle-daemon.js';
import type { ShuffleModel } from './shuffle-model.js';
import type { ShuffleFault } from './shuffle-scenario.js';
import type { SimProcess } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

export interface ShuffleFaultTargets {
  readonly world: SimWorld;
  readonly model: ShuffleModel;
  readonly folders: readonly string[];
  /** Memory is gone, and everybody starts again. */
  reboot(): void;
  restartDaemon(): void;
  /** Somebody takes the place of a process that is silent but lives. */
  replace(process: SimProcess): void;
}

/** Queues all faults, and the moment at which everything is healed. */
export function scheduleShuffleFaults(
  targets: ShuffleFaultTargets,
  faults: readonly ShuffleFault[],
  calmMs: number,
): void {
  const { world, model } = targets;
  for (const fault of faults) {
    world.clock.at(fault.atMs, `fault.${fault.fault}`, () => inflict(targets, fault), fault.pick);
  }
  world.clock.at(calmMs, 'fault.calm', () => {
    const { disk } = world.host(SHUFFLE_HOST);
    Object.assign(disk.faults, { errorRate: 0, full: false, slowdown: 1 });
    disk.folderFaults.clear();
    for (const process of world.processes) {
      setSlowness(process, 1);
      process.resume();
    }
    // A disk that was set aside is used again by the next daemon only.
    if (model.harmed) targets.restartDaemon();
  });
}

function inflict(targets: ShuffleFaultTargets, { fault, pick, forMs, amount }: ShuffleFault): void {
  const { world, model, folders } = targets;
  const one = <T>(from: readonly T[]): T | undefined => from[pick % Math.max(1, from.length)];
  const named = (pattern: RegExp) => one(world.processes.filter(({ name, alive }) => pattern.test(name) && alive));
  const { disk } = world.host(SHUFFLE_HOST);
  const later = (fn: () => void) => world.clock.at(forMs, 'fault.over', fn);
  switch (fault) {
    case 'killProducer':
      return named(/^p-/)?.kill();
    case 'killConsumer':
      return named(/^c-/)?.kill();
    case 'pauseProducer':
    case 'pauseConsumer': {
      const process = named(fault === 'pauseProducer' ? /^p-/ : /^c-/);
      process?.pause();
      if (process !== undefined && amount < 0.7) {
        world.clock.at(forMs * amount, 'fault.replaced', () => targets.replace(process));
      }
      later(() => process?.resume());
      return;
    }
    case 'cutClient': {
      const process = named(/^[pco]/);
      const mine = new Set(process?.threads);
      world.network.sever((a, b) => mine.has(a) || mine.has(b));
      return;
    }
    case 'slowClient':
    case 'slowDaemon': {
      const process = named(fault === 'slowClient' ? /^[pc]-/ : /^daemon/);
      setSlowness(process, 2 + amount * 60);
      later(() => setSlowness(process, 1));
      return;
    }
    case 'killDaemon':
      return targets.restartDaemon();
    case 'reboot':
      return targets.reboot();
    case 'releaseEarly': {
      const writer = one(model.writers.filter(({ phase }) => phase === 'registered' || phase === 'finished'));
      if (writer !== undefined) writer.releaseAsked = true;
      return;
    }
    case 'diskSlow':
      disk.faults.slowdown = 1 + amount * 10;
      later(() => {
        disk.faults.slowdown = 1;
      });
      return;
    case 'diskFull':
      disk.faults.full = true;
      later(() => {
        disk.faults.full = false;
      });
      return;
    case 'diskHangs':
    case 'diskFails': {
      const folder = one(folders) as string;
      model.harmed = true;
      disk.folderFaults.set(folder, fault === 'diskHangs' ? 'hang' : 'fail');
      world.clock.at(SPILL_DEADLINE_MS + forMs, 'fault.over', () => disk.folderFaults.delete(folder));
      return;
    }
    case 'tearRegion': {
      const path = one(folders.flatMap((folder) => disk.files.paths(`${folder}/region-`)));
      if (path === undefined) return;
      model.harmed = true;
      const file = disk.files.file(path);
      file.truncate(Math.floor(file.length * amount));
      return;
    }
  }
}

function setSlowness(process: SimProcess | undefined, factor: number): void {
  for (const thread of process?.threads ?? []) thread.slowdown = factor;
}
