import { type Logger, MillraceError, type SharedMemory, silentLogger } from '../base/index.js';
import { Arena } from './arena.js';
import { countedMemory } from './counted-memory.js';
import { ATTENTION_FINISHED, ATTENTION_PRESSURE, ATTENTION_SPILL, Cursors, cursorsRegion } from './cursors.js';
import { DOORBELLS_REGION, type Doorbell, MASTER_DOORBELL } from './doorbell.js';
import { createPointer, type LogPointer, openPointer, pointerRegion } from './log-pointer.js';
import { Reaper } from './reaper.js';
import type { RegionStore } from './region-store.js';
import { SHUFFLE_DEFAULTS, type ShuffleFaults, type ShuffleSettings } from './settings.js';
import { partitionLost, writerFenced } from './shuffle-errors.js';
import type { ShuffleEvent, ShuffleMaster, WriterDescriptor, WriterStatus } from './spi.js';
import type { ReadSpilled } from './spilled-reader.js';
import { Spiller } from './spiller.js';
import { LOG_PREFIX, logRegion, STATE_CLOSED, STATE_OPEN, STATE_REGISTERED, TaskLog } from './task-log.js';
import { type Predecessor, WriterRecord } from './writer-record.js';
import { checkWriter, decodeWriterSpec, withDefaults } from './writer-spec.js';

export interface LocalMasterOptions {
  readonly memory: SharedMemory;
  readonly doorbell: Doorbell;
  readonly settings?: Partial<ShuffleSettings>;
  readonly faults?: ShuffleFaults;
  /** Where data goes that has no room in memory; closed with the master. */
  readonly regions?: RegionStore;
  readonly logger?: Logger;
}

/**
 * The one who lays out, seals, trims and removes logs in shared memory. One per memory. Calls on one writer must not
 * overlap; they are queued here. What it knows can be rebuilt from the regions, apart from the epochs of released
 * writers (invariant 12), which it keeps as long as it lives.
 */
