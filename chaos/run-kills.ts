import { MillraceError, silentLogger } from '../base/index.js';
import { CheckpointStore, isMoved, readPins } from '../checkpoint/index.js';
import type { Life } from './kills-life.js';
import type { KillsModel } from './kills-model.js';
import type { KillsMutant } from './kills-mutants.js';
import { drawKills, type KillsPlan } from './kills-plan.js';
import { KillsWorld } from './kills-world.js';

export interface KillsReport {
  readonly seed: number;
  readonly violation: { readonly code: string; readonly message: string } | undefined;
  /** Of the trace: the same seed gives the same. */
  readonly hash: string;
  readonly kills: number;
  /** Kills by `operation await moment`: `save compareAndSet sent`. */
  readonly killsAt: ReadonlyMap<string, number>;
  readonly counts: Readonly<
    Record<
      'lives' | 'pauses' | 'powerCuts' | 'moves' | 'published' | 'merged' | 'deleted' | 'restored' | 'pinnedReads',
      number
    >
  >;
  readonly events: number;
  readonly virtualMs: number;
}

export interface KillsOptions {
  /** Instead of what the seed draws. */
  readonly wishes?: Partial<KillsPlan>;
  readonly mutant?: KillsMutant;
  /** Where to hear of promises that nobody handles. Returns how to stop listening. */
  readonly onUnhandled?: (handler: (error: unknown) => void) => () => void;
}

const CALM_MS_MAX = 60_000;
const EVENTS_MAX = 3_000_000;

/**
 * One run of the real checkpoint store under kills: leaders, hosts, a compactor, a collector and readers are killed and
 * paused at random awaits until so many kills were counted; then it is calm, and the job must go on; then all stop, and
 * a last leader collects: the store must hold exactly what HEAD and pins need, and every kept checkpoint what it held.
 */
export async function runKills(seed: number, options: KillsOptions = {}): Promise<KillsReport> {
  const plan = drawKills(seed, options.wishes);
  const world = new KillsWorld(plan, options.mutant);
  const listening = options.onUnhandled?.((error) => world.unhandled(error));
  let events = 0;
  let violation: KillsReport['violation'];
  const run = async (until: () => boolean, untilMs?: number) => {
    const maxEvents = EVENTS_MAX - events;
    const ran = await world.clock.run({ until, maxEvents, ...(untilMs === undefined ? {} : { untilMs }) });
    events += ran.events;
    return ran.reason;
  };
  try {
    const reason = await run(() => world.counts.kills >= plan.kills);
    if (reason !== 'until') throw stuck(`the run came to ${world.counts.kills} kills and no further: ${reason}`);
    await calmDown(world, run);
    world.stop();
    // What was sent arrives.
    if ((await run(() => false)) !== 'idle') throw stuck('stopped processes go on');
    await world.alone((life) => takeStock(life, world, plan));
  } catch (thrown) {
    const error = MillraceError.from(thrown);
    const message = `seed ${seed} failed: ${error.code}: ${error.message}\n${world.trace.last(40).join('\n')}`;
    violation = { code: error.code, message: `${message}\nto see it again: ${replay(seed, options)}` };
  } finally {
    listening?.();
  }
  const { kills, ...counts } = world.counts;
  return {
    seed,
    violation,
    hash: world.trace.hash,
    kills,
    killsAt: world.kills,
    counts: { ...counts, ...world.model.counts },
    events,
    virtualMs: world.clock.timeMs,
  };
}

/** Nothing is done to anybody any more: a checkpoint must complete that was not begun before. */
async function calmDown(
  world: KillsWorld,
  run: (until: () => boolean, untilMs: number) => Promise<string>,
): Promise<void> {
  world.calm();
  const { published } = world.model.counts;
  const reason = await run(() => world.model.counts.published >= published + 2, world.clock.timeMs + CALM_MS_MAX);
  if (reason !== 'until') throw stuck(`no checkpoint completed although all was calm: ${reason}`);
}

async function takeStock(life: Life, world: KillsWorld, plan: KillsPlan): Promise<void> {
  const { model } = world;
  const { store, random } = life;
  const leader = await CheckpointStore.open({ store, random, logger: silentLogger(), retained: plan.retained });
  await leader.takeOver();
  await leader.collect({ thorough: true });
  const leak = model.leak(await readPins(store));
  if (leak !== undefined) throw new MillraceError('internal', 'LEAKED', leak);
  for (const kept of model.kept()) {
    const { tasks } = isMoved(kept) ? await leader.manifest(kept.checkpointId) : kept;
    await readBoth(life, model, tasks);
  }
}

async function readBoth(
  life: Life,
  model: KillsModel,
  tasks: Awaited<ReturnType<CheckpointStore['manifest']>>['tasks'],
) {
  for (const { task, position, segments } of tasks) {
    const space = model.space(task);
    model.read('restoring', task, position, await space.restored(life.store, segments));
    model.read('merging', task, position, await space.merged(life.store, segments, () => life.sleep(0)));
  }
}

function replay(seed: number, { mutant }: KillsOptions): string {
  return `npm run chaos -- --sim --kills 1 --seed ${seed}${mutant === undefined ? '' : ` --mutant ${mutant}`}`;
}

function stuck(message: string): MillraceError {
  return new MillraceError('internal', 'STUCK', message);
}
