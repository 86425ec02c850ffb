/** The one who registers, replaces, trims and releases: what a scheduler is to a shuffle service. */
import { sleep } from '../base/index.js';
import type { ShuffleMaster } from '../shuffle/index.js';
import { isTransient, linkToShuffle, pause, type ShuffleLink, type ShuffleParts } from './shuffle-daemon.js';
import type { WriterState } from './shuffle-model.js';
import { descriptorOf, type WriterPlan } from './shuffle-plan.js';
import { SHUFFLE_JOB } from './shuffle-tasks.js';
import type { SimContext } from './sim-process.js';

/** What only the world can do for the owner. */
export interface OwnerHooks {
  startProducer(state: WriterState, epoch: number): void;
  startConsumers(state: WriterState): void;
  /** True when nobody is left but the owner and the daemon, and all faults are over. */
  isQuiet(): boolean;
  restartDaemon(): void;
  /** Looks whether anything is left in memory or on disk. */
  checkLeaks(regions: readonly string[]): void;
}

const POLL_MS = 5;
const REST_MS = 1500;

export async function ownerMain(context: SimContext, parts: ShuffleParts, hooks: OwnerHooks): Promise<void> {
  const { model } = parts;
  const { clock } = context;
  const owner = new Owner(context, parts, hooks);
  await Promise.all(model.writers.map((state) => owner.tend(state)));
  while (!hooks.isQuiet()) await sleep(clock, POLL_MS);
  await owner.call((master) => master.releaseJob(SHUFFLE_JOB));
  if (model.harmed) {
    // What was set aside is used again, and what could not be deleted there is found.
    hooks.restartDaemon();
    await sleep(clock, REST_MS);
    await owner.call((master) => master.releaseJob(SHUFFLE_JOB));
  }
  await sleep(clock, REST_MS);
  hooks.checkLeaks(await context.memory.list());
  await owner.close();
}

class Owner {
  readonly #context: SimContext;
  readonly #parts: ShuffleParts;
  readonly #hooks: OwnerHooks;
  #link: Promise<ShuffleLink> | undefined;

  constructor(context: SimContext, parts: ShuffleParts, hooks: OwnerHooks) {
    this.#context = context;
    this.#parts = parts;
    this.#hooks = hooks;
  }

  /** One call of the master, as often as it takes. */
  async call<T>(fn: (master: ShuffleMaster) => Promise<T>): Promise<T> {
    const { clock, random } = this.#context;
    for (;;) {
      this.#link ??= this.#connect();
      const pending = this.#link;
      try {
        const link = await pending;
        return await fn(this.#parts.watch.master(link.client.master));
      } catch (error) {
        if (!isTransient(error)) throw error;
        const link = await pending.catch(() => undefined);
        if (this.#link === pending && link?.gone !== false) this.#link = undefined;
        await pause(clock, random, 20);
      }
    }
  }

  async close(): Promise<void> {
    await (await this.#link)?.close();
  }

  /** A writer from its registration to its release. */
  async tend(state: WriterState): Promise<void> {
    const { plan } = state;
    const { writer } = plan;
    const { clock } = this.#context;
    if (state.phase === 'new') await this.#register(state, 1);
    this.#hooks.startConsumers(state);
    void this.#trimNowAndThen(state);
    while (state.phase === 'registered' && !state.releaseAsked) {
      if (state.attempt === 'none') this.#start(state);
      else if (state.attempt !== 'running') await this.#replace(state);
      await sleep(clock, POLL_MS);
    }
    const isDone = () => state.consumers.every(({ done }) => done);
    while (state.phase === 'finished' && !state.releaseAsked && !isDone()) await sleep(clock, POLL_MS);
    const isLost = state.phase === 'lost';
    // An owner that died before it was answered.
    const wasAsked = state.phase === 'released' && !state.isGone;
    // Some are left to `releaseJob`.
    if (wasAsked || isLost || state.releaseAsked || this.#context.random.chance(0.5)) {
      state.phase = 'released';
      await this.call((master) => master.release(writer));
      state.isGone = true;
    }
    while (!isDone()) await sleep(clock, POLL_MS);
    if (isLost && !writer.endsWith('*')) await this.tend(this.#parts.model.add(renamed(plan)));
  }

  async #register(state: WriterState, epoch: number): Promise<void> {
    const { writer, partitions } = state.plan;
    const descriptor = { writer, epoch, job: SHUFFLE_JOB, partitions: partitions.map(descriptorOf) };
    state.epoch = epoch;
    await this.call((master) => master.register(descriptor));
    if (state.phase === 'new') state.phase = 'registered';
    state.attempt = 'none';
  }

  #start(state: WriterState): void {
    state.attempt = 'running';
    this.#parts.model.counts.attempts++;
    this.#hooks.startProducer(state, state.epoch);
  }

  async #replace(state: WriterState): Promise<void> {
    const epoch = state.epoch + 1;
    state.epoch = epoch;
    const { writer } = state.plan;
    // To register a later attempt seals as well.
    if (this.#context.random.chance(0.7)) {
      await this.call((master) => master.seal(writer, epoch));
      if (this.#context.random.chance(0.3)) await pause(this.#context.clock, this.#context.random, 50);
    }
    await this.#register(state, epoch);
  }

  /** As after checkpoints. */
  async #trimNowAndThen(state: WriterState): Promise<void> {
    const { clock, random } = this.#context;
    const { model, scenario } = this.#parts;
    while (state.phase === 'registered' || state.phase === 'finished') {
      await sleep(clock, scenario.trimEveryMs * (0.5 + random.float()));
      for (const partition of state.plan.partitions) {
        if (partition.retain !== 'trimmed') continue;
        const seqs = model.raiseFloors(state, partition);
        await this.call((master) => master.trim(partition.partition, seqs));
      }
      if (state.consumers.every(({ done }) => done)) return;
    }
  }

  async #connect(): Promise<ShuffleLink> {
    const link = await linkToShuffle(this.#context, this.#parts, false);
    const listed = await link.client.master.list();
    this.#parts.model.reconciled(new Set(listed.map(({ writer }) => writer)));
    return link;
  }
}

/** The same work under other names, as a new lineage has it. */
function renamed(plan: WriterPlan): WriterPlan {
  return {
    ...plan,
    writer: `${plan.writer}*`,
    partitions: plan.partitions.map((p) => ({ ...p, partition: `${p.partition}*` })),
  };
}
