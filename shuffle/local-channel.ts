import { xxh64 } from '../base/index.js';
import type { Arena } from './arena.js';
import { ChainHash } from './chain-hash.js';
import { type Cursors, cursorWord } from './cursors.js';
import type { LogPointer } from './log-pointer.js';
import { bufferCorrupt, bufferOutOfOrder, consumerFenced, partitionLost } from './shuffle-errors.js';
import type { ChannelDescriptor, SubpartitionPosition } from './spi.js';
import type { TaskLog } from './task-log.js';

/** Where one consumer reads one subpartition of a log in shared memory. */
export class LocalChannel {
  readonly descriptor: ChannelDescriptor;
  readonly #pointer: LogPointer;
  readonly #arena: Arena;
  readonly #cursors: Cursors;
  readonly #cursor: number;
  readonly #subpartition: number;
  readonly #generation: number;
  /** What stands in the cursor, as long as nobody took it over. */
  #cursorWord: bigint;
  readonly #chainHash = new ChainHash();
  /** Released before an earlier one was. */
  readonly #releasedEarly = new Set<number>();
  #log: TaskLog;
  #seq: number;
  #chain: bigint;
  /** All below are released. */
  #consumed: number;
  #fenced = false;
  /** The low tail at which there was nothing to read. */
  #idleAt: number | undefined;
  paused = false;

  /**
   * Takes over the consumer's cursor.
   * @throws `PARTITION_LOST` when the position is not retained, or beyond what the producer published (invariant 5);
   *   `BUFFER_OUT_OF_ORDER` when what was consumed before is not what the log holds.
   */
  constructor(descriptor: ChannelDescriptor, pointer: LogPointer, log: TaskLog, cursors: Cursors, arena: Arena) {
    this.descriptor = descriptor;
    this.#pointer = pointer;
    this.#log = log;
    this.#cursors = cursors;
    this.#arena = arena;
    const { partition, subpartition, consumer, from } = descriptor;
    const spec = log.descriptor.partitions[pointer.ordinal];
    if (spec === undefined || subpartition >= spec.subpartitions || consumer >= spec.consumers) {
      throw partitionLost(partition, subpartition, from.seq, `it has no consumer ${consumer} of that subpartition`);
    }
    this.#subpartition = (log.firstSubpartition[pointer.ordinal] as number) + subpartition;
    this.#cursor = (log.firstCursor[pointer.ordinal] as number) + subpartition * spec.consumers + consumer;
    this.#seq = from.seq;
    this.#chain = from.chain;
    this.#consumed = from.seq;
    this.#checkAhead();
    // First the cursor, then `first`: the writer, trimming, does it the other way round.
    this.#generation = cursors.attach(this.#cursor, from.seq);
    this.#cursorWord = cursorWord(this.#generation, from.seq);
    this.#checkRetained();
  }

