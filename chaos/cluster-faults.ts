import type { Random } from '../base/index.js';
import type { BlobStoreFaults } from '../checkpoint/index.js';
import type { ShuffleWatch } from './shuffle-watch.js';
import type { SimHostBases } from './sim-bases.js';
import type { SimProcess } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

/** What came after these is drawn apart from them, so that seeds go on to mean what they meant. */
export const FIRST_FAULTS = [
  'failTask',
  'killSlot',
  'killWorker',
  'pauseWorker',
  'zombie',
  'deafWorker',
  'cutWorker',
  'cutSlot',
  'slowWorker',
  'slowDaemon',
  'diskErrors',
  'diskSlow',
  'diskFull',
  'storeErrors',
  'storeOutage',
  'killScheduler',
  'killDaemon',
] as const;
/** Of runs whose state lies beneath memory. */
export const TIERED_FAULTS = ['killState', 'killFolding', 'loseState'] as const;
/** Of runs whose checkpoints are on no host. */
export const REMOTE_FAULTS = ['longOutage', 'loseHost'] as const;
export const CLUSTER_FAULTS = [
  ...FIRST_FAULTS,
  'reboot',
  ...TIERED_FAULTS,
  ...REMOTE_FAULTS,
  'clockJump',
  'bitRot',
] as const;
export type ClusterFaultKind = (typeof CLUSTER_FAULTS)[number];

/** One thing done to a cluster. Who is hit is decided when it happens: `pick` counts through those who are there. */
export interface ClusterFault {
  readonly atMs: number;
  readonly fault: ClusterFaultKind;
  readonly pick: number;
  /** How long what lasts lasts. */
  readonly forMs: number;
  /**
   * Factor of slowness, share of failing calls; for a zombie below 0.7: it wakes as it is sealed; from 0.5 on a daemon that folds
   * loses power.
   */
  readonly amount: number;
}

export function drawClusterFaults(
  random: Random,
  options: { readonly fromMs: number; readonly untilMs: number; readonly kinds: readonly ClusterFaultKind[] },
): ClusterFault[] {
  const faults: ClusterFault[] = [];
  const { fromMs, untilMs, kinds } = options;
  if (kinds.length === 0) return faults;
  const number = 1 + random.below(6);
  for (let i = 0; i < number; i++) {
    const fault = kinds[random.below(kinds.length)] as ClusterFaultKind;
    const atMs = fromMs + random.below(untilMs - fromMs);
    const longMs = fault === 'longOutage' ? 120_000 : fault === 'pauseWorker' && random.chance(0.1) ? 7000 : 500;
    faults.push({ atMs, fault, pick: random.below(1000), forMs: 1 + random.below(longMs), amount: random.float() });
  }
  return faults.sort((a, b) => a.atMs - b.atMs);
}

/** What faults are done to. */
export interface FaultTargets {
  readonly world: SimWorld;
  readonly host: string;
  /** Of the checkpoint store. */
  readonly store: () => BlobStoreFaults | undefined;
  readonly shuffle: ShuffleWatch;
  readonly bases: SimHostBases;
  /** Names of all tasks. */
  readonly tasks: readonly string[];
  /** False when a job that loses all its workers for seconds gives up: then one of them is always left to run. */
  readonly patient: boolean;
  /** A fault comes. */
  noteFault(fault: ClusterFaultKind): void;
  /** The task throws at its next step. */
  failTask(task: string): void;
  /** Kills a process without which the whole run ends; another one then starts from the checkpoint store. */
  interrupt(process: 'scheduler' | 'daemon'): void;
  /** Power lost and back; likewise. */
  reboot(): void;
  /** Folders of files in formats with checksums, of what is elsewhere too. */
  readonly copies: readonly string[];
  /** The host is gone, with all that is on its disk but the output; another takes its place. */
  loseHost(): void;
  /** What the host keeps of completed checkpoints is gone. */
  loseState(): void;
}

/** Queues all faults, and the moment at which everything is healed. */
export function scheduleFaults(targets: FaultTargets, faults: readonly ClusterFault[], calmMs: number): void {
  const { world } = targets;
  for (const fault of faults) {
    world.clock.at(fault.atMs, `fault.${fault.fault}`, () => inflict(targets, fault, calmMs), fault.pick);
  }
  world.clock.at(calmMs, 'fault.calm', () => heal(targets));
}

