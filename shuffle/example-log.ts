import { ChainHash } from './chain-hash.js';
import type { BufferKind, PartitionDescriptor, Retention, SubpartitionPosition } from './spi.js';
import { BUFFER_END } from './spi.js';

export interface StoredBuffer {
  readonly kind: BufferKind;
  readonly rows: number;
  readonly bytes: Uint8Array;
  readonly checksum: bigint;
}

/** One subpartition of the example plug-in: the buffers that are kept, and where its consumers are. */
export class ExampleLog {
  first = 0;
  ended = false;
  /** All below may go once it is consumed. */
  #trimmable = 0;
  #firstChain = 0n;
  #firstByte = 0;
  readonly #buffers: (StoredBuffer & { readonly chain: bigint; readonly endByte: number })[] = [];
  readonly #cursors: number[];
  /** Grows with each attachment of a consumer: an earlier one must stop. */
  readonly #generations: number[];
  #waiting: (() => void)[] = [];

  constructor(partition: PartitionDescriptor) {
    this.#cursors = new Array<number>(partition.consumers).fill(0);
    this.#generations = new Array<number>(partition.consumers).fill(0);
  }

  get next(): number {
    return this.first + this.#buffers.length;
  }

  get end(): SubpartitionPosition {
    return { seq: this.next, chain: this.chainAt(this.next) };
  }

  get consumed(): number {
    return this.#cursors.reduce((least, cursor) => Math.min(least, cursor), this.next);
  }

  get retainedBytes(): number {
    return this.#byteAt(this.next) - this.#firstByte;
  }

  get unconsumedBytes(): number {
    return this.#byteAt(this.next) - this.#byteAt(Math.max(this.first, this.consumed));
  }

  /** The chain hash of everything before a retained seq. */
  chainAt(seq: number): bigint {
    return this.#buffers[seq - this.first - 1]?.chain ?? this.#firstChain;
  }

  append(buffer: StoredBuffer): void {
    const chain = new ChainHash().next(this.chainAt(this.next), buffer.checksum);
    this.#buffers.push({ ...buffer, chain, endByte: this.#byteAt(this.next) + buffer.bytes.length });
    if (buffer.kind === BUFFER_END) this.ended = true;
  }

  /** Buffers from `seq` on: one, and more while they have fewer than `bytesMax` together. */
  read(seq: number, bytesMax: number): readonly StoredBuffer[] {
    let end = seq - this.first + 1;
    while (end < this.#buffers.length && this.#byteAt(this.first + end) - this.#byteAt(seq) < bytesMax) end++;
    return this.#buffers.slice(seq - this.first, end);
  }

  /** Makes `seq` the place of a consumer; returns the generation that its holder shows from now on. */
  attach(consumer: number, seq: number): number {
    this.#cursors[consumer] = seq;
    const generation = (this.#generations[consumer] as number) + 1;
    this.#generations[consumer] = generation;
    this.wake();
    return generation;
  }

  isAttached(consumer: number, generation: number): boolean {
    return this.#generations[consumer] === generation;
  }

  consume(consumer: number, seq: number): void {
    this.#cursors[consumer] = seq;
  }

  allowTrim(seq: number): void {
    this.#trimmable = Math.max(this.#trimmable, seq);
  }

  /** Forgets what its retention does not keep; with `full`, everything that is consumed. Whether anything went. */
  sweep(retain: Retention, full: boolean): boolean {
    if (retain === 'released') return false;
    const upTo = retain === 'consumed' || full ? this.consumed : Math.min(this.#trimmable, this.consumed);
    if (upTo <= this.first) return false;
    [this.#firstChain, this.#firstByte] = [this.chainAt(upTo), this.#byteAt(upTo)];
    this.#buffers.splice(0, upTo - this.first);
    this.first = upTo;
    return true;
  }

  /** Resolves at the next `wake`. */
  changed(): Promise<void> {
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #byteAt(seq: number): number {
    return this.#buffers[seq - this.first - 1]?.endByte ?? this.#firstByte;
  }
}