  get position(): SubpartitionPosition {
    return { seq: this.#seq, chain: this.#chain };
  }

  get partitionOrdinal(): number {
    return this.#pointer.ordinal;
  }

  get seq(): number {
    return this.#seq;
  }

  /** The number of the log to go on with, when the writer has a later attempt; undefined when this one is current. */
  get successor(): number | undefined {
    const current = this.#pointer.logNumber;
    return current === this.#log.number || current === 0 ? undefined : current;
  }

  /** Goes on in the log of a later attempt; everything retained is in it too. */
  follow(log: TaskLog): void {
    this.#log = log;
    this.#idleAt = undefined;
  }

  sleep(doorbell: number): void {
    this.#cursors.sleep(this.#cursor, doorbell);
  }

  /** Whether `read` has something to return or to throw. */
  hasNext(): boolean {
    if (this.#isFenced() || this.#pointer.logNumber === 0) return true;
    const tailLow = this.#log.tailLow;
    if (tailLow === this.#idleAt) return false;
    const record = this.#log.recordOf(this.#subpartition, this.#seq);
    if (this.#log.holdsLater(record, this.#seq)) return true;
    return this.#log.holds(record, this.#seq) && this.#log.isVisible(record, tailLow);
  }

  /** The record of the next visible buffer, verified; -1 when there is none. */
  next(): number {
    const { partition, subpartition, consumer } = this.descriptor;
    const log = this.#log;
    const seq = this.#seq;
    if (this.#isFenced()) throw consumerFenced(partition, subpartition, consumer);
    if (this.#pointer.logNumber === 0) throw partitionLost(partition, subpartition, seq, 'its writer was released');
    const tailLow = log.tailLow;
    if (tailLow === this.#idleAt) return -1;
    const record = log.recordOf(this.#subpartition, seq);
    if (!log.holds(record, seq) || !log.isVisible(record, tailLow)) {
      if (log.holdsLater(record, seq)) throw this.#lost(`seq ${log.first(this.#subpartition)} is the first retained`);
      this.#idleAt = tailLow;
      return -1;
    }
    return record;
  }

  /** The bytes of a record, checked against checksum and chain; moves the position past it. */
  take(record: number): Uint8Array {
    const { partition, subpartition } = this.descriptor;
    const log = this.#log;
    const seq = this.#seq;
    const length = log.length(record);
    const offset = log.offset(record);
    if (length > 0 && !this.#arena.holds(offset, length)) {
      throw bufferCorrupt(partition, subpartition, seq, `its index record points outside the arena (${offset})`);
    }
    const bytes = this.#arena.bytes.subarray(offset, offset + length);
    const checksum = xxh64(bytes);
    if (checksum !== log.checksum(record)) {
      throw bufferCorrupt(partition, subpartition, seq, 'its bytes do not have the checksum they were written with');
    }
    const chain = this.#chainHash.next(this.#chain, checksum);
    if (chain !== log.chain(record)) {
      throw bufferOutOfOrder(partition, subpartition, seq, 'it does not continue what was read before');
    }
    this.#seq = seq + 1;
    this.#chain = chain;
    return bytes;
  }

  get log(): TaskLog {
    return this.#log;
  }

  /** Returns the doorbell of a writer that waited for this; else 0. */
  release(seq: number): number {
    if (seq !== this.#consumed) {
      this.#releasedEarly.add(seq);
      return 0;
    }
    this.#consumed++;
    while (this.#releasedEarly.size > 0 && this.#releasedEarly.delete(this.#consumed)) this.#consumed++;
    const next = cursorWord(this.#generation, this.#consumed);
    if (!this.#cursors.advance(this.#cursor, this.#cursorWord, next)) this.#fenced = true;
    this.#cursorWord = next;
    return this.#cursors.wakeWriterAt(this.#cursor, this.#consumed);
  }

  #isFenced(): boolean {
    this.#fenced ||= this.#cursors.generation(this.#cursor) !== this.#generation;
    return this.#fenced;
  }

  #checkAhead(): void {
    const { partition, subpartition, from } = this.descriptor;
    const next = this.#log.publishedNext(this.#subpartition);
    if (from.seq > next) throw partitionLost(partition, subpartition, from.seq, `only ${next} buffers were published`);
  }

  #checkRetained(): void {
    const { partition, subpartition, from } = this.descriptor;
    const first = this.#log.first(this.#subpartition);
    if (from.seq < first) throw this.#lost(`seq ${first} is the first retained`);
    const before = this.#log.recordOf(this.#subpartition, from.seq - 1);
    const chain = from.seq === first ? this.#log.firstChain(this.#subpartition) : this.#log.chain(before);
    if (chain !== from.chain) {
      throw bufferOutOfOrder(
        partition,
        subpartition,
        from.seq,
        'what was consumed before it is not what was published',
      );
    }
  }

  /** Also tells the master, who tells the job (not only the reader who trips over it). */
  #lost(why: string): Error {
    const { partition, subpartition } = this.descriptor;
    this.#cursors.flagLost(this.#pointer.ordinal);
    return partitionLost(partition, subpartition, this.#seq, why);
  }
}
