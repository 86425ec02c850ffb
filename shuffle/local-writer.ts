import { type Clock, MillraceError, xxh64 } from '../base/index.js';
import type { Arena } from './arena.js';
import { type BufferCodec, codecOf } from './buffer-codec.js';
import { ChainHash } from './chain-hash.js';
import { ATTENTION_FINISHED, ATTENTION_PRESSURE, ATTENTION_SPILL, type Cursors } from './cursors.js';
import { type Doorbell, MASTER_DOORBELL } from './doorbell.js';
import { FrameLog, type StepOutput } from './frame-log.js';
import { LocalPartitionWriter, type Stager } from './local-partition-writer.js';
import type { ShuffleMetrics } from './metrics.js';
import type { ShuffleFaults, ShuffleSettings } from './settings.js';
import { shuffleMemoryFull, writerFenced } from './shuffle-errors.js';
import { SlotPool } from './slot-pool.js';
import {
  BUFFER_END,
  type BufferKind,
  type ResultPartitionWriter,
  type TaskWriter,
  type WriterDescriptor,
} from './spi.js';
import { SubpartitionLog } from './subpartition-log.js';
import { STATE_CLOSED, STATE_OPEN, type TaskLog } from './task-log.js';
import { Waiter } from './waiter.js';

export interface WriterParts {
  readonly log: TaskLog;
  readonly cursors: Cursors;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly doorbell: Doorbell;
  readonly settings: ShuffleSettings;
  readonly metrics: ShuffleMetrics;
  readonly faults: ShuffleFaults;
  /** A doorbell address of this writer alone. */
  readonly address: number;
  readonly onClose: () => void;
}

/**
 * Writes a task log in shared memory: bytes into the arena, records into the index, a frame into the frame ring, and
 * then one compare-and-swap that makes the step exist.
 */
export class LocalTaskWriter implements TaskWriter, Stager {
  readonly partitions: readonly ResultPartitionWriter[];
  readonly #parts: WriterParts;
  readonly #descriptor: WriterDescriptor;
  readonly #subpartitions: SubpartitionLog[];
  readonly #pool: SlotPool;
  readonly #frames: FrameLog;
  readonly #waiter: Waiter;
  readonly #chainHash = new ChainHash();
  readonly #codecs: readonly (BufferCodec | undefined)[];
  readonly #staged: StepOutput[] = [];
  /** Doorbells to ring after a publication; empty in between. */
  readonly #sleepers: number[] = [];
  /** Subpartitions that had too much unconsumed when last looked at. */
  readonly #over = new Set<SubpartitionLog>();
  readonly #buffersMax: number;
  readonly #dataRecordsMax: number;
  #position: number;
  #short = false;
  /** The last data buffer took several slots: one slot is no room for the next. */
  #large = false;
  #seenTrims = -1;
  /** Since the last trim. */
  #saidPressure = false;
  #saidSpill = false;
  readonly #saidDegraded = new Set<number>();
  /** Bytes of kept partitions that are in memory. */
  #keptBytes = 0;
  /** Kept subpartitions that fill a quarter of their index ring or more. */
  readonly #deep = new Set<SubpartitionLog>();
  /** Subpartitions without their END. */
  #unfinished: number;
  /** This step has the last END, and something is kept. */
  #finishing = false;
  #fenced: MillraceError | undefined;
  #closed = false;

