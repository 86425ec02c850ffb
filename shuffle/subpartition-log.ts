import type { Cursors } from './cursors.js';
import type { PartitionDescriptor } from './spi.js';
import type { TaskLog } from './task-log.js';
import { isKept, retentionOf } from './writer-spec.js';

/**
 * The writer's (or, for a log whose writer is gone, the master's) view of one subpartition: what is retained, what is
 * consumed, and what may go.
 *
 *     0 .. trimmed away .. first .. retained .. consumed .. unconsumed .. next
 */
export class SubpartitionLog {
  /** Index into the log's subpartitions, and into the partition's own. */
  readonly index: number;
  readonly subpartition: number;
  readonly partition: number;
  readonly #log: TaskLog;
  readonly #cursors: Cursors;
  readonly #firstCursor: number;
  readonly #consumers: number;
  /** Consumers do not hold it back: what leaves memory is on disk. */
  readonly kept: boolean;
  readonly #maxLagBytes: number | undefined;
  readonly #goesWhenConsumed: boolean;
  next: number;
  /** All below are published. */
  published: number;
  chain: bigint;
  first: number;
  consumed: number;
  unconsumedBytes = 0;

  constructor(log: TaskLog, cursors: Cursors, partition: number, subpartition: number) {
    this.#log = log;
    this.#cursors = cursors;
    this.partition = partition;
    this.subpartition = subpartition;
    this.index = (log.firstSubpartition[partition] as number) + subpartition;
    const descriptor = log.descriptor.partitions[partition] as PartitionDescriptor;
    this.#consumers = descriptor.consumers;
    this.kept = isKept(descriptor);
    this.#goesWhenConsumed = !this.kept && retentionOf(descriptor) === 'consumed';
    this.#maxLagBytes = descriptor.maxLagBytes;
    this.#firstCursor = (log.firstCursor[partition] as number) + subpartition * this.#consumers;
    this.first = log.first(this.index);
    this.next = log.publishedNext(this.index);
    this.published = this.next;
    this.chain = this.chainBefore(this.next);
    this.consumed = this.first;
    this.unconsumedBytes = this.bytesBetween(this.first, this.next);
    this.refreshConsumed();
  }

  get unconsumedBuffers(): number {
    return this.next - this.consumed;
  }

  /** Whether its consumers lag so far behind that its writer has to wait. */
  lagsTooFar(bytesMax: number, buffersMax: number): boolean {
    return this.unconsumedBytes >= this.lagBytesMax(bytesMax) || this.unconsumedBuffers >= buffersMax;
  }

  /** Its own limit, or the service's. */
  lagBytesMax(bytesMax: number): number {
    return this.#maxLagBytes ?? bytesMax;
  }

  /** Seq below which consumed buffers need no memory: trimmed, or on disk, or not wanted twice. */
  get limit(): number {
    if (this.#goesWhenConsumed) return Number.POSITIVE_INFINITY;
    return Math.max(this.#log.trim(this.index), this.#log.spilled(this.index));
  }

  /** Whether its retention allows that everything below `first` is nowhere any more. */
  get mayForgetConsumed(): boolean {
    return this.#goesWhenConsumed || this.first <= this.limit;
  }

  /** Index of the cursor of one consumer. */
  cursor(consumer: number): number {
    return this.#firstCursor + consumer;
  }

  /** Reads the consumers' cursors; the slowest counts. It may go back when a consumer attached again. */
  refreshConsumed(): void {
    const consumed = this.#slowestCursor();
    if (consumed > this.consumed) this.unconsumedBytes -= this.bytesBetween(this.consumed, consumed);
    else if (consumed < this.consumed) this.unconsumedBytes += this.bytesBetween(consumed, this.consumed);
    this.consumed = consumed;
  }

  /** Asks to be woken when at most so much is unconsumed, or all that was published is consumed. */
  wish(bytesMax: number, buffersMax: number): void {
    let seq = Math.max(this.consumed, this.next - buffersMax);
    for (let bytes = this.bytesBetween(seq, this.next); bytes > bytesMax && seq < this.published; seq++) {
      bytes -= this.#log.length(this.#log.recordOf(this.index, seq));
    }
    const wished = Math.min(seq, this.published);
    for (let consumer = 0; consumer < this.#consumers; consumer++) {
      const cursor = this.#firstCursor + consumer;
      // Who is past it already must not ring at every buffer.
      if (((this.#cursors.consumedLow(cursor) - wished) | 0) < 0) this.#cursors.wish(cursor, wished);
      else this.#cursors.forgetWish(cursor);
    }
  }

  forgetWish(): void {
    for (let consumer = 0; consumer < this.#consumers; consumer++) {
      this.#cursors.forgetWish(this.#firstCursor + consumer);
    }
  }

  /** Lets consumed buffers below `limit` go; calls `drop` with arena offset and length of each that had bytes. */
  trimTo(limit: number, drop: (offset: number, length: number) => void): void {
    this.refreshConsumed();
    const before = this.first;
    const end = Math.min(limit, this.consumed);
    if (end <= before) return;
    this.#log.setFirst(this.index, end, this.chainBefore(end));
    // A consumer attaching at an older seq moves its cursor first and looks at `first` afterwards: one of us sees the other.
    if (this.#slowestCursor() < end) {
      this.#log.setFirst(this.index, before, this.chainBefore(before));
      return;
    }
    for (let seq = before; seq < end; seq++) {
      const record = this.#log.recordOf(this.index, seq);
      const length = this.#log.length(record);
      if (length > 0) drop(this.#log.offset(record), length);
    }
    this.first = end;
  }

  chainBefore(seq: number): bigint {
    if (seq === this.first) return this.#log.firstChain(this.index);
    return this.#log.chain(this.#log.recordOf(this.index, seq - 1));
  }

  bytesBetween(from: number, to: number): number {
    let bytes = 0;
    for (let seq = Math.max(from, this.first); seq < to; seq++) {
      bytes += this.#log.length(this.#log.recordOf(this.index, seq));
    }
    return bytes;
  }

  #slowestCursor(): number {
    if (this.kept) return this.next;
    let slowest = this.next;
    for (let consumer = 0; consumer < this.#consumers; consumer++) {
      const low = this.#cursors.consumedLow(this.#firstCursor + consumer);
      // Cursors hold the low 32 bits; they are never 2^31 buffers away from `next`.
      slowest = Math.min(slowest, this.next + ((low - this.next) | 0));
    }
    return Math.max(slowest, this.first);
  }
}
