import { type Random, seededRandom } from '../base/index.js';
import { drawWriterPlan, type WriterPlan } from './shuffle-plan.js';

/** What is done to a shuffle. */
export const SHUFFLE_FAULTS = [
  'killProducer',
  'pauseProducer',
  'killConsumer',
  'pauseConsumer',
  'cutClient',
  'slowClient',
  'slowDaemon',
  'killDaemon',
  'reboot',
  'releaseEarly',
  'diskSlow',
  'diskFull',
  'diskHangs',
  'diskFails',
  'tearRegion',
] as const;
export type ShuffleFaultKind = (typeof SHUFFLE_FAULTS)[number];

/** Who is hit is decided when it happens: `pick` counts through those who are there. */
export interface ShuffleFault {
  readonly atMs: number;
  readonly fault: ShuffleFaultKind;
  readonly pick: number;
  readonly forMs: number;
  readonly amount: number;
}

/** The shuffle service alone: one daemon with small memory and disks, producers, consumers, and who owns the partitions. */
export interface ShuffleScenario {
  readonly seed: number;
  readonly job: 'shuffle';
  readonly writers: readonly WriterPlan[];
  readonly slots: number;
  readonly slotBytes: number;
  readonly ringRecords: number;
  /** Where it spills to. */
  readonly folders: readonly string[];
  readonly trimEveryMs: number;
  /** Finds stray writes of readers; costs time. */
  readonly guard: boolean;
  readonly faults: readonly ShuffleFault[];
  readonly calmMs: number;
  readonly deadlineMs: number;
}

const START_MS = 20;
const CALM_BUDGET_MS = 60_000;

export function drawShuffleScenario(seed: number, only?: readonly ShuffleFaultKind[]): ShuffleScenario {
  const random = seededRandom(seed);
  const slotBytes = 4096;
  const count = 1 + random.below(4);
  const writers = Array.from({ length: count }, (_, i) => drawWriterPlan(random, `w${i}`, slotBytes));
  const calmMs = START_MS + 200 + random.below(1500);
  const faultRandom = random.fork();
  return {
    seed,
    job: 'shuffle',
    writers,
    slots: 28 + random.below(50),
    slotBytes,
    ringRecords: 64 << random.below(3),
    folders: random.chance(0.5) ? ['/spill/0'] : ['/spill/0', '/spill/1'],
    trimEveryMs: 10 + random.below(150),
    guard: random.chance(0.03),
    faults: drawFaults(faultRandom, calmMs, only ?? someKinds(faultRandom)),
    calmMs,
    deadlineMs: calmMs + CALM_BUDGET_MS,
  };
}

function drawFaults(random: Random, calmMs: number, kinds: readonly ShuffleFaultKind[]): ShuffleFault[] {
  if (kinds.length === 0) return [];
  const faults = Array.from({ length: 1 + random.below(7) }, () => ({
    atMs: START_MS + random.below(calmMs - START_MS),
    fault: kinds[random.below(kinds.length)] as ShuffleFaultKind,
    pick: random.below(1000),
    forMs: 1 + random.below(random.chance(0.2) ? 1200 : 200),
    amount: random.float(),
  }));
  return faults.sort((a, b) => a.atMs - b.atMs);
}

/** Swarm testing: see `scenario.ts`. */
function someKinds(random: Random): ShuffleFaultKind[] {
  return random.chance(0.1) ? [] : SHUFFLE_FAULTS.filter(() => random.chance(0.3));
}
