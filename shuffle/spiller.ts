import { type Logger, MillraceError } from '../base/index.js';
import type { Arena } from './arena.js';
import type { RegionBuffer, RegionPart } from './region-file.js';
import type { RegionStore } from './region-store.js';
import type { ShuffleFaults } from './settings.js';
import type { WriterRecord } from './writer-record.js';
import { encodeWriterSpec } from './writer-spec.js';

export interface SpillerParts {
  readonly store: RegionStore;
  readonly arena: Arena;
  readonly logger: Logger;
  /** Bytes of one region at most. */
  readonly regionBytes: number;
  /** What is known of a writer now; undefined once it was released. */
  readonly recordOf: (writer: string) => WriterRecord | undefined;
  /** Runs `work` when no register, seal or release is half done. */
  readonly exclusively: (work: () => Promise<void>) => Promise<void>;
  /** What left memory may be reclaimed: called after `spilled` words were raised. */
  readonly onSpilled: (record: WriterRecord) => void;
  readonly faults?: ShuffleFaults;
}

/**
 * Moves published buffers from memory to disk: of kept partitions all, of pipelined ones what is consumed and awaits its
 * trim. A buffer counts as spilled only once its region is written, so whatever dies in between, it is in memory still.
 */
export class Spiller {
  readonly #parts: SpillerParts;
  /** One at a time for each writer. */
  readonly #working = new Map<string, Promise<void>>();
  #wasFull = false;
  #stopped = false;

  constructor(parts: SpillerParts) {
    this.#parts = parts;
    parts.arena.setSpills(true);
  }

  /** Kept data of a writer goes to disk; `retained`: and what its pipelined partitions retain. */
  spill(writer: string, retained: boolean): Promise<void> {
    return this.#next(writer, () => this.#spill(writer, retained, false));
  }

  /** Every partition of the writer is complete: all kept data goes to disk, to outlive even this boot. */
  finish(writer: string): Promise<void> {
    return this.#next(writer, async () => {
      await this.#spill(writer, false, true);
      const record = this.#parts.recordOf(writer);
      if (record !== undefined && !this.#stopped) {
        await this.#parts.store.finish(writer, encodeWriterSpec(record.log.descriptor), record.ends());
      }
    });
  }

  /** When the disks were full: goes on with these writers, as there may be room again. */
  tryAgain(writers: Iterable<string>): void {
    if (!this.#wasFull || this.#stopped) return;
    this.#wasFull = false;
    this.#parts.arena.setSpills(true);
    for (const writer of writers) {
      if (this.#parts.recordOf(writer)?.isComplete === true) void this.finish(writer);
      else void this.spill(writer, false);
    }
  }

  /** Deletes what was spilled of a released writer. */
  drop(writer: string): Promise<void> {
    return this.#next(writer, async () => {
      await this.#parts.store.drop(writer);
      // There may be room again.
      this.#parts.arena.setSpills(!this.#stopped);
    });
  }

  trim(partition: string, seqs: readonly number[]): Promise<void> {
    return this.#parts.store.trim(partition, seqs);
  }

  async close(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#working.values());
    await this.#parts.store.close();
  }

  #next(writer: string, work: () => Promise<void>): Promise<void> {
    const before = this.#working.get(writer) ?? Promise.resolve();
    const after = before.then(work).catch((thrown: unknown) => this.#failed(writer, thrown));
    this.#working.set(writer, after);
    void after.then(() => {
      if (this.#working.get(writer) === after) this.#working.delete(writer);
    });
    return after;
  }

  async #spill(writer: string, retained: boolean, durable: boolean): Promise<void> {
    const { store, recordOf, regionBytes, arena, faults } = this.#parts;
    while (!this.#stopped) {
      const record = recordOf(writer);
      if (record === undefined) return;
      const { parts, ends, gaps } = gather(record, arena, retained, regionBytes);
      if (parts.length === 0) {
        // Who asked a moment too early may ask again.
        record.log.bumpTrimGeneration();
        return;
      }
      for (const [partition, seqs] of gaps) await store.trim(partition, seqs);
      if (faults?.spilledBeforeStored === true) await this.#raise(writer, ends);
      await store.write(writer, parts, { durable });
      await this.#raise(writer, ends);
    }
  }

  async #raise(writer: string, ends: ReadonlyMap<number, number>): Promise<void> {
    const { recordOf, exclusively, onSpilled } = this.#parts;
    await exclusively(async () => {
      const current = recordOf(writer);
      if (current === undefined) return;
      for (const [index, seq] of ends) {
        if (seq > current.log.spilled(index)) current.log.setSpilled(index, seq);
      }
      onSpilled(current);
    });
  }

  /** What cannot be written stays in memory; writers are told that nothing goes to disk. */
  #failed(writer: string, thrown: unknown): void {
    const { arena, logger } = this.#parts;
    const error = MillraceError.from(thrown);
    arena.setSpills(false);
    this.#wasFull ||= error.code === 'SPILL_FULL';
    logger.error({ writer, error: error.toJSON() }, 'shuffle data cannot be spilled');
  }
}

interface Gathered {
  readonly parts: RegionPart[];
  /** Of each subpartition of the log that is in the parts: the seq after them. */
  readonly ends: Map<number, number>;
  /** Partitions of which earlier buffers are nowhere any more, with the seqs below which that is so. */
  readonly gaps: Map<string, number[]>;
}

/**
 * Buffers to spill, of all subpartitions in turn until there are `bytesMax`. A writer that drops a buffer raises `first` before it
 * writes anything in its place: so what is still above `first` after the copy was copied whole.
 */
function gather(record: WriterRecord, arena: Arena, retained: boolean, bytesMax: number): Gathered {
  const { log } = record;
  const parts: RegionPart[] = [];
  const ends = new Map<number, number>();
  const gaps = new Map<string, number[]>();
  let bytes = 0;
  for (const sub of record.subpartitions()) {
    if (bytes >= bytesMax) break;
    if (!sub.kept && !retained) continue;
    const { partition } = log.descriptor.partitions[sub.partition] as { readonly partition: string };
    const spilled = log.spilled(sub.index);
    const from = Math.max(spilled, sub.first, log.trim(sub.index));
    let buffers: RegionBuffer[] = [];
    for (let seq = from; seq < sub.consumed && bytes < bytesMax; seq++) {
      const index = log.recordOf(sub.index, seq);
      if (!log.holds(index, seq)) break;
      const offset = log.offset(index);
      const length = log.length(index);
      bytes += length;
      buffers.push({
        seq,
        kind: log.kind(index),
        rows: log.rows(index),
        rawLength: log.rawLength(index),
        checksum: log.checksum(index),
        chain: log.chain(index),
        // What is kept stays in memory until it is on disk; consumed buffers of others may go at any time.
        bytes: sub.kept ? arena.bytes.subarray(offset, offset + length) : arena.bytes.slice(offset, offset + length),
      });
    }
    if (!sub.kept) buffers = buffers.slice(Math.max(0, log.first(sub.index) - from));
    const [first] = buffers;
    if (first === undefined) continue;
    parts.push({ partition, subpartition: sub.subpartition, buffers });
    ends.set(sub.index, first.seq + buffers.length);
    if (first.seq > spilled && spilled > 0) {
      const seqs = gaps.get(partition) ?? [];
      for (let i = 0; i < sub.subpartition; i++) seqs[i] ??= 0;
      seqs[sub.subpartition] = first.seq;
      gaps.set(partition, seqs);
    }
  }
  return { parts, ends, gaps };
}
