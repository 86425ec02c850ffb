import { assert, type SharedMemory, type SharedRegion } from '../base/index.js';
import { layoutUnknown } from './shuffle-errors.js';
import type { BufferKind, PartitionDescriptor, WriterDescriptor } from './spi.js';
import { EPOCH_MAX, epochOf, tailOf, tailWord } from './tail-word.js';
import { decodeWriterSpec, encodeWriterSpec } from './writer-spec.js';

/**
 * The task log of one writer and epoch, self-describing: what was published, and where each buffer lies in the arena.
 *
 *     header 4096: magic | version | log number | partitions | subpartitions | ring records | spec length | index byte
 *                  | frames byte | frames bytes | cursors number | state | trim generation | number of the log it succeeds
 *                  byte 128: [epoch | tail], byte 136: frame ring, oldest byte; byte 144: position of that frame
 *                  byte 160: which thread opened it for writing, as text that ends at the first 0
 *                  byte 256: writer specification (protocol.fbs)
 *     subpartitions, 64 bytes each: long first seq | long trim seq | long chain at first | next seq (two words, a hint)
 *         | long seq below which all is on disk too | long seq after END, once that is staged
 *     index, per subpartition a ring of records of 64 bytes:
 *         seq+1 low | seq+1 high | position low | kind | rows | length | offset low | offset high
 *         | long checksum | long chain after it | length before compression | check word
 *     frames: a ring of task frames (frame-log.ts)
 *
 * A record is visible iff its position <= tail. Only the writer writes, apart from the epoch and the trim seqs (the
 * master's). Consumers map it privately.
 */
export class TaskLog {
  readonly region: SharedRegion;
  readonly number: number;
  readonly descriptor: WriterDescriptor;
  readonly cursorsNumber: number;
  /** A power of two. */
  readonly ringRecords: number;
  readonly subpartitions: number;
  readonly framesByte: number;
  readonly framesBytes: number;
  /** Of the first subpartition and cursor of each partition. */
  readonly firstSubpartition: readonly number[];
  readonly firstCursor: readonly number[];
  readonly #words: Int32Array;
  readonly #longs: BigUint64Array;
  readonly #subsWord: number;
  readonly #indexWord: number;

  private constructor(region: SharedRegion) {
    const { words, bytes } = region;
    if (words[0] !== MAGIC) throw layoutUnknown(region.name, 'it does not begin as a task log');
    if (words[1] !== VERSION) throw layoutUnknown(region.name, `its version is ${words[1]}, this one reads ${VERSION}`);
    this.region = region;
    this.#words = words;
    this.#longs = region.longs;
    this.number = words[2] as number;
    this.subpartitions = words[4] as number;
    this.ringRecords = words[5] as number;
    this.descriptor = decodeWriterSpec(bytes.slice(SPEC_BYTE, SPEC_BYTE + (words[6] as number)));
    this.#indexWord = (words[7] as number) / 4;
    this.#subsWord = this.#indexWord - this.subpartitions * (SUB_BYTES / 4);
    this.framesByte = words[8] as number;
    this.framesBytes = words[9] as number;
    this.cursorsNumber = words[10] as number;
    const { partitions } = this.descriptor;
    this.firstSubpartition = runningSum(partitions, (p) => p.subpartitions);
    this.firstCursor = runningSum(partitions, (p) => p.subpartitions * p.consumers);
  }

  static async create(
    memory: SharedMemory,
    number: number,
    cursorsNumber: number,
    descriptor: WriterDescriptor,
    geometry: LogGeometry,
  ): Promise<TaskLog> {
    const spec = encodeWriterSpec(descriptor);
    const subpartitions = descriptor.partitions.reduce((sum, p) => sum + p.subpartitions, 0);
    const ringRecords = geometry.ringRecords ?? defaultRingRecords(subpartitions);
    const subsByte = Math.ceil((SPEC_BYTE + spec.length) / 4096) * 4096;
    const indexByte = subsByte + subpartitions * SUB_BYTES;
    const framesByte = indexByte + subpartitions * ringRecords * RECORD_BYTES;
    const region = await memory.create(logRegion(number), framesByte + geometry.frameBytes);
    const { partitions } = descriptor;
    region.bytes.set(spec, SPEC_BYTE);
    region.words.set([0, VERSION, number, partitions.length, subpartitions, ringRecords, spec.length, indexByte]);
    region.words.set([framesByte, geometry.frameBytes, cursorsNumber], 8);
    Atomics.store(region.longs, TAIL_LONG, tailWord(descriptor.epoch, 0));
    Atomics.store(region.words, 0, MAGIC);
    return new TaskLog(region);
  }

