import { type Random, seededRandom } from '../base/index.js';
import {
  CLUSTER_FAULTS,
  type ClusterFault,
  type ClusterFaultKind,
  drawClusterFaults,
  FIRST_FAULTS,
  REMOTE_FAULTS,
  TIERED_FAULTS,
} from './cluster-faults.js';
import { drawJob } from './job-grammar.js';
import {
  drawShuffleScenario,
  SHUFFLE_FAULTS,
  type ShuffleFaultKind,
  type ShuffleScenario,
} from './shuffle-scenario.js';
import type { JobShape } from './simulated-job.js';
import { JOB_KINDS, type JobKind } from './simulated-jobs.js';
import { drawTieredState, type TieredState } from './tiered-state.js';

export const MUTANTS = [
  'noSeal',
  'visibleBeforeStored',
  'trimBeforeComplete',
  'spilledBeforeStored',
  'ackOfDeadAttempt',
  'endNotAligned',
  'watermarkForgotten',
  'retainedPushesBack',
  'noBootId',
] as const;
/** A deliberately broken variant of the code under test. */
export type Mutant = (typeof MUTANTS)[number];

export const SHUFFLES = ['mapped', 'wire'] as const;
export type SimulatedShuffle = (typeof SHUFFLES)[number];

export const STATE_STORES = ['memory', 'tiered'] as const;
export type SimulatedStateStore = (typeof STATE_STORES)[number];

export const CHECKPOINT_PLACES = ['folder', 'objects'] as const;
export type SimulatedCheckpoints = (typeof CHECKPOINT_PLACES)[number];

export interface RemoteCheckpoints {
  /** Share of changes that get no answer and take effect later. */
  readonly lateRate: number;
  /** The next run finds what the daemon of the last had on its way. */
  readonly keepsTier: boolean;
}

/** Everything about a run that is not code: plain data, a function of the seed (and of the job asked for). */
export interface Scenario {
  readonly seed: number;
  readonly job: JobKind;
  readonly shape: JobShape;
  readonly workers: number;
  readonly slots: number;
  readonly shuffle: SimulatedShuffle;
  /** `--state-store tiered`; none: all state is in the memory of tasks. */
  readonly tiered?: TieredState | undefined;
  /** Checkpoints are in an object store; none: in a folder of the host. */
  readonly remote?: RemoteCheckpoints | undefined;
  readonly sourceBatchRows: number;
  readonly checkpointIntervalMs: number;
  readonly checkpointTimeoutMs: number;
  /** Less than by default: state is stored as objects, not in HEAD. */
  readonly inlineBytesMax?: number | undefined;
  /** How long each call to the checkpoint store takes, beside the disk under it. */
  readonly storeDelayMs: readonly [number, number];
  /** How long the scheduler waits for lost slots; below PATIENT_MS a silent worker's tasks go elsewhere before it is replaced. */
  readonly slotWaitMs: number;
  /** Finds stray writes of readers; costs time. */
  readonly guard: boolean;
  readonly faults: readonly ClusterFault[];
  /** By then all faults are over: it is calm. */
  readonly calmMs: number;
  /** Virtual time by which the job must have ended (invariant 15). */
  readonly deadlineMs: number;
}

/** Jobs that are the same in each run but for their rows; the first one twice as often. */
const FIXED_JOBS = ['flights', 'windows', 'chain', 'late', 'flights'] as const satisfies readonly JobKind[];
/** Of the runs of a cluster. */
const DRAWN_SHARE = 0.45;
const NONCES_SHARE = 0.1;
const JOB_SALT = 0x6a6f6221;
const INLINE_SALT = 0x696e6c69;

/** Longer than it takes to find out that a worker is silent, and to replace it. */
export const PATIENT_MS = 8000;
const START_MS = 300;
const CALM_BUDGET_MS = 60_000;

/** What a run shall have, whatever its seed says. */
export interface ScenarioWishes {
  readonly job?: JobKind | undefined;
  /** Only these faults. */
  readonly faults?: readonly ClusterFaultKind[] | undefined;
  readonly shuffle?: SimulatedShuffle | undefined;
  readonly stateStore?: SimulatedStateStore | undefined;
  readonly checkpoints?: SimulatedCheckpoints | undefined;
}

/** A job on a whole cluster, or the shuffle service alone. */
export const SCENARIOS = [...JOB_KINDS, 'shuffle'] as const;
export type ScenarioKind = (typeof SCENARIOS)[number];
export const FAULTS = [...new Set([...CLUSTER_FAULTS, ...SHUFFLE_FAULTS])];
export type FaultKind = ClusterFaultKind | ShuffleFaultKind;

/** What any scenario shall have. Faults that the scenario does not know are left out. */
export interface AnyScenarioWishes {
  readonly scenario?: ScenarioKind | undefined;
  readonly faults?: readonly FaultKind[] | undefined;
  readonly shuffle?: SimulatedShuffle | undefined;
  readonly stateStore?: SimulatedStateStore | undefined;
  readonly checkpoints?: SimulatedCheckpoints | undefined;
}

/** One of all scenarios: every fourth is the shuffle service alone. */
export function drawAnyScenario(seed: number, wishes: AnyScenarioWishes = {}): Scenario | ShuffleScenario {
  const { scenario, faults, shuffle, stateStore, checkpoints } = wishes;
  const isCluster = [shuffle, stateStore, checkpoints].some((wish) => wish !== undefined);
  const isShuffle = scenario === undefined ? !isCluster && seed % 4 === 3 : scenario === 'shuffle';
  if (isShuffle) return drawShuffleScenario(seed, only(SHUFFLE_FAULTS, faults));
  const job = scenario === 'shuffle' ? undefined : scenario;
  return drawScenario(seed, { job, faults: only(CLUSTER_FAULTS, faults), shuffle, stateStore, checkpoints });
}

