import { MillraceError, silentLogger } from '../base/index.js';
import {
  applyCompaction,
  CheckpointStore,
  type Manifest,
  type Reservation,
  type SegmentRef,
} from '../checkpoint/index.js';
import type { Compactions, SchedulerEffect } from '../engine/scheduler/index.js';
import type { Ack, Held, KillsCompactor, KillsHost } from './kills-host.js';
import type { Life, Place } from './kills-life.js';
import type { KillsModel } from './kills-model.js';
import type { KillsPlan } from './kills-plan.js';

const ASK_MS = 60;
/** Restoring and merging take many requests. */
const ASK_LONG_MS = 2000;
const TRIES = 12;

export interface LeaderOptions {
  readonly life: Life;
  readonly plan: KillsPlan;
  readonly model: KillsModel;
  readonly hosts: readonly Place<KillsHost>[];
  readonly compactors: readonly Place<KillsCompactor>[];
  /** What the scheduler uses, or a broken variant. */
  readonly compactions: () => Compactions;
  /** Breaks it: a reservation is given back before its outputs are in HEAD. */
  readonly releasesEarly: boolean;
  /** Waits before each takeover. */
  readonly patienceMs: () => number;
  /** Told of what must not happen. */
  readonly failed: (thrown: unknown) => void;
}

/**
 * A leader as the scheduler is one: takes over, has the tasks attached, and then makes one checkpoint after another, while
 * old ones are collected and old segments merged in the background. Believes that it is alone.
 */