  /**
   * A log for the next attempt of the same lineage: everything visible in `old` (which is sealed) stays visible under
   * the new epoch. What its old writer may still write goes where nobody looks.
   */
  static async succeed(memory: SharedMemory, old: TaskLog, number: number, epoch: number): Promise<TaskLog> {
    const region = await memory.create(logRegion(number), old.region.bytes.length);
    const tail = old.tail;
    region.bytes.set(old.region.bytes.subarray(64), 64);
    region.words.set([0, VERSION, number], 0);
    region.words.set(old.region.words.subarray(3, 11), 3);
    region.words.set([STATE_REGISTERED, 0, old.number], 11);
    region.bytes.fill(0, HOLDER_BYTE, SPEC_BYTE);
    const spec = encodeWriterSpec({ ...old.descriptor, epoch });
    region.bytes.set(spec, SPEC_BYTE);
    region.words[6] = spec.length;
    Atomics.store(region.longs, TAIL_LONG, tailWord(epoch, tail));
    Atomics.store(region.words, 0, MAGIC);
    const log = new TaskLog(region);
    log.#forgetUnpublished(old);
    // A zombie that is about to publish may have dropped its oldest frames while they were copied.
    const oldest = old.oldestFrame();
    log.setOldestFrame(oldest.byte, oldest.position);
    return log;
  }

  static async open(memory: SharedMemory, number: number, access: 'read' | 'write'): Promise<TaskLog> {
    return new TaskLog(await memory.open(logRegion(number), access));
  }

  get bytes(): Uint8Array {
    return this.region.bytes;
  }

