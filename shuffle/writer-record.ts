import type { Arena } from './arena.js';
import type { Cursors } from './cursors.js';
import type { Doorbell } from './doorbell.js';
import type { FinishedRange } from './finish-record.js';
import type { LogPointer } from './log-pointer.js';
import type { ShuffleEvent, WriterStatus } from './spi.js';
import { SubpartitionLog } from './subpartition-log.js';
import { STATE_CLOSED, STATE_OPEN, type TaskLog } from './task-log.js';

/** An earlier attempt of a writer, by the number of its log. */
export interface Predecessor {
  readonly number: number;
  readonly epoch: number;
  /** The thread that may still write: see `TaskLog.holder`. */
  readonly holder: string;
  /** Known to be able to write nowhere any more. */
  readonly gone: boolean;
}

/** What the master holds of one writer. */
export class WriterRecord {
  readonly log: TaskLog;
  readonly cursors: Cursors;
  readonly pointers: readonly LogPointer[];
  /** Earlier attempts that may own slots still. */
  readonly #predecessors: Predecessor[];

  constructor(log: TaskLog, cursors: Cursors, pointers: readonly LogPointer[], predecessors: readonly Predecessor[]) {
    this.log = log;
    this.cursors = cursors;
    this.pointers = pointers;
    this.#predecessors = [...predecessors];
  }

  get predecessors(): readonly Predecessor[] {
    return this.#predecessors;
  }

  /** Whoever was the attempt of this epoch can write nowhere any more. */
  predecessorGone(arena: Arena, epoch: number): void {
    for (const [i, predecessor] of this.#predecessors.entries()) {
      if (predecessor.epoch === epoch) this.#predecessors[i] = { ...predecessor, gone: true };
    }
    this.sweepPredecessors(arena);
  }

