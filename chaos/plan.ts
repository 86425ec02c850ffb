import { MillraceError, type Random } from '../base/index.js';
import type { SimProcess } from './sim-process.js';
import type { SimWorld } from './sim-world.js';

/**
 * One thing done to the world. `target` is a process, or a host for `reboot`, `disk*` and `partition` (with `other`).
 * `forMs` is how long a state lasts before it is undone.
 */
export type Fault =
  | { readonly atMs: number; readonly fault: 'kill' | 'disconnect' | 'reboot'; readonly target: string }
  | {
      readonly atMs: number;
      readonly fault: 'pause' | 'slow' | 'diskFull' | 'diskSlow' | 'diskErrors';
      readonly target: string;
      readonly forMs: number;
      /** Factor for what is slow; share of failing calls for errors; 1 otherwise. */
      readonly amount: number;
    }
  | {
      readonly atMs: number;
      readonly fault: 'partition';
      readonly target: string;
      readonly other: string;
      readonly forMs: number;
      readonly oneWay: boolean;
    };

export type FaultKind = Fault['fault'];

/** Plain data: a run is a function of (seed, plan). Faults are sorted by time. */
export interface FaultPlan {
  readonly seed: number;
  readonly faults: readonly Fault[];
}

/** Faults per second of virtual time, by kind. */
export type FaultRates = Readonly<Partial<Record<FaultKind, number>>>;

export interface PlanOptions {
  /** Faults fall into [fromMs, untilMs); after that it is calm, but for what is still being undone. */
  readonly fromMs?: number;
  readonly untilMs: number;
  readonly rates: FaultRates;
  /** Who can be hit. A name need not exist when its fault comes: then nothing happens. */
  readonly processes: readonly string[];
  readonly hosts: readonly string[];
  readonly durationMs?: readonly [number, number];
}

const KINDS: readonly FaultKind[] = [
  'kill',
  'pause',
  'disconnect',
  'reboot',
  'partition',
  'slow',
  'diskFull',
  'diskSlow',
  'diskErrors',
];
const OF_HOSTS: ReadonlySet<FaultKind> = new Set(['reboot', 'partition', 'diskFull', 'diskSlow', 'diskErrors']);

/** Swarm testing (Groce et al. 2012): each plan keeps only some kinds of fault, so that none hides behind another. */
export function swarm(random: Random, rates: FaultRates, keep = 0.5): FaultRates {
  return Object.fromEntries(
    KINDS.filter((kind) => (rates[kind] ?? 0) > 0 && random.chance(keep)).map((k) => [k, rates[k]]),
  );
}

/** A plan from a seed: each kind of fault comes as a Poisson process of its rate. */
export function drawPlan(seed: number, random: Random, options: PlanOptions): FaultPlan {
  const faults: Fault[] = [];
  const pick = (names: readonly string[]) => names[random.below(names.length)] as string;
  const [minMs, maxMs] = options.durationMs ?? [50, 3000];
  for (const kind of KINDS) {
    const rate = options.rates[kind] ?? 0;
    const targets = OF_HOSTS.has(kind) ? options.hosts : options.processes;
    if (rate <= 0 || targets.length === 0 || (kind === 'partition' && targets.length < 2)) continue;
    for (let atMs = options.fromMs ?? 0; ; ) {
      atMs += (-Math.log(1 - random.float()) / rate) * 1000;
      if (atMs >= options.untilMs) break;
      const at = Math.round(atMs * 1000) / 1000;
      const target = pick(targets);
      const forMs = Math.round(minMs + random.float() * (maxMs - minMs));
      faults.push(drawFault(kind, at, target, forMs, random, () => pick(targets.filter((name) => name !== target))));
    }
  }
  faults.sort((a, b) => a.atMs - b.atMs);
  return { seed, faults };
}

