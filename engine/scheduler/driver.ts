import { type Clock, type Logger, MillraceError, type SerializedError, sleep, type Timer } from '../../base/index.js';
import type { RpcPeer } from '../../base/rpc/index.js';
import type { CheckpointStore, CompactionPlan, Manifest, Reservation } from '../../checkpoint/index.js';
import type { ShuffleMaster } from '../../shuffle/index.js';
import {
  decodeCompacted,
  decodePersisted,
  decodeProgress,
  decodeRegisterSlot,
  decodeTaskEvent,
  encodeCompact,
  encodeDeployment,
  encodeForget,
  encodePersist,
  encodeTaskCommand,
  SERVICE,
  type TaskProgress,
} from '../runtime/index.js';
import type { SchedulerEffect, SchedulerEvent, SchedulerNote, SlotId } from './events.js';
import type { JobScheduler } from './job-scheduler.js';

export interface DriverOptions {
  readonly scheduler: JobScheduler;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly master: ShuffleMaster;
  /** Connection to the daemon, for segments. */
  readonly daemon: RpcPeer;
  readonly store: CheckpointStore;
  readonly checkpointIntervalMs: number;
  /** How long lost slots may take to come back before their tasks crowd into others. */
  readonly slotWaitMs: number;
  /** How long HEAD may stay out of reach before the job ends, to be resumed later; none: for ever. */
  readonly storeWaitMs?: number;
  observe(note: SchedulerNote): void;
}

/** Longer than a dead process's sockets take to close one after another, shorter than anybody notices. */
const LOST_TOGETHER_MS = 20;

/**
 * The hands of the scheduler: turns messages, answers and timers into events, carries out the effects, and feeds results
 * back. One event at a time; effects start in order. Holds no decision of its own.
 */