  constructor(parts: WriterParts) {
    const { log, cursors, arena, settings } = parts;
    this.#parts = parts;
    this.#descriptor = log.descriptor;
    this.#position = log.tail;
    this.#subpartitions = log.descriptor.partitions.flatMap((p, partition) =>
      Array.from({ length: p.subpartitions }, (_, s) => new SubpartitionLog(log, cursors, partition, s)),
    );
    this.#codecs = log.descriptor.partitions.map(({ compression = 'none' }) => codecOf(compression));
    this.#pool = new SlotPool(arena, log.number);
    for (const sub of this.#subpartitions) this.#adopt(sub);
    this.#pool.giveUnadopted();
    this.#unfinished = this.#subpartitions.filter((sub) => log.finished(sub.index) === 0).length;
    this.#frames = new FrameLog(log);
    this.#buffersMax = Math.min(settings.unconsumedBuffersMax, log.ringRecords / 4);
    this.#dataRecordsMax = log.ringRecords - Math.max(16, log.ringRecords / 8);
    this.partitions = log.descriptor.partitions.map((descriptor, partition) => {
      const first = log.firstSubpartition[partition] as number;
      const subpartitions = this.#subpartitions.slice(first, first + descriptor.subpartitions);
      return new LocalPartitionWriter(descriptor, subpartitions, this);
    });
    const { address } = parts;
    const isReady = () => this.available;
    const arm = () => {
      for (const sub of this.#over) {
        sub.wish(sub.lagBytesMax(settings.unconsumedBytesMax) / 2, this.#buffersMax / 2);
      }
      cursors.sleepWriter(address, this.#short);
    };
    this.#waiter = new Waiter(parts.clock, parts.doorbell, address, isReady, arm);
  }

  get position(): number {
    return this.#position;
  }

  get available(): boolean {
    if (this.#fenced !== undefined || this.#closed || this.#parts.log.epoch !== this.#descriptor.epoch) return true;
    for (const sub of this.#over) {
      sub.refreshConsumed();
      if (!this.#mayResume(sub)) return false;
      this.#over.delete(sub);
      sub.forgetWish();
    }
    // Others may have taken what was free when this writer last looked.
    const { slotBytes } = this.#parts.arena;
    if (this.#short || !this.#pool.hasRoom(slotBytes >> 3)) this.#short = !this.#findRoom();
    // Asked in any case: a writer that is short of memory has to say that its kept data is to go to disk.
    const awaitsSpill = this.#awaitsSpill();
    return !this.#short && !awaitsSpill;
  }

  async whenAvailable(timeoutMs: number): Promise<void> {
    return this.#waiter.wait(timeoutMs);
  }

  async stored(): Promise<void> {
    if (this.#fenced !== undefined) throw this.#fenced;
  }

  publish(determinants: Uint8Array): number {
    this.#checkOpen();
    const { log, metrics } = this.#parts;
    const { epoch } = this.#descriptor;
    if (log.epoch !== epoch) throw this.#fence();
    if (this.#staged.length === 0 && determinants.length === 0) return this.#position;
    this.#frames.append(epoch, this.#position + 1, determinants, this.#staged);
    if (!log.publish(epoch, this.#position)) throw this.#fence();
    this.#position++;
    metrics.stepsOut++;
    this.#ringReaders();
    this.#staged.length = 0;
    for (const sub of this.#over) sub.published = sub.next;
    if (this.#finishing) this.#callMaster(ATTENTION_FINISHED);
    this.#finishing = false;
    if (log.trimGeneration !== this.#seenTrims) this.#reclaim();
    return this.#position;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiter.close();
    this.#parts.log.changeState(STATE_OPEN, STATE_CLOSED);
    this.#pool.close();
    if (this.#parts.log.released) this.#giveBackAll();
    this.#parts.onClose();
  }

  /** Stages one data buffer. For the partition writers of this folder, which may know its checksum. */
  stageData(sub: SubpartitionLog, bytes: Uint8Array, rows: number, checksum = xxh64(bytes)): void {
    this.#checkOpen();
    // Half way, so that there is time to move it to disk.
    if (sub.next - sub.first >= this.#dataRecordsMax / 2) this.#sayPressure();
    if (sub.next - sub.first >= this.#dataRecordsMax) this.#relieve(sub);
    if (sub.next - sub.first >= this.#dataRecordsMax) {
      const { log } = this.#parts;
      const hint = sub.kept
        ? `"${this.#nameOf(sub)}" keeps ${sub.next - sub.first} buffers in memory; the service needs a folder to spill to`
        : `${sub.unconsumedBuffers} buffers of "${this.#nameOf(sub)}" wait to be consumed`;
      throw shuffleMemoryFull(log.region.name, log.region.bytes.length, bytes.length, hint);
    }
    const stored = this.#codecs[sub.partition]?.compress(bytes) ?? bytes;
    const offset = this.#store(stored, false);
    this.#append(sub, 0, rows, offset, stored.length, bytes.length, checksum);
    if (this.#isOver(sub)) {
      sub.refreshConsumed();
      if (this.#isOver(sub)) this.#over.add(sub);
    }
  }

  /** Stages one event in each of these subpartitions; its payload is stored once. */
  stageEvent(subs: readonly SubpartitionLog[], kind: BufferKind, payload: Uint8Array): void {
    this.#checkOpen();
    const { ringRecords } = this.#parts.log;
    for (const sub of subs) {
      if (sub.next - sub.first >= this.#dataRecordsMax) this.#relieve(sub);
      if (sub.next - sub.first >= ringRecords) {
        const { name, bytes } = this.#parts.log.region;
        throw shuffleMemoryFull(name, bytes.length, payload.length, `"${this.#nameOf(sub)}" is full of events`);
      }
    }
    const checksum = xxh64(payload);
    const offset = payload.length === 0 ? 0 : this.#store(payload, true);
    for (const sub of subs) this.#append(sub, kind, 0, offset, payload.length, payload.length, checksum);
    if (!this.#mayTake(1)) this.#trimConsumed();
  }

  #append(
    sub: SubpartitionLog,
    kind: BufferKind,
    rows: number,
    offset: number,
    length: number,
    rawLength: number,
    checksum: bigint,
  ): void {
    const { log, metrics } = this.#parts;
    const seq = sub.next;
    const position = this.#position + 1;
    const chain = this.#chainHash.next(sub.chain, checksum);
    const record = log.recordOf(sub.index, seq);
    log.writeRecord(record, {
      seq,
      position,
      kind,
      rows,
      length,
      rawLength,
      offset,
      checksum,
      chain,
    });
    if (kind === BUFFER_END) {
      log.setFinished(sub.index, seq + 1);
      this.#unfinished--;
      this.#finishing = this.#unfinished === 0 && this.#subpartitions.some(({ kept }) => kept);
    }
    if (length > 0) this.#pool.refer(offset);
    sub.next = seq + 1;
    sub.chain = chain;
    if (sub.kept) {
      this.#keptBytes += length;
      // Nobody holds it back.
      sub.consumed = sub.next;
      if (sub.next - sub.first >= log.ringRecords / 4) this.#deep.add(sub);
    } else sub.unconsumedBytes += length;
    log.setNextHint(sub.index, sub.next);
    const { partition, subpartition } = sub;
    this.#staged.push({ partition, subpartition, seq, record });
    metrics.buffersOut++;
    metrics.bytesOut += length;
  }

  #store(bytes: Uint8Array, event: boolean): number {
    const { arena, clock, faults } = this.#parts;
    const offset = this.#place(bytes.length, event);
    if (faults.visibleBeforeStored === true) {
      const late = bytes.slice();
      clock.soon(() => arena.bytes.set(late, offset));
    } else arena.bytes.set(bytes, offset);
    if (bytes.length > arena.slotBytes) this.#pool.stored(offset);
    return offset;
  }

  #place(length: number, event: boolean): number {
    if (!event) this.#large = length > this.#parts.arena.slotBytes;
    if (!this.#pool.hasRoom(length)) this.#beforeTakingSlot();
    let offset = this.#pool.allocate(length);
    if (offset < 0) {
      this.#trimConsumed();
      offset = this.#pool.allocate(length);
    }
    if (offset < 0 && event) offset = this.#pool.allocateReserved(length);
    if (offset >= 0) return offset;
    this.#short = true;
    const { arena } = this.#parts;
    const hint =
      length > arena.totalBytes / 2 ? 'enlarge the arena' : 'consumers are too slow, or the arena is too small';
    throw shuffleMemoryFull(arena.region.name, arena.totalBytes, length, hint);
  }

  /** Once per slot: reuse what was trimmed, and notice when memory gets low. */
  #beforeTakingSlot(): void {
    this.#reclaim();
    if (this.#pool.recyclable > 0) return;
    if (!this.#mayTake(2)) this.#sayPressure();
    this.#short = !this.#findRoom();
  }

  #findRoom(): boolean {
    if (this.#hasSlot()) return true;
    this.#trimConsumed();
    if (this.#hasSlot()) return true;
    // Kept data that cannot go to disk never makes room: then it is better to fail than to wait.
    return this.#keptBytes > 0 && !this.#parts.arena.spills;
  }

  #hasSlot(): boolean {
    return this.#pool.recyclable > 0 || (this.#pool.isSpent && !this.#large) || this.#mayTake(1);
  }

  /**
   * A writer holds at most as many slots as are free (dynamic threshold: Choudhury and Hahne, 1998), so n greedy ones
   * leave 1/(n+1) of the arena to whoever comes next, and nobody can be starved by data that others do not read.
   */
  #mayTake(factor: number): boolean {
    const { arena } = this.#parts;
    const { owned } = this.#pool;
    return arena.hasFree(owned < SLOTS_MIN ? 1 : owned * factor);
  }

  /** Lets go what the master trimmed and all consumers consumed. */
  #reclaim(): void {
    const { log } = this.#parts;
    const generation = log.trimGeneration;
    if (generation !== this.#seenTrims) {
      this.#saidPressure = false;
      this.#saidSpill = false;
      this.#saidDegraded.clear();
    }
    this.#seenTrims = generation;
    for (const sub of this.#subpartitions) {
      if (sub.limit > sub.first) this.#trim(sub, sub.limit);
    }
  }

  /** At the quota: consumed buffers go although no checkpoint covers them, and the master is told (invariant 14). */
  #trimConsumed(): void {
    for (const sub of this.#subpartitions) this.#trimConsumedOf(sub);
  }

  #trimConsumedOf(sub: SubpartitionLog): void {
    const { cursors, doorbell } = this.#parts;
    this.#trim(sub, sub.kept ? sub.limit : Number.POSITIVE_INFINITY);
    if (sub.mayForgetConsumed || this.#saidDegraded.has(sub.partition)) return;
    this.#saidDegraded.add(sub.partition);
    cursors.flagDegraded(sub.partition);
    doorbell.ring(MASTER_DOORBELL);
  }

  /** A full index ring: first what was trimmed goes, then what was consumed. */
  #relieve(sub: SubpartitionLog): void {
    this.#sayPressure();
    this.#trim(sub, sub.limit);
    if (sub.next - sub.first >= this.#dataRecordsMax) this.#trimConsumedOf(sub);
  }

  #sayPressure(): void {
    if (this.#saidPressure) return;
    this.#saidPressure = true;
    this.#callMaster(ATTENTION_PRESSURE);
  }

  #callMaster(attention: number): void {
    this.#parts.cursors.callAttention(attention);
    this.#parts.doorbell.ring(MASTER_DOORBELL);
  }

  /** Lets buffers below `limit` go that nobody needs in memory. */
  #trim(sub: SubpartitionLog, limit: number): void {
    sub.trimTo(limit, (offset, length) => {
      this.#pool.drop(offset);
      if (sub.kept) this.#keptBytes -= length;
    });
  }

  /** Kept data waits for the disk only; where there is none it fills the memory. */
  #awaitsSpill(): boolean {
    const { arena, log, settings } = this.#parts;
    if (this.#keptBytes === 0 || !arena.spills) return false;
    const spillBytes = Math.min(settings.spillBytes, arena.totalBytes / 8);
    if (log.trimGeneration !== this.#seenTrims) this.#reclaim();
    for (const sub of this.#deep) if (sub.next - sub.first < log.ringRecords / 4) this.#deep.delete(sub);
    // The master would find nothing, and say nothing: this writer, having asked, would not ask again.
    if (this.#keptBytes < spillBytes && this.#deep.size === 0) return false;
    if (!this.#saidSpill && this.#staged.length === 0) {
      this.#saidSpill = true;
      this.#callMaster(ATTENTION_SPILL);
    }
    let full = this.#keptBytes >= 2 * spillBytes;
    for (const sub of this.#deep) full ||= sub.next - sub.first >= log.ringRecords / 2;
    return full;
  }

  #isOver(sub: SubpartitionLog): boolean {
    if (this.#parts.faults.retainedPushesBack === true && sub.next - sub.first > RETAINED_MAX) return true;
    return sub.lagsTooFar(this.#parts.settings.unconsumedBytesMax, this.#buffersMax);
  }

  /**
   * Half of the limit must be free again: with less, writer and reader wake each other for every other buffer. Where
   * the reader has all there is, the rest is not published yet, and waiting would be for ever.
   */
  #mayResume(sub: SubpartitionLog): boolean {
    if (this.#parts.faults.retainedPushesBack === true && sub.next - sub.first > RETAINED_MAX) return false;
    if (sub.consumed >= sub.published) return true;
    const bytesMax = sub.lagBytesMax(this.#parts.settings.unconsumedBytesMax) / 2;
    return sub.unconsumedBytes <= bytesMax && sub.unconsumedBuffers <= this.#buffersMax / 2;
  }

  #ringReaders(): void {
    const { cursors, doorbell, log } = this.#parts;
    const sleepers = this.#sleepers;
    let last: StepOutput | undefined;
    for (const output of this.#staged) {
      const isSame = output.subpartition === last?.subpartition && output.partition === last.partition;
      last = output;
      if (isSame) continue;
      const consumers = log.descriptor.partitions[output.partition]?.consumers ?? 0;
      const first = (log.firstCursor[output.partition] as number) + output.subpartition * consumers;
      const sub = this.#subpartitions[(log.firstSubpartition[output.partition] as number) + output.subpartition];
      // Who has to be waited for is not left to nap.
      const isOver = this.#over.size > 0 && this.#over.has(sub as SubpartitionLog);
      for (let cursor = first; cursor < first + consumers; cursor++) {
        const address = isOver ? cursors.wake(cursor) : cursors.wakeAt(cursor, sub?.next ?? 0);
        // A gate sleeps on all its channels, be they thousands, at one address.
        if (address !== 0 && address !== sleepers.at(-1)) sleepers.push(address);
      }
    }
    if (sleepers.length === 0) return;
    doorbell.ringAll(sleepers);
    sleepers.length = 0;
  }

  #adopt(sub: SubpartitionLog): void {
    const { log } = this.#parts;
    for (let seq = sub.first; seq < sub.next; seq++) {
      const record = log.recordOf(sub.index, seq);
      const length = log.length(record);
      if (length > 0) this.#pool.adopt(log.offset(record), length);
      if (sub.kept) this.#keptBytes += length;
    }
  }

  /** After a release nobody refers to any slot of this writer. */
  #giveBackAll(): void {
    const { arena, log } = this.#parts;
    for (let slot = 0; slot < arena.slots; slot++) {
      if (arena.ownerOf(slot).owner === log.number) arena.give(slot, log.number);
    }
  }

  #nameOf(sub: SubpartitionLog): string {
    return `${this.#descriptor.partitions[sub.partition]?.partition}[${sub.subpartition}]`;
  }

  #fence(): MillraceError {
    this.#fenced ??= writerFenced(this.#descriptor.writer, this.#descriptor.epoch);
    return this.#fenced;
  }

  #checkOpen(): void {
    if (this.#fenced !== undefined) throw this.#fenced;
    if (!this.#closed) return;
    throw new MillraceError('closed', 'WRITER_CLOSED', `writer "${this.#descriptor.writer}" is closed`);
  }
}

/** So many slots any writer may hold: the current one, the reserve for events, and two that are read. */
const SLOTS_MIN = 4;
/** Buffers, of a writer broken on purpose. */
const RETAINED_MAX = 8;
