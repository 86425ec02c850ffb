import { type Random, seededRandom } from '../base/index.js';
import type { CompactionSettings } from '../checkpoint/index.js';

/** What one seed of the kills scenario is: the job, its store, and what is done to them. Plain data. */
export interface KillsPlan {
  readonly seed: number;
  /**
   * `network`: in memory behind requests that are slow, fail, or are never answered; `tiered`: hosts have a folder before
   * it; `directory`: on a simulated disk.
   */
  readonly store: 'network' | 'tiered' | 'directory';
  /** Processes call the store through a RetryingBlobStore. */
  readonly retrying: boolean;
  readonly hosts: number;
  readonly tasksPerHost: number;
  readonly keyGroups: number;
  readonly keysPerTask: number;
  /** Values are up to this long, and once in a while as long as several blocks. */
  readonly valueBytesMax: number;
  readonly inlineBytesMax: number;
  readonly headBytesMax: number;
  readonly retained: number;
  readonly compaction: CompactionSettings;
  /** Merges run in a process of their own, not on a host. */
  readonly compactorApart: boolean;
  /** Work of a merge beside its requests. */
  readonly mergeMsMax: number;
  readonly readers: number;
  readonly rollBackRate: number;
  readonly fullSnapshotRate: number;
  readonly errorRate: number;
  readonly lostResponseRate: number;
  readonly delayMs: readonly [number, number];
  /** Requests that take up to `stuckMsMax` to arrive; callers give up on them earlier. */
  readonly stuckRate: number;
  readonly stuckMsMax: number;
  /** Mean time between outages, and how long they last at most. */
  readonly outageEveryMs: number;
  readonly outageMsMax: number;
  /** Mean time between power cuts of the machine with the disk, which end all processes. */
  readonly powerCutEveryMs: number;
  /** Awaits of a process, on average, before something is done to it. */
  readonly awaitsPerLife: number;
  /** Share of it that is a pause instead of a kill. */
  readonly pauseRate: number;
  readonly pauseMsMax: number;
  readonly intervalMs: number;
  /** After so many kills it is calm. */
  readonly kills: number;
}

const KILLS = 50;

export function drawKills(seed: number, wishes: Partial<KillsPlan> = {}): KillsPlan {
  const random = seededRandom(seed).fork();
  const [kind, tiered] = [random.float(), random.chance(0.1)];
  const store = kind < 1 / 16 ? 'directory' : tiered ? 'tiered' : 'network';
  return {
    seed,
    store,
    retrying: random.chance(0.5),
    hosts: 1 + random.below(2),
    tasksPerHost: 1 + random.below(2),
    keyGroups: pick(random, [1, 4, 16]),
    keysPerTask: pick(random, [3, 10, 40]),
    valueBytesMax: pick(random, [4, 20, 200]),
    inlineBytesMax: pick(random, [0, 0, 400, 32 * 1024]),
    headBytesMax: pick(random, [100, 3000, 256 * 1024]),
    retained: 1 + random.below(4),
    compaction: {
      deltasMax: pick(random, [2, 3, 6]),
      overlayMax: pick(random, [0.2, 0.5, 1]),
      outputBytesMin: pick(random, [1, 300, 2000]),
      outputBytesMax: pick(random, [300, 2 ** 20]),
    },
    compactorApart: random.chance(0.5),
    mergeMsMax: pick(random, [0, 10, 60]),
    readers: random.below(3),
    rollBackRate: pick(random, [0, 0, 0.2]),
    fullSnapshotRate: pick(random, [0, 0.05, 0.3]),
    errorRate: pick(random, [0, 0, 0.02, 0.1]),
    lostResponseRate: pick(random, [0, 0, 0.02, 0.1]),
    delayMs: [0.2, pick(random, [0.3, 3, 10])],
    stuckRate: pick(random, [0, 0.01, 0.05]),
    stuckMsMax: pick(random, [20, 200]),
    outageEveryMs: pick(random, [Number.POSITIVE_INFINITY, 300]),
    outageMsMax: pick(random, [10, 60]),
    powerCutEveryMs: pick(random, [Number.POSITIVE_INFINITY, 300]),
    awaitsPerLife: pick(random, [3, 6, 12, 30]),
    pauseRate: pick(random, [0, 0.1, 0.3]),
    pauseMsMax: pick(random, [20, 200]),
    intervalMs: pick(random, [0.5, 2, 5]),
    kills: KILLS,
    ...wishes,
  };
}

function pick<T>(random: Random, options: readonly T[]): T {
  return options[random.below(options.length)] as T;
}
