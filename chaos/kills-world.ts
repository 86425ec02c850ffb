import { MillraceError, type Random, seededRandom, silentLogger } from '../base/index.js';
import {
  type BlobStore,
  FaultyBlobStore,
  MemoryBlobStore,
  RetryingBlobStore,
  SegmentHome,
} from '../checkpoint/index.js';
import { Compactions } from '../engine/scheduler/index.js';
import { collectAlone, readPinned } from './kills-bystanders.js';
import { KeySpace } from './kills-content.js';
import { KillsDisk } from './kills-folder.js';
import { KillsCompactor, KillsHost } from './kills-host.js';
import { KillsLeader } from './kills-leader.js';
import { type Fate, type FateOptions, Life, type Place } from './kills-life.js';
import { KillsModel } from './kills-model.js';
import { alteredStore, BlindCompactions, forgetfulHome, type KillsMutant } from './kills-mutants.js';
import type { KillsPlan } from './kills-plan.js';
import { RemoteBlobStore, WatchedBlobStore, worldClock } from './kills-store.js';
import { SimClock } from './sim-clock.js';
import { Trace } from './trace.js';

type Role = 'leader' | 'collector' | 'reader' | 'other';

/** All processes of one seed, their store, and who is started again when he was killed. */
export class KillsWorld {
  readonly clock: SimClock;
  readonly trace = new Trace({ capacity: 200 });
  readonly model: KillsModel;
  /** Kills by operation, await and moment. */
  readonly kills = new Map<string, number>();
  readonly counts = { kills: 0, pauses: 0, lives: 0, powerCuts: 0 };
  readonly #plan: KillsPlan;
  readonly #mutant: KillsMutant | undefined;
  readonly #random: Random;
  readonly #fates: Readonly<Record<Role, { -readonly [K in keyof FateOptions]: FateOptions[K] }>>;
  readonly #faulty: FaultyBlobStore;
  readonly #objects = new Map<string, Uint8Array>();
  readonly #disk: KillsDisk;
  readonly #stuck: { stuckRate: number; readonly stuckMsMax: number };
  readonly #hosts: Place<KillsHost>[] = [];
  readonly #compactors: Place<KillsCompactor>[] = [];
  readonly #lives = new Set<Life>();
  #attempts = 0;
  /** Nobody is started again any more. */
  #isOver = false;
  #isCalm = false;

