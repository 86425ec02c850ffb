import { MillraceError } from '../base/index.js';
import {
  type CompactionPlan,
  compact,
  type Manifest,
  type SegmentHome,
  type SegmentOwner,
  type SegmentRef,
} from '../checkpoint/index.js';
import type { Life } from './kills-life.js';
import type { KillsModel } from './kills-model.js';
import type { KillsPlan } from './kills-plan.js';
import { KillsTask } from './kills-task.js';

/** A task's word that its part of a checkpoint is held. */
export interface Ack extends SegmentOwner {
  readonly position: string;
}

/** What a host holds for one checkpoint. */
export interface Held {
  readonly id: number;
  readonly acks: readonly Ack[];
}

export interface HostOptions {
  readonly life: Life;
  readonly plan: KillsPlan;
  readonly model: KillsModel;
  readonly home: Pick<SegmentHome, keyof SegmentHome>;
  readonly tasks: readonly string[];
  /** A number that no attempt of any task had. */
  readonly nextAttempt: () => number;
}

/** A host: its tasks, and the home of their segments, as a daemon has it. All of it is gone when it is killed. */
export class KillsHost {
  readonly #options: HostOptions;
  readonly #tasks = new Map<string, KillsTask>();
  #epoch = 0;
  /** Of the leader of this epoch, the newest of its orders that came. */
  #order = 0;
  #attaching: Promise<unknown> = Promise.resolve();

  constructor(options: HostOptions) {
    this.#options = options;
  }

  /**
   * A new leader, or the one there was before this host's restart. Tasks whose own snapshot is the newest in HEAD go on;
   * the others are restored.
   * @returns what is held for checkpoints after that one.
   */
  attach(epoch: number, order: number, latest: Manifest | undefined): Promise<Held[]> {
    this.#fence(epoch, order);
    const attached = this.#attaching.then(() => this.#attach(epoch, order, latest));
    this.#attaching = attached.catch(() => {});
    return attached;
  }

  async #attach(epoch: number, order: number, latest: Manifest | undefined): Promise<Held[]> {
    this.#fence(epoch, order);
    const { life, tasks, home } = this.#options;
    for (const name of tasks) {
      const position = latest?.tasks.find(({ task }) => task === name)?.position ?? '';
      const task = this.#tasks.get(name);
      if (task?.goesOnFrom(position) === true) {
        task.completed(position);
        continue;
      }
      if (task !== undefined) home.drop(name, task.attempt);
      this.#tasks.delete(name);
      const doing = life.doing;
      life.doing = 'restore';
      const restored = await this.#restored(name, position, latest);
      life.doing = doing;
      // Another leader came while it was being restored, perhaps to something else.
      this.#fence(epoch, order);
      this.#tasks.set(name, restored);
    }
    if (latest !== undefined) home.completed(latest.checkpointId, epoch);
    return this.#held(latest?.checkpointId ?? 0);
  }

  /** The barrier: all tasks take a snapshot, and it is held here. */
  async snapshot(epoch: number, order: number, checkpointId: number): Promise<Ack[]> {
    this.#fence(epoch, order);
    const { plan, life, model, home, tasks } = this.#options;
    return tasks.map((name) => {
      const task = this.#tasks.get(name);
      if (task === undefined) throw new MillraceError('unavailable', 'NOT_ATTACHED', `${name} was not restored yet`);
      task.work();
      const { position, bytes } = task.take(checkpointId, life.random.chance(plan.fullSnapshotRate));
      model.took(position, task.content);
      home.hold(name, task.attempt, checkpointId, bytes);
      task.work();
      return { task: name, attempt: task.attempt, position };
    });
  }

  async persist(epoch: number, checkpointId: number, acks: readonly Ack[]): Promise<Map<string, SegmentRef>> {
    const { life, home, tasks } = this.#options;
    this.#fence(epoch);
    life.doing = 'upload';
    const mine = acks.filter(({ task }) => tasks.includes(task)).map(({ task, attempt }) => ({ task, attempt }));
    return home.persist(checkpointId, epoch, mine);
  }

  async settle(epoch: number, checkpointId: number, complete: readonly Ack[] | undefined): Promise<void> {
    this.#fence(epoch);
    const { home } = this.#options;
    if (complete === undefined) return home.abort(checkpointId, epoch);
    for (const { task, position } of complete) this.#tasks.get(task)?.completed(position);
    home.completed(checkpointId, epoch);
  }

  #held(after: number): Held[] {
    const held = new Map<number, Ack[]>();
    for (const { name, attempt, pending } of this.#tasks.values()) {
      // Only the newest: an older one is without what came since, and what came since may be complete.
      const newest = pending.at(-1);
      if (newest === undefined || newest.checkpointId <= after) continue;
      const acks = held.get(newest.checkpointId) ?? [];
      acks.push({ task: name, attempt, position: newest.position });
      held.set(newest.checkpointId, acks);
    }
    return [...held].map(([id, acks]) => ({ id, acks }));
  }

  async #restored(name: string, position: string, latest: Manifest | undefined): Promise<KillsTask> {
    const { life, plan, model, nextAttempt } = this.#options;
    const space = model.space(name);
    let content = space.empty;
    const segments = latest?.tasks.find(({ task }) => task === name)?.segments;
    if (segments !== undefined) {
      content = life.random.chance(0.5)
        ? await space.restored(life.store, segments)
        : await space.merged(life.store, segments, () => life.sleep(0));
      model.counts.restored++;
      model.read(life.name, name, position, content);
    }
    const { valueBytesMax } = plan;
    const random = life.random.fork();
    return new KillsTask({ name, attempt: nextAttempt(), space, random, valueBytesMax, content, position });
  }

  #fence(epoch: number, order?: number): void {
    const isLate = epoch < this.#epoch || (epoch === this.#epoch && order !== undefined && order < this.#order);
    if (isLate) throw new MillraceError('fenced', 'EPOCH_STALE', `order ${order} of epoch ${epoch} came late`);
    if (order !== undefined) this.#order = order;
    else if (epoch > this.#epoch) this.#order = 0;
    this.#epoch = epoch;
  }
}

/** A process that merges segments for whoever asks it. */
export class KillsCompactor {
  readonly #life: Life;
  readonly #plan: KillsPlan;

  constructor(life: Life, plan: KillsPlan) {
    this.#life = life;
    this.#plan = plan;
  }

  async compact(plan: CompactionPlan, epoch: number, checkpointId: number): Promise<SegmentRef[]> {
    const life = this.#life;
    await life.sleep(life.random.float() * this.#plan.mergeMsMax);
    life.doing = 'compact';
    return compact(life.store, plan, {
      epoch,
      checkpointId,
      host: life.name,
      random: life.random,
      inlineBytesMax: this.#plan.inlineBytesMax,
      breathe: () => life.sleep(0),
    });
  }
}
