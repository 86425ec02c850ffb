import type { Region } from './region.js';
import type { RegionRun } from './region-file.js';

/** A run, and the region it is in. */
export interface StoredRun {
  readonly region: Region;
  readonly run: RegionRun;
}

/** What is stored of one subpartition. */
class SubpartitionRuns {
  /** By first seq. They may overlap: what was written twice is the same bytes. */
  readonly runs: StoredRun[] = [];
  /** Everything below may go. */
  trimmed = 0;
  /** Seq after the last one ever stored. */
  next = 0;
  nextChain = 0n;

  add(stored: StoredRun): void {
    const at = this.runs.findLastIndex(({ run }) => run.first <= stored.run.first);
    this.runs.splice(at + 1, 0, stored);
    const last = stored.run.firstRecord + stored.run.count - 1;
    this.reach(endOf(stored.run), stored.region.index.chain(last));
  }

  reach(next: number, nextChain: bigint): void {
    if (next <= this.next) return;
    this.next = next;
    this.nextChain = nextChain;
  }

  /** First seq from which on everything up to `next` is stored; `next` when the last is missing. */
  firstWhole(): number {
    let first = this.next;
    for (let i = this.runs.length - 1; i >= 0; i--) {
      const { run } = this.runs[i] as StoredRun;
      if (endOf(run) >= first && run.first < first) first = run.first;
    }
    return Math.max(first, this.trimmed);
  }
}

/** Which runs of which regions make up each subpartition. Plain bookkeeping: knows no files. */
export class StoredRuns {
  readonly #partitions = new Map<string, Map<number, SubpartitionRuns>>();
  readonly #ofWriter = new Map<string, Set<string>>();

  add(region: Region): void {
    for (const run of region.index.runs) {
      this.#of(region.writer, run.partition, run.subpartition).add({ region, run });
    }
  }

  /** Says that the subpartition was once stored up to there, whether or not it still is. */
  reach(writer: string, partition: string, subpartition: number, next: number, nextChain: bigint): void {
    this.#of(writer, partition, subpartition).reach(next, nextChain);
  }

  remove(region: Region): void {
    for (const { partition, subpartition } of region.index.runs) {
      const runs = this.#partitions.get(partition)?.get(subpartition)?.runs ?? [];
      const at = runs.findIndex((stored) => stored.region === region);
      if (at >= 0) runs.splice(at, 1);
    }
  }

  forget(writer: string): void {
    for (const partition of this.#ofWriter.get(writer) ?? []) this.#partitions.delete(partition);
    this.#ofWriter.delete(writer);
  }

  /** Moves the trim positions. Returns the regions in which nothing is left. */
  trim(partition: string, seqs: readonly number[]): Region[] {
    const done: Region[] = [];
    for (const [subpartition, sub] of this.#partitions.get(partition) ?? []) {
      const to = Math.max(sub.trimmed, seqs[subpartition] ?? 0);
      const kept: StoredRun[] = [];
      for (const stored of sub.runs) {
        if (endOf(stored.run) > to) kept.push(stored);
        else if (--stored.region.runsLeft === 0) done.push(stored.region);
      }
      sub.trimmed = to;
      if (kept.length < sub.runs.length) sub.runs.splice(0, sub.runs.length, ...kept);
    }
    return done;
  }

  /** The runs that hold `seq`: one, unless something was written twice. */
  holding(partition: string, subpartition: number, seq: number): StoredRun[] {
    const runs = this.#partitions.get(partition)?.get(subpartition)?.runs ?? [];
    return runs.filter(({ run }) => run.first <= seq && seq < endOf(run));
  }

  state(partition: string, subpartition: number): { readonly trimmed: number; readonly next: number } {
    const sub = this.#partitions.get(partition)?.get(subpartition);
    return { trimmed: sub?.trimmed ?? 0, next: sub?.next ?? 0 };
  }

  ranges(partition: string): Map<number, StoredRange> {
    const ranges = new Map<number, StoredRange>();
    for (const [subpartition, sub] of this.#partitions.get(partition) ?? []) {
      if (sub.next === 0 || sub.trimmed >= sub.next) continue;
      ranges.set(subpartition, { first: sub.firstWhole(), next: sub.next, nextChain: sub.nextChain });
    }
    return ranges;
  }

  /** Ends of all subpartitions of a writer. */
  ends(writer: string): { partition: string; subpartition: number; next: number; nextChain: bigint }[] {
    return [...(this.#ofWriter.get(writer) ?? [])].flatMap((partition) =>
      [...(this.#partitions.get(partition) ?? [])].map(([subpartition, { next, nextChain }]) => ({
        partition,
        subpartition,
        next,
        nextChain,
      })),
    );
  }

  #of(writer: string, partition: string, subpartition: number): SubpartitionRuns {
    let subs = this.#partitions.get(partition);
    if (subs === undefined) {
      subs = new Map();
      this.#partitions.set(partition, subs);
      const mine = this.#ofWriter.get(writer);
      if (mine === undefined) this.#ofWriter.set(writer, new Set([partition]));
      else mine.add(partition);
    }
    let sub = subs.get(subpartition);
    if (sub === undefined) {
      sub = new SubpartitionRuns();
      subs.set(subpartition, sub);
    }
    return sub;
  }
}

/** What is stored of one subpartition. */
export interface StoredRange {
  /** From here on everything up to `next` is stored, unless its disk was set aside since. */
  readonly first: number;
  readonly next: number;
  /** Chain hash before `next`. */
  readonly nextChain: bigint;
}

export function endOf(run: RegionRun): number {
  return run.first + run.count;
}