  constructor(plan: KillsPlan, mutant: KillsMutant | undefined) {
    this.#plan = plan;
    this.#mutant = mutant;
    this.#random = seededRandom(plan.seed);
    this.clock = new SimClock(this.#random.fork(), this.trace);
    const { pauseRate, pauseMsMax, awaitsPerLife } = plan;
    const usual = () => ({ awaitsPerLife, pauseRate, pauseMsMax });
    // Those that meet the others' traces only when they were asleep for long.
    const sleepy = () => ({ awaitsPerLife, pauseRate: Math.max(pauseRate, 0.4), pauseMsMax });
    this.#fates = { leader: usual(), other: usual(), collector: sleepy(), reader: sleepy() };
    const { errorRate, lostResponseRate, delayMs, stuckRate, stuckMsMax } = plan;
    this.#stuck = { stuckRate, stuckMsMax };
    this.#disk = new KillsDisk(this.clock, this.#random.fork(), errorRate / 4);
    const tasks = Array.from({ length: plan.hosts * plan.tasksPerHost }, (_, i) => `t${i}`);
    const { keysPerTask: keys, keyGroups } = plan;
    this.model = new KillsModel({
      violate: (code, message) => this.clock.violate(code, message),
      objects:
        plan.store === 'directory'
          ? this.#disk
          : { names: () => this.#objects.keys(), bytes: (name) => this.#objects.get(name) },
      spaces: new Map(tasks.map((task) => [task, new KeySpace(this.#random.fork(), { keys, keyGroups })])),
      rollsBack: plan.rollBackRate > 0,
    });
    this.#faulty = new FaultyBlobStore({
      inner: new WatchedBlobStore({
        inner: new MemoryBlobStore(),
        objects: this.#objects,
        model: () => this.model,
        clock: this.clock,
        trace: this.trace,
      }),
      clock: worldClock(this.clock),
      random: this.#random.fork(),
      faults: { errorRate, lostResponseRate, delayMs },
    });
    if (plan.store === 'directory') this.clock.onSettled(() => this.#disk.look(this.model));
    else if (plan.outageEveryMs < Number.POSITIVE_INFINITY) this.#nextOutage();
    if (plan.store !== 'network' && plan.powerCutEveryMs < Number.POSITIVE_INFINITY) this.#nextPowerCut();
    this.#startAll(tasks);
  }

  /** From now on nothing is done to anybody, and one leader is enough. */
  calm(): void {
    this.#isCalm = true;
    for (const fate of Object.values(this.#fates)) fate.awaitsPerLife = Number.POSITIVE_INFINITY;
    this.#stuck.stuckRate = 0;
    Object.assign(this.#faulty.faults, { errorRate: 0, lostResponseRate: 0, outage: false });
    this.#disk.calm();
    for (const life of [...this.#lives]) {
      this.clock.resume(life.thread);
      if (life.name === 'leader1') life.end();
    }
  }

  /** Everybody stops, for good. */
  stop(): void {
    this.#isOver = true;
    for (const life of [...this.#lives]) life.end();
  }

  /** Runs `main` as a process to which nothing is done. */
  async alone<T>(main: (life: Life) => Promise<T>): Promise<T> {
    let result: { readonly value: T } | undefined;
    this.#isOver = true;
    this.#start('last', 'other', async (life) => {
      result = { value: await main(life) };
    });
    await this.clock.run({ until: () => result !== undefined });
    if (result === undefined) throw this.clock.violate('STUCK', 'the last process never ended');
    return result.value;
  }

  #startAll(tasks: readonly string[]): void {
    const plan = this.#plan;
    for (let i = 0; i < plan.hosts; i++) {
      const place: Place<KillsHost> = { life: undefined, process: undefined };
      const compactor: Place<KillsCompactor> = { life: undefined, process: undefined };
      this.#hosts.push(place);
      if (!plan.compactorApart) this.#compactors.push(compactor);
      const mine = tasks.slice(i * plan.tasksPerHost, (i + 1) * plan.tasksPerHost);
      this.#start(`host${i}`, 'other', async (life) => {
        const { model } = this;
        const home = new SegmentHome({
          store: life.store,
          random: life.random,
          host: life.name,
          inlineBytesMax: plan.inlineBytesMax,
        });
        place.process = new KillsHost({
          life,
          plan,
          model,
          home: this.#mutant === 'deltaUnderOldName' ? forgetfulHome(home) : home,
          tasks: mine,
          nextAttempt: () => ++this.#attempts,
        });
        compactor.process = new KillsCompactor(life, plan);
        place.life = life;
        compactor.life = life;
      });
    }
    if (plan.compactorApart) {
      const place: Place<KillsCompactor> = { life: undefined, process: undefined };
      this.#compactors.push(place);
      this.#start('compactor', 'other', async (life) => {
        place.process = new KillsCompactor(life, plan);
        place.life = life;
      });
    }
    for (const i of [0, 1]) this.#start(`leader${i}`, 'leader', (life) => this.#lead(life, i === 0 ? 3 : 40));
    this.#start('collector', 'collector', (life) => collectAlone(life, 20 * plan.intervalMs));
    for (let i = 0; i < plan.readers; i++) {
      this.#start(`reader${i}`, 'reader', (life) => readPinned(life, this.model, `reader${i}`, 20 * plan.intervalMs));
    }
  }

  #lead(life: Life, patience: number): Promise<void> {
    const { intervalMs, compaction } = this.#plan;
    return new KillsLeader({
      life,
      plan: this.#plan,
      model: this.model,
      hosts: this.#hosts,
      compactors: this.#compactors,
      compactions: () =>
        this.#mutant === 'compactionAppliedBlindly' ? new BlindCompactions(compaction) : new Compactions(compaction),
      releasesEarly: this.#mutant === 'reservationReleasedEarly',
      patienceMs: () => intervalMs * patience * (0.1 + life.random.float()),
      failed: (thrown) => this.#failed(life, thrown),
    }).run();
  }

  /** Starts a process, and again each time it dies. */
  #start(name: string, role: Role, main: (life: Life) => Promise<void>): void {
    this.counts.lives++;
    const life: Life = new Life(name, this.clock, this.#random.fork(), this.#fates[role], {
      killed: (at, fate) => this.#killed(at, fate),
      paused: () => {
        this.counts.pauses++;
      },
    });
    this.#lives.add(life);
    life.thread.onDeath(() => {
      this.#lives.delete(life);
      this.clock.at(this.#random.float() * 3, 'restart', () => {
        if (this.#isOver || (this.#isCalm && name === 'leader1')) return;
        this.#start(name, role, main);
      });
    });
    life.start(
      async () => {
        life.store = await this.#storeOf(life, role);
        await main(life);
      },
      (thrown) => this.#failed(life, thrown),
    );
  }

  async #storeOf(life: Life, role: Role): Promise<BlobStore> {
    const { store, retrying } = this.#plan;
    const mine =
      store === 'directory'
        ? await this.#disk.openShared(life)
        : new RemoteBlobStore(this.#faulty, life, this.clock, this.#stuck);
    const altered = alteredStore(mine, this.#mutant, role);
    // Those who write much: what is not uploaded outlives them.
    if (store === 'tiered' && role === 'other') return this.#disk.openTier(life, altered, 2 * this.#stuck.stuckMsMax);
    if (!retrying) return altered;
    return new RetryingBlobStore({
      inner: altered,
      clock: life.clock,
      random: life.random.fork(),
      logger: silentLogger(),
      settings: { retryForMs: 20, firstDelayMs: 1, delayMsMax: 5 },
    });
  }

  #nextOutage(): void {
    const { outageEveryMs, outageMsMax } = this.#plan;
    this.clock.at(this.#random.float() * 2 * outageEveryMs, 'outage', () => {
      if (this.#isCalm || this.#isOver) return;
      this.#faulty.faults.outage = true;
      this.clock.at(this.#random.float() * outageMsMax, 'outage.over', () => {
        this.#faulty.faults.outage = false;
        this.#nextOutage();
      });
    });
  }

