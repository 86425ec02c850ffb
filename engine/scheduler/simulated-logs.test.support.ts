import assert from 'node:assert/strict';
import { checksumHex, xxh64 } from '../../base/index.js';
import type { PartitionDescriptor, WriterDescriptor } from '../../shuffle/index.js';

/** One numbered output of a simulated task. */
export type Entry =
  | { readonly kind: 'row'; readonly row: string }
  | { readonly kind: 'barrier'; readonly checkpoint: number }
  | { readonly kind: 'end' };

export interface Position {
  readonly seq: number;
  readonly chain: string;
}

interface Log {
  readonly writer: string;
  readonly entries: Entry[][];
  readonly chains: string[][];
  readonly first: number[];
  sealed: boolean;
  lost: boolean;
}

/** Thrown to a simulated task: its log was sealed or is gone, so it is a zombie. */
export class Fenced extends Error {}

/** Thrown to a simulated reader: the partition cannot be read any more. */
export class PartitionLost extends Error {
  readonly partition: string;

  constructor(partition: string) {
    super(`partition ${partition} is lost`);
    this.partition = partition;
  }
}

/** The shuffle service of a simulated job: what was registered, written, sealed, trimmed and released. */
export class SimulatedLogs {
  readonly #logs = new Map<string, Log>();
  readonly #writers = new Map<string, readonly string[]>();

  register(descriptor: WriterDescriptor): void {
    assert.ok(!this.#writers.has(descriptor.writer), `writer ${descriptor.writer} is registered twice`);
    this.#writers.set(
      descriptor.writer,
      descriptor.partitions.map(({ partition }) => partition),
    );
    for (const partition of descriptor.partitions)
      this.#logs.set(partition.partition, newLog(descriptor.writer, partition));
  }

  seal(writer: string): void {
    for (const partition of this.#writers.get(writer) ?? []) (this.#logs.get(partition) as Log).sealed = true;
  }

  release(writer: string): void {
    for (const partition of this.#writers.get(writer) ?? []) this.#logs.delete(partition);
    this.#writers.delete(writer);
  }

  /** A fault: nobody can read it any more; its writer does not notice. */
  lose(partition: string): void {
    const log = this.#logs.get(partition);
    if (log !== undefined) log.lost = true;
  }

  get writers(): readonly string[] {
    return [...this.#writers.keys()];
  }

  get partitions(): readonly string[] {
    return [...this.#logs.keys()];
  }

  hasPartition(partition: string): boolean {
    return this.#logs.has(partition);
  }

  openWriter(writer: string): void {
    const partitions = this.#writers.get(writer);
    if (partitions === undefined) throw new Fenced(writer);
    if (partitions.some((partition) => this.#logs.get(partition)?.sealed !== false)) throw new Fenced(writer);
  }

  append(writer: string, partition: string, subpartition: number, entry: Entry): void {
    const log = this.#logs.get(partition);
    if (log === undefined || log.sealed || log.writer !== writer) throw new Fenced(writer);
    const chains = log.chains[subpartition] as string[];
    (log.entries[subpartition] as Entry[]).push(entry);
    chains.push(chainAfter(chains.at(-1) as string, entry));
  }

  /** Position after everything written, per subpartition. */
  written(partition: string): Position[] {
    const log = this.#logs.get(partition);
    if (log === undefined) throw new Fenced(partition);
    return log.chains.map((chains) => ({ seq: chains.length - 1, chain: chains.at(-1) as string }));
  }

  /** The entry at a position, or undefined when it is not yet written. A trimmed one, or another history, is a violation. */
  read(partition: string, subpartition: number, at: Position): Entry | undefined {
    const log = this.#logs.get(partition);
    if (log === undefined || log.lost) throw new PartitionLost(partition);
    assert.ok(
      at.seq >= (log.first[subpartition] as number),
      `${partition}[${subpartition}] was trimmed to ${log.first[subpartition]}; ${at.seq} is needed`,
    );
    assert.ok(
      at.seq < (log.chains[subpartition] as string[]).length,
      `${partition}[${subpartition}] has no position ${at.seq}`,
    );
    assert.equal(
      log.chains[subpartition]?.[at.seq],
      at.chain,
      `${partition}[${subpartition}] has another history before ${at.seq}`,
    );
    return log.entries[subpartition]?.[at.seq];
  }

  /** The entry just before a position, for checks. */
  before(partition: string, subpartition: number, seq: number): Entry | undefined {
    return this.#logs.get(partition)?.entries[subpartition]?.[seq - 1];
  }

  trim(partition: string, seqs: readonly number[]): void {
    const log = this.#logs.get(partition) as Log;
    seqs.forEach((seq, subpartition) => {
      log.first[subpartition] = Math.max(log.first[subpartition] as number, seq);
    });
  }
}

export function chainAfter(chain: string, entry: Entry): string {
  return checksumHex(xxh64(new TextEncoder().encode(JSON.stringify(entry)), BigInt(`0x${chain}`)));
}

function newLog(writer: string, partition: PartitionDescriptor): Log {
  const lists = <T>(make: () => T[]) => Array.from({ length: partition.subpartitions }, make);
  return {
    writer,
    entries: lists<Entry>(() => []),
    chains: lists(() => ['0'.repeat(16)]),
    first: Array.from({ length: partition.subpartitions }, () => 0),
    sealed: false,
    lost: false,
  };
}