function only<T extends string>(known: readonly T[], wanted: readonly string[] | undefined): T[] | undefined {
  return wanted === undefined ? undefined : known.filter((kind) => wanted.includes(kind));
}

export function drawScenario(seed: number, wishes: ScenarioWishes = {}): Scenario {
  const random = seededRandom(seed);
  const fixed = pick(random, FIXED_JOBS);
  const workers = 1 + random.below(3);
  const slots = 1 + random.below(2);
  const runMs = 600 + random.below(2200);
  const rows = 100 + random.below(900);
  const calmMs = START_MS + 500 + random.below(2500);
  const faultRandom = random.fork();
  // From numbers of its own: what a seed with a fixed job does stays as it was.
  const jobRandom = seededRandom(seed ^ JOB_SALT);
  const other = otherJob(jobRandom.float());
  const job = wishes.job ?? other ?? fixed;
  // What is late there is certain only where there is one source.
  const isOne = job === 'late';
  const drawnShuffle = random.chance(0.6) ? 'mapped' : 'wire';
  // Apart from the rest: seeds that draw nothing of it mean what they did before there was any.
  const apart = seededRandom(seed ^ 0x57a7e);
  const isTiered = apart.chance(0.3);
  const drawnState = drawTieredState(apart.fork());
  const stateStore = wishes.stateStore ?? (isAny(wishes.faults, TIERED_FAULTS) || isTiered ? 'tiered' : 'memory');
  const tiered = stateStore === 'tiered' ? drawnState : undefined;
  const isRemote = apart.chance(0.25);
  const drawnRemote = { lateRate: apart.chance(0.5) ? 0 : apart.float() * 0.1, keepsTier: apart.chance(0.5) };
  const place = wishes.checkpoints ?? (isAny(wishes.faults, REMOTE_FAULTS) || isRemote ? 'objects' : 'folder');
  const remote = place === 'objects' ? drawnRemote : undefined;
  const manyKeys = apart.chance(0.5) ? 1 + apart.below(200) : 0;
  const copied = tiered !== undefined || remote !== undefined;
  const later = [
    'reboot',
    ...(tiered ? TIERED_FAULTS : []),
    ...(remote ? REMOTE_FAULTS : []),
    'clockJump',
    ...(copied ? (['bitRot'] as const) : []),
  ] as const;
  const faults = drawClusterFaults(faultRandom, {
    fromMs: START_MS,
    untilMs: calmMs,
    kinds: wishes.faults ?? withLater(someKinds(faultRandom), apart, later),
  });
  const outages = faults.filter(({ fault }) => fault === 'longOutage');
  const calmAtMs = Math.max(calmMs, ...outages.map(({ atMs, forMs }) => atMs + forMs));
  const shape = {
    dataSeed: random.u32(),
    rows,
    keys: Math.max(1 + random.below(20), tiered === undefined ? 0 : manyKeys),
    windows: 1 + random.below(12),
    rowsPerSecond: random.chance(0.15) ? 0 : Math.ceil((rows * 1000) / runMs),
  };
  return {
    seed,
    job,
    shape: job === 'drawn' ? { ...shape, steps: drawJob(jobRandom, shape) } : shape,
    workers: isOne ? 1 : workers,
    slots: isOne ? 1 : slots,
    shuffle: wishes.shuffle ?? drawnShuffle,
    ...(tiered && { tiered }),
    ...(remote && { remote }),
    ...inlined(seededRandom(seed ^ INLINE_SALT)),
    sourceBatchRows: 1 + random.below(60),
    checkpointIntervalMs: 30 + random.below(400),
    checkpointTimeoutMs: 500 + random.below(3000),
    slotWaitMs:
      workers > 1 && !isOne && random.chance(0.5) ? 1500 + random.below(2500) : PATIENT_MS + random.below(2500),
    storeDelayMs: random.chance(0.5) ? [0, 1] : [1, 60],
    guard: workers * slots === 1 && !isOne && random.chance(0.04),
    faults,
    calmMs: calmAtMs,
    deadlineMs: calmAtMs + CALM_BUDGET_MS,
  };
}

function inlined(random: Random): Pick<Scenario, 'inlineBytesMax'> {
  return random.chance(0.5) ? {} : { inlineBytesMax: pick(random, [0, 0, 500, 4000]) };
}

function otherJob(drawn: number): JobKind | undefined {
  if (drawn < DRAWN_SHARE) return 'drawn';
  return drawn < DRAWN_SHARE + NONCES_SHARE ? 'nonces' : undefined;
}

/** Swarm testing (Groce et al. 2012): each run has only some kinds of fault, so that none hides behind another. */
function someKinds(random: Random): ClusterFaultKind[] {
  if (random.chance(0.05)) return [];
  const kinds = FIRST_FAULTS.filter(() => random.chance(0.4));
  return kinds.length === 0 ? [pick(random, FIRST_FAULTS)] : kinds;
}

function withLater(
  kinds: readonly ClusterFaultKind[],
  random: Random,
  later: readonly ClusterFaultKind[],
): readonly ClusterFaultKind[] {
  return kinds.length === 0 ? kinds : [...kinds, ...later.filter(() => random.chance(0.2))];
}

function isAny(faults: readonly ClusterFaultKind[] | undefined, of: readonly ClusterFaultKind[]): boolean {
  return faults?.some((kind) => of.includes(kind)) === true;
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)] as T;
}