  #nextPowerCut(): void {
    this.clock.at(this.#random.float() * 2 * this.#plan.powerCutEveryMs, 'power cut', () => {
      if (this.#isCalm || this.#isOver) return;
      this.counts.powerCuts++;
      for (const life of [...this.#lives]) life.end();
      this.#disk.powerCut(this.model);
      this.#nextPowerCut();
    });
  }

  #killed(at: string, fate: Fate): void {
    this.counts.kills++;
    this.trace.record(this.clock.timeMs, 'fate', fate, at);
    const key = `${at} ${fate}`;
    this.kills.set(key, (this.kills.get(key) ?? 0) + 1);
  }

  /** A promise that nobody handles would end its process. */
  unhandled(thrown: unknown): void {
    const text = thrown instanceof Error ? thrown.stack : String(thrown);
    this.clock.violate('UNHANDLED', `a promise was rejected that nobody handles: ${text}`);
  }

  #failed(life: Life, thrown: unknown): void {
    const text = thrown instanceof Error ? `${thrown.message}\n${thrown.stack}` : String(thrown);
    const isFinding = thrown instanceof MillraceError && thrown.kind === 'internal';
    const code = isFinding ? thrown.code : 'PROCESS_FAILED';
    this.clock.violate(code, `${life.name}, doing ${life.doing}: ${text}`);
  }
}