function drawFault(
  fault: FaultKind,
  atMs: number,
  target: string,
  forMs: number,
  random: Random,
  other: () => string,
): Fault {
  switch (fault) {
    case 'kill':
    case 'disconnect':
    case 'reboot':
      return { atMs, fault, target };
    case 'pause':
    case 'diskFull':
      return { atMs, fault, target, forMs, amount: 1 };
    case 'slow':
    case 'diskSlow':
      return { atMs, fault, target, forMs, amount: 2 + random.below(200) };
    case 'diskErrors':
      return { atMs, fault, target, forMs, amount: (1 + random.below(20)) / 100 };
    case 'partition':
      return { atMs, fault, target, other: other(), forMs, oneWay: random.chance(0.5) };
  }
}

/** Queues every fault of a plan as an event of the world. */
export function applyPlan(world: SimWorld, plan: FaultPlan): void {
  for (const fault of plan.faults) {
    world.clock.at(fault.atMs - world.clock.timeMs, `fault.${fault.fault}`, () => inflict(world, fault));
  }
}

/** Does one fault now. A target that is not there is not hit. */
export function inflict(world: SimWorld, fault: Fault): void {
  const process = world.process(fault.target);
  const undo = (forMs: number, fn: () => void) => world.clock.at(forMs, `heal.${fault.fault}`, fn);
  switch (fault.fault) {
    case 'kill':
      process?.kill();
      break;
    case 'pause':
      process?.pause();
      undo(fault.forMs, () => process?.resume());
      break;
    case 'slow':
      slow(process, fault.amount);
      undo(fault.forMs, () => slow(process, 1));
      break;
    case 'disconnect':
      if (process !== undefined) {
        world.network.sever((a, b) => process.threads.includes(a) || process.threads.includes(b));
      }
      break;
    case 'reboot':
      world.reboot(fault.target);
      break;
    case 'partition':
      world.network.block(fault.target, fault.other);
      if (!fault.oneWay) world.network.block(fault.other, fault.target);
      undo(fault.forMs, () => {
        world.network.unblock(fault.target, fault.other);
        if (!fault.oneWay) world.network.unblock(fault.other, fault.target);
      });
      break;
    case 'diskFull':
    case 'diskSlow':
    case 'diskErrors': {
      const { faults } = world.host(fault.target).disk;
      if (fault.fault === 'diskFull') faults.full = true;
      else if (fault.fault === 'diskSlow') faults.slowdown = fault.amount;
      else faults.errorRate = fault.amount;
      undo(fault.forMs, () => {
        if (fault.fault === 'diskFull') faults.full = false;
        else if (fault.fault === 'diskSlow') faults.slowdown = 1;
        else faults.errorRate = 0;
      });
    }
  }
}

function slow(process: SimProcess | undefined, amount: number): void {
  for (const thread of process?.threads ?? []) thread.slowdown = amount;
}

/** One fault a line, so that a saved plan can be read and edited. */
export function encodePlan(plan: FaultPlan): string {
  const lines = plan.faults.map((fault) => `    ${JSON.stringify(fault)}`);
  return `{\n  "seed": ${plan.seed},\n  "faults": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

/** @throws MillraceError `PLAN_INVALID` (invalid). */
export function decodePlan(text: string): FaultPlan {
  const bad = (why: string, cause?: unknown) =>
    new MillraceError('invalid', 'PLAN_INVALID', `fault plan: ${why}`, { cause });
  let plan: Partial<FaultPlan>;
  try {
    plan = JSON.parse(text) as Partial<FaultPlan>;
  } catch (cause) {
    throw bad('not JSON', cause);
  }
  if (typeof plan?.seed !== 'number' || !Array.isArray(plan.faults)) throw bad('needs "seed" and "faults"');
  for (const [i, fault] of (plan.faults as readonly Partial<Fault>[]).entries()) {
    if (
      typeof fault.atMs !== 'number' ||
      typeof fault.target !== 'string' ||
      !KINDS.includes(fault.fault as FaultKind)
    ) {
      throw bad(`fault ${i} needs "atMs", "target" and a known "fault": ${JSON.stringify(fault)}`);
    }
  }
  return { seed: plan.seed, faults: plan.faults };
}