export class LocalMaster implements ShuffleMaster {
  readonly arena: Arena;
  readonly #options: LocalMasterOptions;
  readonly #settings: ShuffleSettings;
  readonly #writers = new Map<string, WriterRecord>();
  readonly #highestEpochs = new Map<string, number>();
  readonly #writerOfPartition = new Map<string, string>();
  /** Logs whose open slots may still be written by someone who was given up. */
  readonly #quarantined = new Map<
    number,
    { readonly writer: string; readonly epoch: number; readonly holder: string }
  >();
  readonly #handlers: ((event: ShuffleEvent) => void)[] = [];
  readonly #unlisten: () => void;
  readonly #spiller: Spiller | undefined;
  readonly #reaper: Reaper;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(options: LocalMasterOptions, arena: Arena) {
    this.#options = options;
    this.#settings = { ...SHUFFLE_DEFAULTS, ...options.settings };
    this.arena = arena;
    this.#unlisten = options.doorbell.onRing(MASTER_DOORBELL, () => this.attend());
    this.#spiller = this.#openSpiller();
    this.#reaper = new Reaper(this.#settings);
  }

  /** Lays the arena out, or takes over what an earlier master left in this memory. @throws `MEMORY_FULL`. */
  static async open(given: LocalMasterOptions): Promise<LocalMaster> {
    const options = { ...given, memory: countedMemory(given.memory) };
    const arena = await Arena.createOrOpen(options.memory, { ...SHUFFLE_DEFAULTS, ...options.settings });
    const { memory } = options;
    const hasDoorbells = (await memory.list()).includes(DOORBELLS_REGION);
    if (!hasDoorbells) memory.retire(await memory.create(DOORBELLS_REGION, 64));
    const master = new LocalMaster(options, arena);
    await master.#takeOver();
    return master;
  }

  register(writer: WriterDescriptor): Promise<void> {
    return this.#queue(async () => {
      checkWriter(writer);
      const highest = this.#highestEpochs.get(writer.writer) ?? 0;
      if (highest > writer.epoch) throw writerFenced(writer.writer, writer.epoch, highest);
      const known = this.#writers.get(writer.writer);
      if (known === undefined) await this.#layOut(writer);
      else if (known.log.descriptor.epoch < writer.epoch) await this.#succeed(known, writer);
      this.#highestEpochs.set(writer.writer, writer.epoch);
    });
  }

  seal(writer: string, epoch: number): Promise<{ readonly tail: number }> {
    return this.#queue(async () => {
      this.#highestEpochs.set(writer, Math.max(epoch, this.#highestEpochs.get(writer) ?? 0));
      const record = this.#writers.get(writer);
      if (record === undefined) return { tail: 0 };
      if (this.#options.faults?.noSeal === true) return { tail: record.log.tail };
      const tail = record.log.seal(epoch);
      this.#wakeWriter(record);
      return { tail };
    });
  }

  trim(partition: string, seqs: readonly number[]): Promise<void> {
    return this.#queue(async () => {
      const record = this.#writers.get(this.#writerOfPartition.get(partition) ?? '');
      if (record === undefined) return;
      record.trim(partition, seqs);
      this.#reclaim(record);
      record.sweepPredecessors(this.arena);
      await this.#spiller?.trim(partition, seqs);
    });
  }

  release(writer: string): Promise<void> {
    return this.#releaseAll(async () => [writer]);
  }

  releaseJob(job: string): Promise<void> {
    return this.#releaseAll(async () =>
      [...this.#writers].filter(([, { log }]) => log.descriptor.job === job).map(([writer]) => writer),
    );
  }

  async list(): Promise<readonly WriterStatus[]> {
    const { regions } = this.#options;
    const onDisk = regions === undefined ? undefined : (partition: string) => regions.ranges(partition);
    return this.#queue(async () => [...this.#writers.values()].map((record) => record.status(onDisk)));
  }

  onEvent(handler: (event: ShuffleEvent) => void): void {
    this.#handlers.push(handler);
  }

  /** Reads what went to disk. */
  readonly readSpilled: ReadSpilled = async (partition, subpartition, seq, bytesMax) => {
    const { regions } = this.#options;
    if (regions === undefined) throw partitionLost(partition, subpartition, seq, 'this service has no disk');
    return regions.read(partition, subpartition, seq, bytesMax);
  };

  /** How many are registered. */
  get writers(): number {
    return this.#writers.size;
  }

  /** Nobody hears of this attempt any more, so it is to publish nothing more; its thread may live, and write. */
  disconnected(writer: string, epoch: number): Promise<void> {
    return this.#queue(async () => void this.#sealAttempt(writer, epoch));
  }

  /** Whoever held this writer's memory is gone for certain, so nobody can write there any more. Implies its seal. */
  abandoned(writer: string, epoch: number): Promise<void> {
    return this.#queue(async () => this.#abandoned(writer, epoch));
  }

  /** Gives back what attempts may have written to whose threads are gone, or who closed though nobody heard of it. */
  reclaimOf(isGone: (holder: string) => boolean): Promise<void> {
    return this.#queue(async () => {
      const judged = new Map<string, boolean>();
      const gone = ({ holder }: { readonly holder: string }): boolean => {
        if (!judged.has(holder)) judged.set(holder, holder !== '' && isGone(holder));
        return judged.get(holder) === true;
      };
      for (const [writer, { log, predecessors }] of this.#writers) {
        for (const earlier of predecessors.filter((p) => !p.gone)) if (gone(earlier)) this.#gone(writer, earlier.epoch);
        if (log.state === STATE_OPEN && gone(log)) this.#abandoned(writer, log.descriptor.epoch);
      }
      for (const [number, held] of [...this.#quarantined]) {
        if (gone(held)) this.#gone(held.writer, held.epoch);
        else for (let slot = 0; slot < this.arena.slots; slot++) this.arena.giveFull(slot, number);
      }
    });
  }

  /** This attempt's writer was closed in an orderly way: it will write nowhere any more. */
  closed(writer: string, epoch: number): Promise<void> {
    return this.#queue(async () => this.#gone(writer, epoch));
  }

  /** Slots that nobody may use because a given-up writer might still write there. */
  get quarantinedSlots(): number {
    let slots = 0;
    for (let slot = 0; slot < this.arena.slots; slot++)
      if (this.#quarantined.has(this.arena.ownerOf(slot).owner)) slots++;
    return slots;
  }

  async close(): Promise<void> {
    this.#unlisten();
    await this.#tail.catch(() => {});
    const { memory } = this.#options;
    for (const { log, cursors, pointers } of this.#writers.values()) {
      for (const region of [log.region, cursors.region, ...pointers.map((p) => p.region)]) memory.retire(region);
    }
    await this.#spiller?.close();
    memory.retire(this.arena.region);
  }

  /** Looks for what writers and readers left word of; rung by them. */
  attend(): void {
    for (const record of this.#writers.values()) {
      const attention = record.cursors.takeAttention();
      if (attention === 0) continue;
      const { writer } = record.log.descriptor;
      if ((attention & ATTENTION_PRESSURE) !== 0) {
        const retainedBytes = record.status().partitions.reduce((sum, p) => sum + p.retainedBytes, 0);
        this.#emit({ kind: 'pressure', writer, retainedBytes });
        for (const name of this.#writers.keys()) void this.#spiller?.spill(name, true);
        this.#sweepFinished();
      }
      if ((attention & ATTENTION_SPILL) !== 0) void this.#spiller?.spill(writer, false);
      if ((attention & ATTENTION_FINISHED) !== 0) void this.#spiller?.finish(writer);
      for (const event of record.takeFlags()) this.#emit(event);
    }
  }

  #sealAttempt(writer: string, epoch: number): WriterRecord | undefined {
    const record = this.#writers.get(writer);
    if (record?.log.descriptor.epoch !== epoch) return undefined;
    record.log.seal(epoch + 1);
    return record;
  }

  #abandoned(writer: string, epoch: number): void {
    this.#gone(writer, epoch);
    this.#sealAttempt(writer, epoch)?.abandon(this.arena);
  }

  #gone(writer: string, epoch: number): void {
    for (const [number, held] of [...this.#quarantined]) {
      if (held.writer !== writer || held.epoch !== epoch) continue;
      for (let slot = 0; slot < this.arena.slots; slot++) this.arena.reclaim(slot, number);
      this.#quarantined.delete(number);
    }
    this.#writers.get(writer)?.predecessorGone(this.arena, epoch);
  }

  /** Releases what nobody wants any more; hears calls whose ring was lost. `isWanted`: its owner is here. */
  tidy(nowMs: number, isWanted: (writer: string) => boolean): Promise<void> {
    return this.#queue(async () => {
      this.attend();
      this.#spiller?.tryAgain([...this.#writers.keys()]);
      for (const { writer, reason } of this.#reaper.expired(this.#writers, nowMs, isWanted)) {
        await this.#release(writer);
        void this.#spiller?.drop(writer);
        this.#emit({ kind: 'expired', writer, reason });
      }
    });
  }

  /** Writers that closed do not trim for themselves. */
  #sweepFinished(): void {
    const low = !this.arena.hasFree(this.arena.slots >> 3);
    for (const record of this.#writers.values()) if (record.mayBeSwept) record.sweep(this.arena, low);
  }

  /** What is on disk goes too before it is answered: else it would be there again after a restart. */
  async #releaseAll(choose: () => Promise<readonly string[]>): Promise<void> {
    const writers = await this.#queue(async () => {
      const chosen = await choose();
      for (const writer of chosen) await this.#release(writer);
      return chosen;
    });
    await Promise.all(writers.map((writer) => this.#spiller?.drop(writer)));
  }

  async #release(writer: string): Promise<void> {
    const record = this.#writers.get(writer);
    if (record === undefined) return;
    this.#writers.delete(writer);
    const { memory } = this.#options;
    const { log } = record;
    for (const pointer of record.pointers) pointer.setLogNumber(0);
    for (const { partition } of log.descriptor.partitions) {
      this.#writerOfPartition.delete(partition);
      await memory.remove(pointerRegion('partition', partition));
    }
    await memory.remove(pointerRegion('writer', writer));
    log.markReleased();
    this.#wakeWriter(record);
    for (const { number, epoch, holder, gone } of [...record.predecessors, attemptOf(log)]) {
      record.freeSlots(this.arena, number, !gone);
      if (!gone) this.#quarantined.set(number, { writer, epoch, holder });
    }
    record.wakeReaders(this.#options.doorbell);
    await memory.remove(logRegion(log.number));
    await memory.remove(cursorsRegion(log.cursorsNumber));
    for (const region of [log.region, record.cursors.region, ...record.pointers.map((p) => p.region)]) {
      memory.retire(region);
    }
  }

  async #layOut(writer: WriterDescriptor): Promise<void> {
    const { memory } = this.#options;
    const number = this.arena.nextLogNumber();
    const cursorCount = writer.partitions.reduce((sum, p) => sum + p.subpartitions * p.consumers, 0);
    const made: string[] = [];
    try {
      for (const { partition } of writer.partitions) {
        const owner = this.#writerOfPartition.get(partition);
        if (owner !== undefined) throw partitionTaken(partition, owner);
      }
      const log = await TaskLog.create(memory, number, number, writer, this.#settings);
      made.push(log.region.name);
      const cursors = await Cursors.create(memory, number, cursorCount, writer.partitions.length);
      made.push(cursors.region.name);
      const pointers: LogPointer[] = [];
      for (const [ordinal, { partition }] of writer.partitions.entries()) {
        pointers.push(await createPointer(memory, 'partition', partition, ordinal));
        made.push(pointerRegion('partition', partition));
      }
      pointers.push(await createPointer(memory, 'writer', writer.writer, -1));
      this.#adopt(new WriterRecord(log, cursors, pointers, []));
      for (const pointer of pointers) pointer.setLogNumber(number);
    } catch (e) {
      for (const name of made) await memory.remove(name);
      throw e;
    }
  }

  /** The next attempt of the same lineage goes on where the sealed one stopped. */
  async #succeed(record: WriterRecord, writer: WriterDescriptor): Promise<void> {
    const { memory } = this.#options;
    const old = record.log;
    if (!samePartitions(old.descriptor, writer)) throw partitionsChanged(writer.writer);
    if (this.#options.faults?.noSeal !== true) old.seal(writer.epoch);
    const number = this.arena.nextLogNumber();
    // First the slots, then the copy: a slot the old writer reopens before it is handed over holds nothing retained.
    const predecessors = [...record.predecessors, attemptOf(old)];
    for (const predecessor of predecessors) {
      for (let slot = 0; slot < this.arena.slots; slot++) this.arena.handOver(slot, predecessor.number, number);
    }
    const log = await TaskLog.succeed(memory, old, number, writer.epoch);
    const { cursors, pointers } = record;
    this.#adopt(new WriterRecord(log, cursors, pointers, predecessors));
    for (const pointer of pointers) pointer.setLogNumber(number);
    this.#wakeWriter(record);
    record.wakeReaders(this.#options.doorbell);
    await memory.remove(logRegion(old.number));
    memory.retire(old.region);
  }

  #adopt(record: WriterRecord): void {
    const { writer, partitions } = record.log.descriptor;
    this.#writers.set(writer, record);
    for (const { partition } of partitions) this.#writerOfPartition.set(partition, writer);
  }

  /** Finds the logs of an earlier master. */
  async #takeOver(): Promise<void> {
    const { memory } = this.#options;
    for (const name of await memory.list()) {
      if (!name.startsWith(LOG_PREFIX)) continue;
      const log = await TaskLog.open(memory, Number(name.slice(LOG_PREFIX.length)), 'write');
      const { descriptor } = log;
      const pointers: LogPointer[] = [];
      for (const { partition } of descriptor.partitions) {
        const pointer = await openPointer(memory, 'partition', partition, 'write');
        if (pointer !== undefined) pointers.push(pointer);
      }
      const own = await openPointer(memory, 'writer', descriptor.writer, 'write');
      if (own?.logNumber !== log.number || pointers.length !== descriptor.partitions.length) {
        // Nothing points to it: its master died while it laid it out, or before it removed what a successor had replaced.
        if (own?.logNumber !== log.number) await memory.remove(logRegion(log.number));
        memory.retire(log.region);
        continue;
      }
      // A log to which nothing points may have none.
      const cursors = await Cursors.open(memory, log.cursorsNumber);
      this.#adopt(new WriterRecord(log, cursors, [...pointers, own], []));
      this.#highestEpochs.set(descriptor.writer, log.epoch);
    }
    await this.#takeOverDisks();
    this.attend();
  }

  /** What is complete on disk is there again, also after a reboot; what is not, and lost its memory, is gone. */
  async #takeOverDisks(): Promise<void> {
    for (const { writer, spec } of this.#options.regions?.recovered ?? []) {
      if (this.#writers.has(writer)) continue;
      if (spec === undefined) await this.#spiller?.drop(writer);
      else await this.#layOutSpilled(decodeWriterSpec(spec));
    }
    for (const [writer, record] of this.#writers) if (record.isComplete) void this.#spiller?.finish(writer);
  }

  async #layOutSpilled(writer: WriterDescriptor): Promise<void> {
    await this.#layOut(writer);
    const record = this.#writers.get(writer.writer) as WriterRecord;
    for (const [ordinal, { partition }] of writer.partitions.entries()) {
      const first = record.log.firstSubpartition[ordinal] as number;
      for (const [subpartition, { next, nextChain }] of this.#options.regions?.ranges(partition) ?? []) {
        record.log.restore(first + subpartition, next, nextChain);
      }
    }
    record.log.changeState(STATE_REGISTERED, STATE_CLOSED);
    this.#highestEpochs.set(writer.writer, writer.epoch);
  }

  #openSpiller(): Spiller | undefined {
    const { regions, logger = silentLogger(), faults } = this.#options;
    if (regions === undefined) {
      this.arena.setSpills(false);
      return undefined;
    }
    regions.onEvent((event) => {
      if (event.kind === 'lost' || event.kind === 'diskSetAside') this.#emit(event);
    });
    return new Spiller({
      store: regions,
      arena: this.arena,
      logger,
      ...(faults === undefined ? {} : { faults }),
      regionBytes: Math.min(this.#settings.spillBytes, this.arena.totalBytes / 8) * 2,
      recordOf: (writer) => this.#writers.get(writer),
      exclusively: (work) => this.#queue(work),
      onSpilled: (record) => {
        record.log.bumpTrimGeneration();
        this.#reclaim(record);
      },
    });
  }

  /** Memory that was given up goes back: by the writer, or here when it closed. */
  #reclaim(record: WriterRecord): void {
    if (record.mayBeSwept) record.sweep(this.arena, false);
    else this.#wakeWriter(record);
  }

  #wakeWriter(record: WriterRecord): void {
    const address = record.cursors.wakeWriter();
    if (address !== 0) this.#options.doorbell.ring(address);
  }

  #emit(event: ShuffleEvent): void {
    for (const handler of this.#handlers) handler(event);
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work, work);
    this.#tail = result;
    return result;
  }
}

/** An attempt as one that others follow. */
function attemptOf(log: TaskLog): Predecessor {
  const neverOpened = log.changeState(STATE_REGISTERED, STATE_CLOSED);
  const { epoch } = log.descriptor;
  return { number: log.number, epoch, holder: log.holder, gone: neverOpened || log.state === STATE_CLOSED };
}

function samePartitions(a: WriterDescriptor, b: WriterDescriptor): boolean {
  const shape = (w: WriterDescriptor) => JSON.stringify(withDefaults(w).partitions);
  return shape(a) === shape(b);
}

function partitionsChanged(writer: string): MillraceError {
  const message = `writer "${writer}" is registered with other partitions: a new lineage needs new names`;
  return new MillraceError('invalid', 'WRITER_CHANGED', message, { context: { writer } });
}

function partitionTaken(partition: string, owner: string): MillraceError {
  const message = `partition "${partition}" is registered already, by writer "${owner}"`;
  return new MillraceError('invalid', 'PARTITION_TAKEN', message, { context: { partition, owner } });
}