export class KillsLeader {
  readonly #options: LeaderOptions;
  #opened: CheckpointStore | undefined;
  #compactions: Compactions;
  readonly #reservations = new Map<number, Reservation>();
  #epoch = 0;
  #order = 0;
  #lastId = 0;
  #isCollecting = false;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#compactions = options.compactions();
  }

  get #checkpoints(): CheckpointStore {
    return this.#opened as CheckpointStore;
  }

  async run(): Promise<void> {
    const { life, patienceMs } = this.#options;
    for (;;) {
      await life.sleep(patienceMs());
      try {
        await this.#takeOver();
        for (;;) await this.#checkpoint();
      } catch (thrown) {
        this.#judge(thrown);
      }
    }
  }

  async #takeOver(): Promise<void> {
    const { life, plan, compactions } = this.#options;
    life.doing = 'takeOver';
    if (life.random.chance(0.5)) this.#opened = undefined;
    if (this.#opened === undefined) {
      this.#opened = await CheckpointStore.open({
        store: life.store,
        random: life.random,
        logger: silentLogger(),
        retained: plan.retained,
        headBytesMax: plan.headBytesMax,
      });
    }
    const { checkpointIds } = this.#checkpoints;
    const older = checkpointIds[1 + life.random.below(Math.max(1, checkpointIds.length - 1))];
    const goesBack = life.random.chance(plan.rollBackRate) && older !== undefined;
    this.#epoch = goesBack ? await this.#checkpoints.rollBack(older) : await this.#checkpoints.takeOver();
    this.#compactions = compactions();
    this.#reservations.clear();
    this.#order = 0;
    this.#lastId = this.#checkpoints.latest?.checkpointId ?? 0;
    const held = await this.#attach();
    // What the leader before had pending is given out again, or given up.
    if (held === undefined || life.random.chance(0.3)) return;
    this.#lastId = held.id;
    await this.#complete(held.id, held.acks);
  }

  /** All hosts follow this leader. Returns the checkpoint that all of them still hold, if there is one. */
  async #attach(): Promise<Held | undefined> {
    const { life, hosts, plan } = this.#options;
    life.doing = 'attach';
    const { latest } = this.#checkpoints;
    const acks = new Map<number, Ack[]>();
    for (const place of hosts) {
      for (let tries = 1; ; tries++) {
        const order = ++this.#order;
        try {
          const epoch = this.#epoch;
          const held = await life.ask('attach', place, ASK_LONG_MS, (host) => host.attach(epoch, order, latest));
          for (const { id, acks: some } of held) acks.set(id, [...(acks.get(id) ?? []), ...some]);
          break;
        } catch (thrown) {
          if (!isUnavailable(thrown) || tries === TRIES) throw thrown;
          await life.sleep(2);
        }
      }
    }
    const tasks = plan.hosts * plan.tasksPerHost;
    const [id, all] = [...acks].find(([, some]) => some.length === tasks) ?? [];
    return id === undefined || all === undefined ? undefined : { id, acks: all };
  }

  async #checkpoint(): Promise<void> {
    const { life, plan, hosts } = this.#options;
    await life.sleep(plan.intervalMs * (0.5 + life.random.float()));
    const id = ++this.#lastId;
    const epoch = this.#epoch;
    life.doing = 'barrier';
    try {
      const order = ++this.#order;
      const acks = hosts.map((place) => life.ask('snapshot', place, ASK_MS, (host) => host.snapshot(epoch, order, id)));
      await this.#complete(id, (await Promise.all(acks)).flat());
    } catch (thrown) {
      if (!isUnavailable(thrown)) throw thrown;
      // A host was lost, its segments could not be stored, or HEAD is where it was.
      this.#settle(id, undefined);
      await this.#attach();
    }
  }

  /** From held segments to HEAD. Throws when it is certain that the checkpoint is not complete, and was given up. */
  async #complete(id: number, acks: readonly Ack[]): Promise<void> {
    const { life, model } = this.#options;
    for (;;) {
      const manifest = this.#manifest(id, acks, await this.#persist(id, acks));
      life.doing = 'save';
      try {
        await this.#checkpoints.publish(manifest);
      } catch (thrown) {
        if (!isUnavailable(thrown)) throw thrown;
        await this.#regain();
        const { latest } = this.#checkpoints;
        if (latest?.checkpointId !== id || latest.epoch !== manifest.epoch) {
          // Under the new epoch, and so under a new name; or not at all.
          if (life.random.chance(0.5)) continue;
          throw thrown;
        }
      }
      model.told(manifest);
      this.#settle(id, acks);
      for (const { task, segments } of manifest.tasks) this.#carryOut(this.#compactions.settle(task, segments));
      this.#compact();
      this.#collect();
      return;
    }
  }

  async #persist(id: number, acks: readonly Ack[]): Promise<Map<string, SegmentRef>> {
    const { life, hosts } = this.#options;
    life.doing = 'persist';
    const epoch = this.#epoch;
    const refs = new Map<string, SegmentRef>();
    for (const place of hosts) {
      for (let tries = 1; ; tries++) {
        try {
          const stored = await life.ask('persist', place, ASK_MS, (host) => host.persist(epoch, id, acks));
          for (const [task, ref] of stored) refs.set(task, ref);
          break;
        } catch (thrown) {
          // The order is repeated: its answer may have been lost.
          if (!isUnavailable(thrown) || tries === 3) throw thrown;
        }
      }
    }
    return refs;
  }

  #manifest(checkpointId: number, acks: readonly Ack[], refs: ReadonlyMap<string, SegmentRef>): Manifest {
    const tasks = acks.map(({ task, position }) => {
      const ref = refs.get(task);
      if (ref === undefined) throw new MillraceError('internal', 'SEGMENT_UNKNOWN', `no segment of ${task} was stored`);
      const before = this.#compactions.applied(task, this.#segmentsOf(task));
      return { task, finished: false, position, segments: ref.full ? [ref] : [...before, ref] };
    });
    tasks.sort((a, b) => (a.task < b.task ? -1 : 1));
    return { format: 2, checkpointId, epoch: this.#epoch, tasks, meta: '', final: false };
  }

  /** After an unknown outcome: under a new epoch it is known. */
  async #regain(): Promise<void> {
    const { life } = this.#options;
    life.doing = 'regain';
    for (;;) {
      try {
        this.#epoch = await this.#checkpoints.regain();
        this.#compactions.void();
        this.#reservations.clear();
        return;
      } catch (thrown) {
        if (!isUnavailable(thrown)) throw thrown;
        await life.sleep(2);
      }
    }
  }

  #settle(id: number, acks: readonly Ack[] | undefined): void {
    const { life, hosts } = this.#options;
    const epoch = this.#epoch;
    for (const place of hosts) {
      this.#background(() => life.ask('settle', place, ASK_MS, (host) => host.settle(epoch, id, acks)));
    }
  }

  #collect(): void {
    const { life } = this.#options;
    if (this.#isCollecting) return;
    this.#isCollecting = true;
    const thorough = life.random.chance(0.1);
    const collecting = async () => {
      await this.#checkpoints.collect(thorough ? { thorough } : {}).finally(() => {
        this.#isCollecting = false;
      });
    };
    this.#background(collecting);
  }

  #compact(): void {
    const tasks = this.#checkpoints.latest?.tasks ?? [];
    this.#carryOut(this.#compactions.begin(tasks.map(({ task, segments }) => ({ name: task, segments }))));
  }

  #carryOut(effects: readonly SchedulerEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'compact') this.#background(() => this.#compacted(effect));
      if (effect.kind !== 'compactionOver') continue;
      this.#reservations.get(effect.compaction)?.release();
      this.#reservations.delete(effect.compaction);
    }
  }

  async #compacted({ compaction, plan }: Extract<SchedulerEffect, { kind: 'compact' }>): Promise<void> {
    const { life, compactors, releasesEarly } = this.#options;
    const compactions = this.#compactions;
    const reign = this.#epoch;
    const place = compactors[life.random.below(compactors.length)] as Place<KillsCompactor>;
    try {
      const reservation = this.#checkpoints.reserve();
      this.#reservations.set(compaction, reservation);
      if (releasesEarly) reservation.release();
      const { epoch, checkpointId } = reservation;
      const outputs = await life.ask('compact', place, ASK_LONG_MS, (it) => it.compact(plan, epoch, checkpointId));
      // Those of the next reign have numbers of their own.
      if (compactions === this.#compactions) this.#carryOut(compactions.stored(compaction, outputs));
    } catch (thrown) {
      if (compactions === this.#compactions) this.#carryOut(compactions.failed(compaction));
      const tasks = this.#opened?.latest?.tasks ?? [];
      const isStale = !tasks.some(({ segments }) => applyCompaction(segments, plan.inputs, []) !== undefined);
      // A lost put of a reign that is over: its object was there, and the next leader's collection has deleted it since.
      const isDeleted =
        reign !== this.#opened?.epoch && thrown instanceof MillraceError && thrown.code === 'BLOB_EXISTS';
      if (!isDeleted) this.#judge(thrown, isStale);
    }
  }

  #segmentsOf(task: string): readonly SegmentRef[] {
    return this.#checkpoints.latest?.tasks.find((t) => t.task === task)?.segments ?? [];
  }

  #background(work: () => Promise<unknown>): void {
    work().catch((thrown: unknown) => this.#judge(thrown));
  }

  /** Lets pass what a faulty store and lost processes do. `isStale`: what was read need not be there any more. */
  #judge(thrown: unknown, isStale = false): void {
    const { model, failed } = this.#options;
    if (!(thrown instanceof MillraceError)) return failed(thrown);
    if (thrown.kind === 'unavailable' || thrown.kind === 'fenced' || thrown.code === 'CHECKPOINT_NOT_FOUND') return;
    // A put that is tried again after its object was collected meets a name that was there a moment ago.
    const isGone =
      (thrown.code === 'SEGMENT_CORRUPT' && thrown.message.includes('is missing')) || thrown.code === 'BLOB_EXISTS';
    if (isGone && (isStale || (model.head?.epoch ?? 0) > this.#epoch)) return;
    failed(thrown);
  }
}

function isUnavailable(thrown: unknown): boolean {
  return thrown instanceof MillraceError && thrown.kind === 'unavailable';
}