function inflict(targets: FaultTargets, { fault, pick, forMs, amount }: ClusterFault, calmMs: number): void {
  const { world } = targets;
  targets.noteFault(fault);
  const one = <T>(from: readonly T[]): T | undefined => from[pick % Math.max(1, from.length)];
  const worker = one(workersOf(world));
  const disk = world.host(targets.host).disk.faults;
  const store = targets.store();
  const maySilence = targets.patient || workersOf(world).filter(({ paused }) => !paused).length > 1;
  const later = (fn: () => void) =>
    void world.clock.at(Math.min(forMs, Math.max(0, calmMs - world.clock.timeMs)), 'fault.over', fn);
  switch (fault) {
    case 'failTask':
      return targets.failTask(one(targets.tasks) ?? '');
    case 'killSlot': {
      const slot = one(worker?.threads.slice(1) ?? []);
      if (slot !== undefined) worker?.endThread(slot);
      return;
    }
    case 'killScheduler':
      return targets.interrupt('scheduler');
    case 'killDaemon':
      return targets.interrupt('daemon');
    case 'reboot':
      return targets.reboot();
    case 'clockJump':
      // Up to two days, forward or back.
      world.host(targets.host).skewMs += (amount - 0.5) * 4 * 86_400_000;
      return;
    case 'bitRot': {
      const { files } = world.host(targets.host).disk;
      const path = one(targets.copies.flatMap((folder) => files.paths(`${folder}/`)));
      if (path === undefined) return;
      world.trace.record(world.clock.timeMs, targets.host, 'disk.rot', path);
      return files.file(path).rot(Math.floor(amount * 2 ** 31));
    }
    case 'loseHost':
      return targets.loseHost();
    case 'killState': {
      const daemon = world.process('daemon');
      const state = daemon?.threads.find(({ name }) => name.endsWith('/state'));
      if (state !== undefined) daemon?.endThread(state);
      return;
    }
    case 'killFolding':
      return targets.bases.afterWrites(1 + (pick % 8), () => {
        if (amount < 0.5) targets.interrupt('daemon');
        else targets.reboot();
      });
    case 'loseState':
      targets.interrupt('daemon');
      return targets.loseState();
    case 'killWorker':
      return worker?.kill();
    case 'pauseWorker':
      if (!maySilence) return;
      worker?.pause();
      // May outlast the calm: a stopped worker is replaced, not waited for.
      world.clock.at(forMs, 'fault.over', () => worker?.resume());
      return;
    case 'zombie': {
      if (!maySilence) return;
      worker?.pause();
      cut(world, worker, (name) => name === 'scheduler');
      const wake = () => worker?.resume();
      if (amount < 0.7 && worker !== undefined) {
        targets.shuffle.onceSealed(worker.name, () => void world.clock.at(amount / 7, 'fault.wake', wake));
      }
      world.clock.at(3000 + forMs, 'fault.over', wake);
      return;
    }
    case 'deafWorker': {
      // Stopped while a task that feeds it fails elsewhere: what it is told then waits behind what it had to do before,
      // and that it does just as it is sealed.
      if (!maySilence || worker === undefined) return;
      worker.pause();
      const wake = () => worker.resume();
      world.clock.at(forMs / 5, 'fault.failTask', () => {
        const elsewhere = targets.tasks.filter(
          (task) => (targets.shuffle.ownerOf(task) ?? worker.name) !== worker.name,
        );
        const feeding = elsewhere.slice(0, Math.ceil(elsewhere.length / 2));
        targets.failTask(one(feeding) ?? '');
      });
      targets.shuffle.onceSealed(
        worker.name,
        () => void world.clock.at(amount < 0.5 ? 0 : amount / 3, 'fault.wake', wake),
      );
      world.clock.at(1000 + forMs, 'fault.over', wake);
      return;
    }
    case 'cutWorker':
      return cut(world, worker, () => true);
    case 'cutSlot': {
      const slot = one(worker?.threads.slice(1) ?? []);
      world.network.sever(
        (a, b) => (a === slot || b === slot) && amount < 0.5 === [a, b].some(({ name }) => name === 'scheduler'),
      );
      return;
    }
    case 'slowWorker':
    case 'slowDaemon': {
      const slow = fault === 'slowWorker' ? worker : world.process('daemon');
      setSlowness(slow, 2 + amount * 100);
      return later(() => setSlowness(slow, 1));
    }
    case 'diskErrors':
      disk.errorRate = amount / 5;
      return later(() => {
        disk.errorRate = 0;
      });
    case 'diskSlow':
      disk.slowdown = 1 + amount * 30;
      return later(() => {
        disk.slowdown = 1;
      });
    case 'diskFull':
      disk.full = true;
      return later(() => {
        disk.full = false;
      });
    case 'storeErrors':
      if (store === undefined) return;
      store.errorRate = amount / 2;
      store.lostResponseRate = amount / 2;
      return later(() => {
        store.errorRate = 0;
        store.lostResponseRate = 0;
      });
    case 'longOutage':
    case 'storeOutage':
      if (store === undefined) return;
      store.outage = true;
      return later(() => {
        store.outage = false;
      });
  }
}

function heal({ world, host, store, bases }: FaultTargets): void {
  bases.calm();
  const disk = world.host(host).disk.faults;
  disk.errorRate = 0;
  disk.full = false;
  disk.slowdown = 1;
  const faults = store();
  if (faults !== undefined) Object.assign(faults, { errorRate: 0, lostResponseRate: 0, outage: false });
  for (const process of world.processes) setSlowness(process, 1);
}

function workersOf(world: SimWorld): SimProcess[] {
  return world.processes.filter(({ name, alive, threads }) => /^w\d+$/.test(name) && alive && threads.length > 0);
}

/** Breaks the connections of a process to others of these names. */
function cut(world: SimWorld, process: SimProcess | undefined, toWhom: (name: string) => boolean): void {
  if (process === undefined) return;
  const mine = new Set(process.threads);
  world.network.sever((a, b) => (mine.has(a) && toWhom(b.name)) || (mine.has(b) && toWhom(a.name)));
}

function setSlowness(process: SimProcess | undefined, factor: number): void {
  for (const thread of process?.threads ?? []) thread.slowdown = factor;
}
