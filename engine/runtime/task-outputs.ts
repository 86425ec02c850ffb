import type { Batch, CompiledSchema } from '../../base/columnar/index.js';
import { BUFFER_BARRIER, BUFFER_END, BUFFER_WATERMARK, type BufferKind, type TaskWriter } from '../../shuffle/index.js';
import type { Partitioning } from '../graph/index.js';
import type { BufferPosition } from './deployment.js';
import { barrierPayload, watermarkPayload } from './event-payload.js';
import { Exchange, type ExchangeCounters } from './exchange.js';

const EMPTY = new Uint8Array(0);

/** The output side of one task attempt: one exchange per output edge, one task log under all of them. */
export class TaskOutputs {
  readonly #writer: TaskWriter;
  readonly #exchanges: readonly Exchange[];

  constructor(options: {
    readonly writer: TaskWriter;
    readonly partitionings: readonly Partitioning[];
    readonly schema: CompiledSchema;
    readonly counters: ExchangeCounters;
  }) {
    this.#writer = options.writer;
    this.#exchanges = options.partitionings.map((partitioning, index) => {
      const partition = options.writer.partitions[index] as (typeof options.writer.partitions)[0];
      return new Exchange({ partition, partitioning, schema: options.schema, counters: options.counters });
    });
  }

  /** True when every consumer has room for another step. */
  get available(): boolean {
    return this.#writer.available;
  }

  whenAvailable(timeoutMs: number): Promise<void> {
    return this.#writer.whenAvailable(timeoutMs);
  }

  get holdsRows(): boolean {
    return this.#exchanges.some((exchange) => exchange.holdsRows);
  }

  batch(batch: Batch): void {
    for (const exchange of this.#exchanges) exchange.batch(batch);
  }

  flush(): void {
    for (const exchange of this.#exchanges) exchange.flush();
  }

  watermark(timeMs: number): void {
    this.#event(BUFFER_WATERMARK, watermarkPayload(timeMs));
  }

  barrier(checkpoint: number): void {
    this.#event(BUFFER_BARRIER, barrierPayload(checkpoint));
  }

  end(): void {
    this.#event(BUFFER_END, EMPTY);
  }

  /** Ends the step: all of it becomes visible, or none. @throws `WRITER_FENCED`. */
  publish(determinants: Uint8Array): void {
    this.#writer.publish(determinants);
  }

  /** Resolves when all published steps would outlive this process. */
  stored(): Promise<void> {
    return this.#writer.stored();
  }

  positions(): BufferPosition[][] {
    return this.#writer.partitions.map((partition) =>
      partition.positions().map(({ seq, chain }) => ({ seq, chain: chain.toString(16).padStart(16, '0') })),
    );
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  #event(kind: Exclude<BufferKind, 0>, payload: Uint8Array): void {
    for (const exchange of this.#exchanges) exchange.event(kind, payload);
  }
}