  /** Frees the slots of earlier attempts that nobody reads any more: FULL ones, and all of those that are gone. */
  sweepPredecessors(arena: Arena): void {
    if (this.#predecessors.length === 0) return;
    const used = this.#slotsFrom(arena, (sub) => Math.min(sub.first, this.log.trim(sub.index)));
    for (const [i, { number, gone }] of [...this.#predecessors.entries()].reverse()) {
      let left = 0;
      for (let slot = 0; slot < arena.slots; slot++) {
        if (arena.ownerOf(slot).owner !== number) continue;
        if (used.has(slot)) left++;
        else if (gone) arena.reclaim(slot, number);
        else arena.giveFull(slot, number);
      }
      if (gone && left === 0) this.#predecessors.splice(i, 1);
    }
  }

  /** Whether the writer closed, so that trimming its log is the master's business. */
  get mayBeSwept(): boolean {
    return this.log.state === STATE_CLOSED;
  }

  trim(partition: string, seqs: readonly number[]): void {
    const ordinal = this.log.descriptor.partitions.findIndex((p) => p.partition === partition);
    const first = this.log.firstSubpartition[ordinal] as number;
    for (const [subpartition, seq] of seqs.entries()) {
      if (seq > this.log.trim(first + subpartition)) this.log.setTrim(first + subpartition, seq);
    }
    this.log.bumpTrimGeneration();
  }

  /** Trims what was trimmed by the master, or all that is consumed, and frees the slots nothing refers to any more. */
  sweep(arena: Arena, consumedToo: boolean): void {
    const { log } = this;
    for (const sub of this.subpartitions()) {
      sub.trimTo(consumedToo && !sub.kept ? Number.POSITIVE_INFINITY : sub.limit, () => {});
      if (!sub.mayForgetConsumed) this.cursors.flagDegraded(sub.partition);
    }
    const used = this.#slotsFrom(arena, (sub) => sub.first);
    for (let slot = 0; slot < arena.slots; slot++) {
      if (used.has(slot)) continue;
      const { owner, full } = arena.ownerOf(slot);
      if (full && owner === log.number) arena.give(slot, log.number);
    }
  }

  /** The writer's process is gone: its log is as if it had been closed. */
  abandon(arena: Arena): void {
    if (!this.log.changeState(STATE_OPEN, STATE_CLOSED)) return;
    for (let slot = 0; slot < arena.slots; slot++) {
      if (arena.ownerOf(slot).owner === this.log.number) arena.markFull(slot, this.log.number);
    }
    this.sweep(arena, false);
  }

  /** Frees the slots of a log; open ones only when nobody can write there. */
  freeSlots(arena: Arena, number: number, writerMayLive: boolean): void {
    for (let slot = 0; slot < arena.slots; slot++) {
      if (arena.ownerOf(slot).owner !== number) continue;
      if (writerMayLive) arena.giveFull(slot, number);
      else arena.reclaim(slot, number);
    }
  }

  /** Events that were flagged in the log and not yet told. */
  takeFlags(): readonly ShuffleEvent[] {
    const events: ShuffleEvent[] = [];
    for (const [ordinal, { partition }] of this.log.descriptor.partitions.entries()) {
      if (this.cursors.takeLost(ordinal)) {
        events.push({ kind: 'lost', partition, reason: 'a consumer needs buffers that are no longer retained' });
      }
      if (this.cursors.takeDegraded(ordinal)) {
        const first = this.log.firstSubpartition[ordinal] as number;
        events.push({ kind: 'degraded', partition, firstSeq: this.log.first(first) });
      }
    }
    return events;
  }

  /** Every partition has its END, and something is kept. */
  get isComplete(): boolean {
    const subs = this.subpartitions();
    return subs.some(({ kept }) => kept) && subs.every(({ index }) => this.log.finished(index) > 0);
  }

  /** Where kept subpartitions end, whether or not a disk ever saw the last of it: what was trimmed before is never stored. */
  ends(): FinishedRange[] {
    const { log } = this;
    const kept = this.subpartitions().filter((sub) => sub.kept && log.finished(sub.index) > 0);
    return kept.map(({ partition, subpartition, next, chain }) => ({
      partition: log.descriptor.partitions[partition]?.partition ?? '',
      subpartition,
      next,
      nextChain: chain,
    }));
  }

  get #cursorCount(): number {
    return this.log.descriptor.partitions.reduce((sum, p) => sum + p.subpartitions * p.consumers, 0);
  }

  /** Changes whenever anybody writes, reads, trims or attaches. */
  signsOfLife(): string {
    const { log, cursors } = this;
    const consumed: string[] = [];
    for (let cursor = 0; cursor < this.#cursorCount; cursor++) {
      consumed.push(`${cursors.generation(cursor)}.${cursors.consumedLow(cursor)}`);
    }
    return `${log.epoch} ${log.tail} ${log.trimGeneration} ${log.state} ${consumed.join(' ')}`;
  }

  wakeReaders(doorbell: Doorbell): void {
    for (let cursor = 0; cursor < this.#cursorCount; cursor++) {
      const address = this.cursors.wake(cursor);
      if (address !== 0) doorbell.ring(address);
    }
  }

  /** `onDisk`: what was spilled of a partition, by subpartition. */
  status(onDisk?: (partition: string) => ReadonlyMap<number, { readonly first: number }>): WriterStatus {
    const { log } = this;
    const { writer, epoch, job } = log.descriptor;
    const subs = this.subpartitions();
    return {
      writer,
      epoch: Math.max(epoch, log.epoch),
      sealed: log.epoch > epoch,
      tail: log.tail,
      job,
      partitions: log.descriptor.partitions.map((p, ordinal) => {
        const own = subs.filter((sub) => sub.partition === ordinal);
        const spilled = onDisk?.(p.partition);
        const first = (sub: SubpartitionLog) => {
          const seq = spilled?.get(sub.subpartition)?.first ?? sub.first;
          return Math.min(sub.first, Math.max(seq, log.trim(sub.index)));
        };
        return {
          partition: p.partition,
          type: p.type,
          finished: own.every((sub) => log.finished(sub.index) > 0),
          firstSeqs: own.map(first),
          nextSeqs: own.map((sub) => sub.next),
          retainedBytes: own.reduce((sum, sub) => sum + sub.bytesBetween(sub.first, sub.next), 0),
        };
      }),
    };
  }

  /** The slots in which buffers from some seq on lie. */
  #slotsFrom(arena: Arena, from: (sub: SubpartitionLog) => number): ReadonlySet<number> {
    const { log } = this;
    const used = new Set<number>();
    for (const sub of this.subpartitions()) {
      for (let seq = Math.max(from(sub), sub.next - log.ringRecords); seq < sub.next; seq++) {
        const record = log.recordOf(sub.index, seq);
        const length = log.holds(record, seq) ? log.length(record) : 0;
        if (length === 0) continue;
        const slot = arena.slotAt(log.offset(record));
        for (let i = 0; i === 0 || i * arena.slotBytes < length; i++) used.add(slot + i);
      }
    }
    return used;
  }

  /** What the log holds now of each subpartition. */
  subpartitions(): SubpartitionLog[] {
    return this.log.descriptor.partitions.flatMap((p, partition) =>
      Array.from({ length: p.subpartitions }, (_, s) => new SubpartitionLog(this.log, this.cursors, partition, s)),
    );
  }
}
