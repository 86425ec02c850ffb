import {
  type Batch,
  BatchBuilder,
  type CompiledSchema,
  KeyExtractor,
  keyGroupOf,
  subtaskOfKeyGroup,
} from '../../base/columnar/index.js';
import type { BufferKind, ResultPartitionWriter } from '../../shuffle/index.js';
import { KEY_GROUPS, type Partitioning } from '../graph/index.js';
import { BATCH_BYTES, BATCH_ROWS } from './operator-chain.js';

/** Counts what leaves a task. */
export interface ExchangeCounters {
  rowsOut: number;
}

/** One output edge of a task: spreads batches over the subpartitions of one partition. */
export class Exchange {
  readonly #partition: ResultPartitionWriter;
  readonly #extractor: KeyExtractor | undefined;
  readonly #builders: BatchBuilder[];
  readonly #counters: ExchangeCounters;
  readonly #subtaskOf: Uint16Array;
  #hashes = new Uint32Array(0);

  constructor(options: {
    readonly partition: ResultPartitionWriter;
    readonly partitioning: Partitioning;
    readonly schema: CompiledSchema;
    readonly counters: ExchangeCounters;
  }) {
    const { partitioning, schema } = options;
    this.#partition = options.partition;
    this.#counters = options.counters;
    const width = options.partition.descriptor.subpartitions;
    this.#extractor = partitioning.kind === 'hash' ? new KeyExtractor(schema, partitioning.columns) : undefined;
    const builders = this.#extractor === undefined ? 0 : width;
    this.#builders = Array.from(
      { length: builders },
      () => new BatchBuilder(schema, { rowsMax: BATCH_ROWS, bytesMax: BATCH_BYTES }),
    );
    this.#subtaskOf = Uint16Array.from({ length: KEY_GROUPS }, (_, group) =>
      subtaskOfKeyGroup(group, KEY_GROUPS, width),
    );
  }

  batch(batch: Batch): void {
    this.#counters.rowsOut += batch.rows;
    if (this.#extractor === undefined) {
      // Forward and broadcast edges pass the batch on as it is.
      this.#partition.emit(0, batch.bytes, batch.rows);
      return;
    }
    if (this.#hashes.length < batch.rows) this.#hashes = new Uint32Array(batch.rows);
    const hashes = this.#hashes;
    this.#extractor.hashes(batch, hashes);
    for (let row = 0; row < batch.rows; row++) {
      const subpartition = this.#subtaskOf[keyGroupOf(hashes[row] as number, KEY_GROUPS)] as number;
      const builder = this.#builders[subpartition] as BatchBuilder;
      builder.appendFrom(batch, row);
      if (builder.full) this.#emit(subpartition, builder);
    }
  }

  /** Emits the rows of unfinished batches. */
  flush(): void {
    for (let i = 0; i < this.#builders.length; i++) {
      const builder = this.#builders[i] as BatchBuilder;
      if (builder.rows > 0) this.#emit(i, builder);
    }
  }

  /** True when rows wait for their batch to fill. */
  get holdsRows(): boolean {
    return this.#builders.some((builder) => builder.rows > 0);
  }

  /** Flushes, then stages the event in every subpartition: an event never overtakes a row. */
  event(kind: Exclude<BufferKind, 0>, payload: Uint8Array): void {
    this.flush();
    this.#partition.event(kind, payload);
  }

  #emit(subpartition: number, builder: BatchBuilder): void {
    const rows = builder.rows;
    this.#partition.emit(subpartition, builder.finish(), rows);
  }
}
