import { MillraceError, xxh64 } from '../base/index.js';
import type { Arena } from './arena.js';
import { type BufferCodec, codecOf } from './buffer-codec.js';
import { ChainHash } from './chain-hash.js';
import { type Cursors, cursorWord } from './cursors.js';
import type { LogPointer } from './log-pointer.js';
import type { RegionBuffer } from './region-file.js';
import { bufferCorrupt, bufferOutOfOrder, consumerFenced, partitionLost } from './shuffle-errors.js';
import type { BufferKind, ChannelDescriptor, SubpartitionPosition } from './spi.js';
import { type ReadSpilled, SpilledReader } from './spilled-reader.js';
import type { TaskLog } from './task-log.js';
import { isKept } from './writer-spec.js';

/** Where one consumer reads one subpartition of a log in shared memory. */
export class LocalChannel {
  readonly descriptor: ChannelDescriptor;
  readonly #pointer: LogPointer;
  readonly #arena: Arena;
  readonly #cursors: Cursors;
  readonly #cursor: number;
  /** Of all consumers of this subpartition. */
  readonly #firstCursor: number;
  readonly #consumers: number;
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
  readonly #kept: boolean;
  readonly #blocking: boolean;
  /** The next buffer may be on disk only. */
  #mayHaveLeft = true;
  readonly #codec: BufferCodec | undefined;
  readonly #spilled: SpilledReader;
  /** Called when buffers came from disk. */
  onFetched: () => void = () => {};
  /** The low tail at which there was nothing to read. */
  #idleAt: number | undefined;
  paused = false;