  get epoch(): number {
    return epochOf(Atomics.load(this.#longs, TAIL_LONG));
  }

  get tail(): number {
    return tailOf(Atomics.load(this.#longs, TAIL_LONG));
  }

  /** Cheap to poll: compare with `isVisible`'s meaning of "low". */
  get tailLow(): number {
    return Atomics.load(this.#words, TAIL_LONG * 2);
  }

  /** The one compare-and-swap of a publication. */
  publish(epoch: number, tail: number): boolean {
    const expected = tailWord(epoch, tail);
    return Atomics.compareExchange(this.#longs, TAIL_LONG, expected, tailWord(epoch, tail + 1)) === expected;
  }

  /** Raises the epoch to at least `epoch`; returns the tail as of then. */
  seal(epoch: number): number {
    for (;;) {
      const word = Atomics.load(this.#longs, TAIL_LONG);
      if (epochOf(word) >= epoch) return tailOf(word);
      if (Atomics.compareExchange(this.#longs, TAIL_LONG, word, tailWord(epoch, tailOf(word))) === word) {
        return tailOf(word);
      }
    }
  }

  /** Nobody writes here any more, and nobody reads. */
  markReleased(): void {
    this.seal(EPOCH_MAX);
  }

  get released(): boolean {
    return this.epoch === EPOCH_MAX;
  }

  get state(): number {
    return Atomics.load(this.#words, 11);
  }

  /** Moves from one state to another; false when it was in a third. */
  changeState(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#words, 11, from, to) === from;
  }

  /** The thread that may write here and in its slots once the log is open: see `ownThread`. '' when nobody said. */
  get holder(): string {
    const { bytes } = this.region;
    const end = bytes.indexOf(0, HOLDER_BYTE);
    return Buffer.from(bytes.slice(HOLDER_BYTE, Math.min(end, SPEC_BYTE))).toString();
  }

  /** By the thread itself, as soon as it has opened it. */
  setHolder(thread: string): void {
    const text = Buffer.from(thread);
    assert(text.length < SPEC_BYTE - HOLDER_BYTE, `${text.length} bytes for the name of a thread`);
    this.region.bytes.set(text, HOLDER_BYTE);
  }

  get trimGeneration(): number {
    return Atomics.load(this.#words, 12);
  }

  bumpTrimGeneration(): void {
    Atomics.add(this.#words, 12, 1);
  }

  setOldestFrame(byte: number, position: number): void {
    this.#longs[17] = BigInt(byte);
    this.#longs[18] = BigInt(position);
  }

  /** Byte in the frame ring and position of the oldest frame kept; position 0 when there never was one. */
  oldestFrame(): { readonly byte: number; readonly position: number } {
    return { byte: Number(this.#longs[17]), position: Number(this.#longs[18]) };
  }

  first(subpartition: number): number {
    return Number(Atomics.load(this.#longs, this.#subWord(subpartition) / 2));
  }

  /** Chain hash of everything before the first retained buffer. */
  firstChain(subpartition: number): bigint {
    return Atomics.load(this.#longs, this.#subWord(subpartition) / 2 + 2);
  }

  setFirst(subpartition: number, seq: number, chain: bigint): void {
    const long = this.#subWord(subpartition) / 2;
    Atomics.store(this.#longs, long + 2, chain);
    Atomics.store(this.#longs, long, BigInt(seq));
  }

  trim(subpartition: number): number {
    return Number(Atomics.load(this.#longs, this.#subWord(subpartition) / 2 + 1));
  }

  setTrim(subpartition: number, seq: number): void {
    Atomics.store(this.#longs, this.#subWord(subpartition) / 2 + 1, BigInt(seq));
  }

  /** Everything retained below this seq is on disk, and needs no memory. */
  spilled(subpartition: number): number {
    return Number(Atomics.load(this.#longs, this.#subWord(subpartition) / 2 + 4));
  }

  setSpilled(subpartition: number, seq: number): void {
    Atomics.store(this.#longs, this.#subWord(subpartition) / 2 + 4, BigInt(seq));
  }

  /** Of a finished subpartition that is on disk only: everything below `next` is there. */
  restore(subpartition: number, next: number, chain: bigint): void {
    this.setNextHint(subpartition, next);
    this.setFirst(subpartition, next, chain);
    this.setSpilled(subpartition, next);
    this.setFinished(subpartition, next);
  }

  /** The seq after a visible END, or 0 as long as there is none. */
  finished(subpartition: number): number {
    const seq = Number(Atomics.load(this.#longs, this.#subWord(subpartition) / 2 + 5));
    if (seq === 0 || seq <= this.first(subpartition)) return seq;
    const tailLow = this.tailLow;
    const record = this.recordOf(subpartition, seq - 1);
    return this.holds(record, seq - 1) && this.isVisible(record, tailLow) ? seq : 0;
  }

  setFinished(subpartition: number, seq: number): void {
    Atomics.store(this.#longs, this.#subWord(subpartition) / 2 + 5, BigInt(seq));
  }

  /** What the writer last said it will write next, published or not; `publishedNext` is the truth. */
  nextHint(subpartition: number): number {
    const word = this.#subWord(subpartition) + 6;
    return (this.#words[word + 1] as number) * 2 ** 32 + ((this.#words[word] as number) >>> 0);
  }

  setNextHint(subpartition: number, seq: number): void {
    const word = this.#subWord(subpartition) + 6;
    this.#words[word] = seq | 0;
    this.#words[word + 1] = Math.floor(seq / 2 ** 32);
  }

  /** First seq that is not visible. */
  publishedNext(subpartition: number): number {
    const first = this.first(subpartition);
    const tailLow = this.tailLow;
    for (let seq = this.nextHint(subpartition); seq > first; seq--) {
      const record = this.recordOf(subpartition, seq - 1);
      if (this.holds(record, seq - 1) && this.isVisible(record, tailLow)) return seq;
    }
    return first;
  }

  /** Word index of the record that holds, or will hold, this seq. */
  recordOf(subpartition: number, seq: number): number {
    const slot = seq & (this.ringRecords - 1);
    return this.#indexWord + (subpartition * this.ringRecords + slot) * (RECORD_BYTES / 4);
  }

  /** Whether the record is of exactly this seq. */
  holds(record: number, seq: number): boolean {
    return (
      Atomics.load(this.#words, record) === ((seq + 1) | 0) &&
      this.#words[record + 1] === Math.floor((seq + 1) / 2 ** 32)
    );
  }

  /** Whether the record is of a later seq: the writer went round the ring past this reader. */
  holdsLater(record: number, seq: number): boolean {
    return ((Atomics.load(this.#words, record) - (seq + 1)) | 0) > 0;
  }

  /** `tailLow` must have been read before the record's seq was compared. */
  isVisible(record: number, tailLow: number): boolean {
    return ((tailLow - Atomics.load(this.#words, record + 2)) | 0) >= 0;
  }

  /** Writes what a FrameOutput (task-frame.fbs) has in common with an index record to where that struct begins. */
  describeOutput(record: number, to: number): void {
    const words = this.#words;
    words[to] = words[record + 6] as number;
    words[to + 1] = words[record + 7] as number;
    words[to + 4] = words[record + 8] as number;
    words[to + 5] = words[record + 9] as number;
    words[to + 6] = words[record + 5] as number;
    words[to + 7] = words[record + 4] as number;
  }

  kind(record: number): BufferKind {
    return this.#words[record + 3] as BufferKind;
  }

  rows(record: number): number {
    return this.#words[record + 4] as number;
  }

  length(record: number): number {
    return (this.#words[record + 5] as number) >>> 0;
  }

  /** Bytes before compression. */
  rawLength(record: number): number {
    return (this.#words[record + 12] as number) >>> 0;
  }

  offset(record: number): number {
    return (this.#words[record + 7] as number) * 2 ** 32 + ((this.#words[record + 6] as number) >>> 0);
  }

  checksum(record: number): bigint {
    return this.#longs[record / 2 + 4] as bigint;
  }

  chain(record: number): bigint {
    return this.#longs[record / 2 + 5] as bigint;
  }

  /** The position goes first and the seq last: whoever sees the new seq sees the position that hides it. */
  writeRecord(record: number, r: IndexRecord): void {
    const words = this.#words;
    Atomics.store(words, record + 2, r.position | 0);
    words[record + 1] = Math.floor((r.seq + 1) / 2 ** 32);
    words[record + 3] = r.kind;
    words[record + 4] = r.rows;
    words[record + 5] = r.length;
    words[record + 6] = r.offset | 0;
    words[record + 7] = Math.floor(r.offset / 2 ** 32);
    words[record + 12] = r.rawLength;
    this.#longs[record / 2 + 4] = r.checksum;
    this.#longs[record / 2 + 5] = r.chain;
    words[record + 13] = this.#checkOf(record, r.seq + 1);
    Atomics.store(words, record, (r.seq + 1) | 0);
  }

  /** Whether a record that holds its seq is as it was written: no checksum of bytes covers kind, rows and place. */
  isWhole(record: number): boolean {
    return this.#words[record + 13] === this.#checkOf(record, this.#words[record] as number);
  }

  #checkOf(record: number, seqAfter: number): number {
    const words = this.#words;
    let check = Math.imul(seqAfter ^ CHECK_SEED, CHECK_FACTOR);
    for (let word = record + 1; word < record + 13; word++) {
      check = Math.imul((check ^ (check >>> 15)) + (words[word] as number), CHECK_FACTOR);
    }
    return check ^ (check >>> 16);
  }

  /**
   * Records that were staged and not published would become visible with the next step. A zombie may have written one
   * while it was copied: in the old log its position is there before its seq is, and stays.
   */
  #forgetUnpublished(old: TaskLog): void {
    const tailLow = this.tailLow;
    const words = this.#words;
    const end = this.#indexWord + this.subpartitions * this.ringRecords * (RECORD_BYTES / 4);
    for (let record = this.#indexWord; record < end; record += RECORD_BYTES / 4) {
      if (this.isVisible(record, tailLow) && old.isVisible(record, tailLow)) continue;
      words.fill(0, record, record + 2);
    }
    for (let sub = 0; sub < this.subpartitions; sub++) if (this.finished(sub) === 0) this.setFinished(sub, 0);
  }

  #subWord(subpartition: number): number {
    return this.#subsWord + subpartition * (SUB_BYTES / 4);
  }
}

export interface IndexRecord {
  readonly seq: number;
  readonly position: number;
  readonly kind: BufferKind;
  readonly rows: number;
  /** As stored. */
  readonly length: number;
  readonly rawLength: number;
  readonly offset: number;
  readonly checksum: bigint;
  readonly chain: bigint;
}

export interface LogGeometry {
  /** Index records per subpartition, a power of two; by default 2^18 shared by all subpartitions, 128 to 4096 each. */
  readonly ringRecords?: number;
  readonly frameBytes: number;
}

export const STATE_REGISTERED = 0;
export const STATE_OPEN = 1;
export const STATE_CLOSED = 2;

export function logRegion(number: number): string {
  return `${LOG_PREFIX}${number}`;
}

export const LOG_PREFIX = 'shuffle-log-';

function defaultRingRecords(subpartitions: number): number {
  const even = 2 ** Math.floor(Math.log2(2 ** 18 / Math.max(1, subpartitions)));
  return Math.min(4096, Math.max(128, even));
}

function runningSum(
  partitions: readonly PartitionDescriptor[],
  size: (p: PartitionDescriptor) => number,
): readonly number[] {
  let sum = 0;
  return partitions.map((p) => {
    const before = sum;
    sum += size(p);
    return before;
  });
}

const MAGIC = 0x4d524c47;
const VERSION = 4;
/** Odd, with well-spread bits (Steele and Vigna, 2021). */
const CHECK_FACTOR = 0x915f77f5;
const CHECK_SEED = 0x6d696c6c;
const TAIL_LONG = 16;
const HOLDER_BYTE = 160;
const SPEC_BYTE = 256;
const SUB_BYTES = 64;
const RECORD_BYTES = 64;