export class SchedulerDriver {
  readonly #options: DriverOptions;
  readonly #slots = new Map<SlotId, RpcPeer>();
  readonly #queue: SchedulerEvent[] = [];
  readonly #progress = new Map<string, TaskProgress>();
  /** Prepares of one task run one after another: a late register must not follow a newer seal. */
  /** Names under which compactions write. */
  readonly #reservations = new Map<number, Reservation>();
  readonly #prepares = new Map<string, Promise<void>>();
  readonly #ended: Promise<MillraceError | undefined>;
  #resolveEnded: (error: MillraceError | undefined) => void = () => {};
  #registrations = 0;
  #lost: SlotId[] = [];
  #dispatching = false;
  #over = false;
  #checkpointTimer: Timer | undefined;
  #slotTimer: Timer | undefined;
  #collecting: Promise<unknown> = Promise.resolve();
  #compacting: Promise<unknown> = Promise.resolve();

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    options.master.onEvent((event) => {
      if (event.kind === 'pressure') this.dispatch({ kind: 'checkpointDue', nowMs: options.clock.monotonicMs() });
      else options.logger.warn({ event }, 'shuffle');
    });
    void options.daemon.closed.then(() => {
      this.dispatch({
        kind: 'cancel',
        reason: 'the daemon died; a run with --state-dir goes on from its last checkpoint when it is started again',
      });
    });
  }

  /** Resolves when the job has ended: undefined when it completed, else why not. */
  get ended(): Promise<MillraceError | undefined> {
    return this.#ended;
  }

  get progress(): ReadonlyMap<string, TaskProgress> {
    return this.#progress;
  }

  start(): void {
    this.#scheduleCheckpoint();
    this.#awaitSlots();
  }

  cancel(reason: string): void {
    this.dispatch({ kind: 'cancel', reason });
  }

  /** Takes a slot's connection: serves its messages until it ends. Workers themselves are served by the cluster. */
  serveSlot(peer: RpcPeer): void {
    let slot: SlotId | undefined;
    peer.serve(SERVICE.registerSlot, (body) => {
      const registered = decodeRegisterSlot(body);
      // A slot that comes back is another slot: its predecessor's loss may be told after its arrival.
      slot = `${registered.worker}/${registered.slot}.${++this.#registrations}`;
      this.#slots.set(slot, peer);
      this.dispatch({ kind: 'slotAdded', slot });
      return undefined;
    });
    peer.serve(SERVICE.taskEvent, (body) => {
      this.dispatch({ kind: 'task', event: decodeTaskEvent(body) });
      return undefined;
    });
    peer.serve(SERVICE.progress, (body) => {
      this.#onProgress(body);
      return undefined;
    });
    void peer.closed.then((reason) => {
      if (slot === undefined || this.#slots.get(slot) !== peer) return;
      this.#loseSlot(slot, reason === undefined ? 'closed its connection' : 'its connection was lost');
    });
  }

  /** Slots that go within a few milliseconds went together: a worker's death is one failure, not one for each of its threads. */
  #loseSlot(slot: SlotId, reason: string): void {
    this.#slots.delete(slot);
    if (this.#lost.push(slot) > 1) return;
    this.#options.clock.schedule(LOST_TOGETHER_MS, () => {
      const slots = this.#lost;
      this.#lost = [];
      this.dispatch({ kind: 'slotsLost', slots, reason });
    });
  }

  /** Takes one event, and those that its effects raise at once. */
  dispatch(event: SchedulerEvent): void {
    this.#queue.push(event);
    if (this.#dispatching) return;
    this.#dispatching = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        if (this.#over) continue;
        for (const effect of this.#options.scheduler.step(next)) this.#carryOut(effect);
      }
    } finally {
      this.#dispatching = false;
    }
  }

  /** Drops a worker's slots at once, without waiting for their connections to notice. */
  loseWorker(worker: string): void {
    for (const [slot, peer] of [...this.#slots]) if (slot.startsWith(`${worker}/`)) peer.close();
  }

  #carryOut(effect: SchedulerEffect): void {
    const { master, store, daemon } = this.#options;
    const { epoch } = store; // may have been taken anew since the start
    switch (effect.kind) {
      case 'prepare':
        return this.#prepare(effect);
      case 'deploy':
        return this.#slots.get(effect.slot)?.notify(SERVICE.deploy, encodeDeployment(effect.deployment));
      case 'command':
        return this.#slots.get(effect.slot)?.notify(SERVICE.taskCommand, encodeTaskCommand(effect.command));
      case 'persist': {
        const { checkpoint, tasks } = effect;
        return this.#answer(
          daemon.request(SERVICE.persist, encodePersist({ checkpoint, epoch, tasks })).then(decodePersisted),
          (segments) => ({ kind: 'persisted', checkpoint, segments }),
          (error) => ({ kind: 'persistFailed', checkpoint, reason: error.message }),
        );
      }
      case 'publish': {
        const checkpoint = effect.manifest.checkpointId;
        return this.#answer(
          this.#publish(effect.manifest),
          () => ({ kind: 'published', checkpoint }),
          (error) => ({ kind: 'publishFailed', checkpoint, error }),
        );
      }
      case 'compact':
        return this.#compact(effect.compaction, effect.plan);
      case 'compactionOver':
        this.#reservations.get(effect.compaction)?.release();
        this.#reservations.delete(effect.compaction);
        return;
      case 'forget':
        daemon.notify(
          SERVICE.forget,
          encodeForget({ checkpoint: effect.checkpoint, epoch, completed: effect.completed }),
        );
        if (effect.completed) this.#collect(store);
        return;
      case 'trim':
        return this.#background(master.trim(effect.partition, effect.seqs), 'trim');
      case 'release':
        for (const writer of effect.writers) this.#background(master.release(writer), 'release');
        return;
      case 'awaitSlots':
        return this.#awaitSlots();
      case 'note':
        return this.#options.observe(effect.note);
      case 'ended':
        return this.#end(effect.error);
    }
  }

  #prepare(effect: Extract<SchedulerEffect, { kind: 'prepare' }>): void {
    const { master } = this.#options;
    const { task, attempt, supersedes, writer } = effect;
    const before = this.#prepares.get(task) ?? Promise.resolve();
    const prepared = before.then(async () => {
      if (supersedes !== undefined) {
        // Sealed first (invariant 3): only then is it certain that nothing of the old attempt can still appear.
        await master.seal(supersedes.writer, supersedes.epoch).catch(ignoreUnknownWriter);
        await master.release(supersedes.writer);
      }
      if (effect.delayMs > 0) await sleep(this.#options.clock, effect.delayMs);
      await master.register(writer);
    });
    this.#prepares.set(
      task,
      prepared.catch(() => undefined),
    );
    this.#answer(
      prepared,
      () => ({ kind: 'prepared', task, attempt }),
      (error) => ({ kind: 'prepareFailed', task, attempt, error }),
    );
  }

  #compact(compaction: number, plan: CompactionPlan): void {
    const { store, daemon } = this.#options;
    const compacted = async () => {
      const reservation = store.reserve();
      this.#reservations.set(compaction, reservation);
      const { checkpointId: checkpoint, epoch } = reservation;
      return decodeCompacted(await daemon.request(SERVICE.compact, encodeCompact({ checkpoint, epoch, plan })));
    };
    const work = compacted();
    this.#compacting = work.catch(() => {});
    this.#answer(
      work,
      (outputs) => ({ kind: 'compacted', compaction, outputs }),
      (error) => {
        if (!this.#over) this.#options.logger.warn({ error: error.message }, 'merging old segments; to be tried again');
        return { kind: 'compactFailed', compaction };
      },
    );
  }

  /**
   * Resolves when HEAD has moved, rejects when it is certain that it has not and will not: until then nothing else may be decided.
   * After an unknown outcome that takes a new epoch, which also stops a move that is still on its way.
   */
  async #publish(manifest: Manifest): Promise<void> {
    const { store } = this.#options;
    const epoch = store.epoch;
    try {
      await store.publish({ ...manifest, epoch });
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      if (error.kind !== 'unavailable') throw error;
      await this.#regain(error);
      const { latest } = store;
      if (latest?.checkpointId !== manifest.checkpointId || latest.epoch !== epoch) throw error;
    }
  }

  async #regain(cause: MillraceError): Promise<void> {
    const { store, clock, logger, storeWaitMs = Number.POSITIVE_INFINITY } = this.#options;
    const sinceMs = clock.monotonicMs();
    for (let [error, delayMs] = [cause, 50]; ; delayMs = Math.min(delayMs * 2, 5000)) {
      logger.warn({ code: error.code }, `checkpoint store: ${error.message}`);
      try {
        await store.regain();
        this.#reservations.clear();
        return this.dispatch({ kind: 'epochChanged' });
      } catch (thrown) {
        error = MillraceError.from(thrown);
        if (error.kind !== 'unavailable' || this.#over) throw error;
        if (clock.monotonicMs() - sinceMs > storeWaitMs) {
          // Where HEAD is stays unknown, so nothing may be decided any more, not even that this checkpoint failed.
          this.#end(error.toJSON());
          throw error;
        }
        await sleep(clock, delayMs);
      }
    }
  }

  #collect(store: CheckpointStore, how: { readonly thorough?: boolean } = {}): void {
    const { logger } = this.#options;
    this.#collecting = this.#collecting
      .then(() => store.collect(how))
      .catch((error) => logger.warn({ error: String(error) }, 'collecting old checkpoints'));
  }

  #answer<T>(
    work: Promise<T>,
    done: (result: T) => SchedulerEvent,
    failed: (error: SerializedError) => SchedulerEvent,
  ): void {
    work.then(
      (result) => this.dispatch(done(result)),
      (thrown) => this.dispatch(failed(MillraceError.from(thrown).toJSON())),
    );
  }

  #background(work: Promise<unknown>, what: string): void {
    work.catch((error) => {
      if (!this.#over) this.#options.logger.warn({ error: String(error) }, what);
    });
  }

  #scheduleCheckpoint(): void {
    const { clock, checkpointIntervalMs } = this.#options;
    this.#checkpointTimer = clock.schedule(checkpointIntervalMs, () => {
      if (this.#over) return;
      this.dispatch({ kind: 'checkpointDue', nowMs: clock.monotonicMs() });
      this.#scheduleCheckpoint();
    });
  }

  #awaitSlots(): void {
    const { clock, slotWaitMs } = this.#options;
    this.#slotTimer?.cancel();
    this.#slotTimer = clock.schedule(slotWaitMs, () => this.dispatch({ kind: 'slotsOverdue' }));
  }

  #onProgress(body: Uint8Array): void {
    for (const progress of decodeProgress(body)) {
      const before = this.#progress.get(progress.task);
      if (before === undefined || before.attempt <= progress.attempt) this.#progress.set(progress.task, progress);
    }
  }

  #end(error: SerializedError | undefined): void {
    this.#over = true;
    this.#checkpointTimer?.cancel();
    this.#slotTimer?.cancel();
    void this.#windUp().then(() => this.#resolveEnded(error === undefined ? undefined : MillraceError.fromJSON(error)));
  }

  /** A merge under way at the end is of use to nobody; what it has written goes, unless the daemon or the store is gone. */
  async #windUp(): Promise<void> {
    const { daemon, store } = this.#options;
    if (this.#reservations.size > 0) daemon.notify(SERVICE.stopCompacting, new Uint8Array(0));
    await Promise.all([this.#compacting, this.#collecting]);
    this.#collect(store, { thorough: true });
    await this.#collecting;
  }
}

function ignoreUnknownWriter(thrown: unknown): void {
  // The predecessor was never laid out (its own prepare failed): there is nothing to seal.
  if (!(thrown instanceof MillraceError) || thrown.code !== 'WRITER_UNKNOWN') throw thrown;
}