  /**
   * Takes over the consumer's cursor.
   * @throws `PARTITION_LOST` when the position is not retained, or beyond what the producer published (invariant 5);
   *   `BUFFER_OUT_OF_ORDER` when what was consumed before is not what the log holds.
   */
  constructor(
    descriptor: ChannelDescriptor,
    pointer: LogPointer,
    log: TaskLog,
    cursors: Cursors,
    arena: Arena,
    readSpilled: ReadSpilled,
    fetchBytes: number,
  ) {
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
    this.#kept = isKept(spec);
    this.#blocking = spec.type === 'blocking';
    this.#codec = codecOf(spec.compression ?? 'none');
    this.#spilled = new SpilledReader(readSpilled, partition, subpartition, fetchBytes, () => this.onFetched());
    this.#subpartition = (log.firstSubpartition[pointer.ordinal] as number) + subpartition;
    this.#consumers = spec.consumers;
    this.#firstCursor = (log.firstCursor[pointer.ordinal] as number) + subpartition * spec.consumers;
    this.#cursor = this.#firstCursor + consumer;
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

  /** The writer is to ring when it has published `buffers` more, or has to wait for this reader. */
  sleep(doorbell: number, buffers: number): void {
    // Far below where the writer would have to wait, so that both work at once.
    const more = Math.max(1, Math.min(buffers, this.#log.ringRecords / 16));
    this.#cursors.sleep(this.#cursor, doorbell, this.#seq + more);
  }

  /** Whether `next` has something to return or to throw. */
  hasNext(): boolean {
    if (this.#isFenced() || this.#pointer.logNumber === 0) return true;
    if (this.#isOutdated()) return false;
    const log = this.#log;
    const tailLow = log.tailLow;
    if (tailLow === this.#idleAt) return false;
    const record = log.recordOf(this.#subpartition, this.#seq);
    if (this.#isInMemory(record)) return log.isVisible(record, tailLow) && this.#isReadable();
    if (this.#isOnDisk()) return this.#isReadable() && this.#spilled.has(this.#seq);
    return this.#isNowhere(record);
  }

  /** The record of the next visible buffer, `ON_DISK` when it came from there, or -1 when there is none. */
  next(): number {
    const { partition, subpartition, consumer } = this.descriptor;
    const log = this.#log;
    const seq = this.#seq;
    if (this.#isFenced()) throw consumerFenced(partition, subpartition, consumer);
    if (this.#pointer.logNumber === 0) throw partitionLost(partition, subpartition, seq, 'its writer was released');
    if (this.#isOutdated()) return -1;
    const tailLow = log.tailLow;
    if (tailLow === this.#idleAt) return -1;
    const record = log.recordOf(this.#subpartition, seq);
    if (this.#isInMemory(record)) {
      if (log.isVisible(record, tailLow) && this.#isReadable()) return record;
    } else if (this.#isOnDisk()) {
      if (!this.#isReadable()) return -1;
      return this.#fetched() === undefined ? -1 : ON_DISK;
    } else if (this.#isNowhere(record)) {
      throw this.#lost(`seq ${log.first(this.#subpartition)} is the first retained`);
    }
    if (!this.#followsLater(record)) this.#idleAt = tailLow;
    return -1;
  }

  /** The buffer of a record, checked against checksum and chain; moves past it. Undefined when it left memory meanwhile. */
  take(record: number): TakenBuffer | undefined {
    if (record === ON_DISK) return this.#takeSpilled();
    const { partition, subpartition } = this.descriptor;
    const log = this.#log;
    const seq = this.#seq;
    const kind = log.kind(record);
    const rows = log.rows(record);
    const length = log.length(record);
    const offset = log.offset(record);
    const expected = {
      seq,
      rawLength: log.rawLength(record),
      checksum: log.checksum(record),
      chain: log.chain(record),
    };
    if (!log.isWhole(record)) {
      if (this.#isGone(record)) return undefined;
      throw bufferCorrupt(partition, subpartition, seq, 'its index record is damaged');
    }
    if (length > 0 && !this.#arena.holds(offset, length)) {
      if (this.#kept && this.#isGone(record)) return undefined;
      throw bufferCorrupt(partition, subpartition, seq, `its index record points outside the arena (${offset})`);
    }
    const inPlace = this.#arena.bytes.subarray(offset, offset + length);
    // Nobody waits for readers of a kept partition: the slot may be written again while it is read.
    const stored = this.#kept ? inPlace.slice() : inPlace;
    try {
      return { kind, rows, bytes: this.#verified(stored, expected), checksum: expected.checksum };
    } catch (e) {
      if (this.#kept && this.#isGone(record)) return undefined;
      throw e;
    }
  }

  /**
   * Whether the next buffer was published since it was looked for. @throws `BUFFER_CORRUPT` when the one after it is visible
   * and it is not: then its record is damaged, and waiting would be for ever.
   */
  #followsLater(record: number): boolean {
    const log = this.#log;
    const seq = this.#seq;
    const later = log.recordOf(this.#subpartition, seq + 1);
    if (!log.holds(later, seq + 1) || !log.isVisible(later, log.tailLow)) return false;
    if (log.holds(record, seq) && log.isVisible(record, log.tailLow)) return true;
    if (!this.#isReadable() || this.#isOnDisk() || this.#pointer.logNumber !== log.number) return true;
    const { partition, subpartition } = this.descriptor;
    throw bufferCorrupt(partition, subpartition, seq, 'its index record is damaged: the one after it can be read');
  }

  #takeSpilled(): TakenBuffer | undefined {
    const buffer = this.#fetched();
    if (buffer === undefined) return undefined;
    const bytes = this.#verified(buffer.bytes, buffer);
    this.#spilled.advance();
    return { kind: buffer.kind, rows: buffer.rows, bytes, checksum: buffer.checksum };
  }

  #verified(
    stored: Uint8Array,
    expected: { readonly seq: number; readonly rawLength: number; readonly checksum: bigint; readonly chain: bigint },
  ): Uint8Array {
    const { partition, subpartition } = this.descriptor;
    const { seq, rawLength } = expected;
    let bytes = stored;
    if (rawLength !== stored.length) {
      try {
        if (this.#codec === undefined) throw new RangeError(`it has ${stored.length} bytes, not ${rawLength}`);
        bytes = this.#codec.decompress(stored, rawLength);
      } catch (e) {
        throw bufferCorrupt(partition, subpartition, seq, `it cannot be decompressed (${(e as Error).message})`);
      }
    }
    const checksum = xxh64(bytes);
    if (checksum !== expected.checksum) {
      throw bufferCorrupt(partition, subpartition, seq, 'its bytes do not have the checksum they were written with');
    }
    const chain = this.#chainHash.next(this.#chain, checksum);
    if (chain !== expected.chain) {
      throw bufferOutOfOrder(partition, subpartition, seq, 'it does not continue what was read before');
    }
    this.#seq = seq + 1;
    this.#chain = chain;
    return bytes;
  }

  /** A blocking partition is read when it is finished. */
  #isReadable(): boolean {
    return !this.#blocking || this.#log.finished(this.#subpartition) > 0;
  }

  #isInMemory(record: number): boolean {
    if (!this.#log.holds(record, this.#seq)) return false;
    if (!this.#mayHaveLeft) return true;
    // The record stays readable for a while after its buffer has left memory.
    if (this.#log.first(this.#subpartition) > this.#seq) return false;
    // Where the cursor holds the writer back, the buffers that follow stay.
    this.#mayHaveLeft = this.#kept;
    return true;
  }

  /** Of a seq that memory does not hold. */
  #isOnDisk(): boolean {
    return this.#seq < this.#log.spilled(this.#subpartition);
  }

  /** Of a seq that is neither in memory nor on disk: whether it was, and is gone, or is still to come. */
  #isNowhere(record: number): boolean {
    return this.#log.first(this.#subpartition) > this.#seq || this.#log.holdsLater(record, this.#seq);
  }

  /** What left memory since stands in the current log only; a cursor keeps it where partitions are not kept. */
  #isOutdated(): boolean {
    return this.#kept && this.#pointer.logNumber !== this.#log.number;
  }

  /** Whether what `record` said is out of date: its buffer left memory, or the record is of another one. */
  #isGone(record: number): boolean {
    if (this.#isOutdated()) return true;
    return this.#log.first(this.#subpartition) > this.#seq || !this.#log.holds(record, this.#seq);
  }

  /** @throws what came of reading it; a lost partition is told to the master too. */
  #fetched(): RegionBuffer | undefined {
    try {
      return this.#spilled.peek(this.#seq);
    } catch (e) {
      if (e instanceof MillraceError && e.code === 'PARTITION_LOST') this.#cursors.flagLost(this.#pointer.ordinal);
      throw e;
    }
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
    return this.#cursors.wakeWriterAt(this.#cursor, this.#consumed, this.#firstCursor, this.#consumers);
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
    // Nothing holds kept data in memory; the chain of the next buffer tells the same.
    if (this.#kept || this.#isOnDisk()) return;
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

/** What a channel gives to its gate. */
export interface TakenBuffer {
  readonly kind: BufferKind;
  readonly rows: number;
  readonly bytes: Uint8Array;
  readonly checksum: bigint;
}

/** In place of a record: the buffer is not in memory, and was fetched from disk. */
export const ON_DISK = -2;
