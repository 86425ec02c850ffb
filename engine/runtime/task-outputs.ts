import type { Batch, CompiledSchema } from '../../base/columnar/index.js';
import { BUFFER_BARRIER, BUFFER_END, BUFFER_WATERMARK, type BufferKind, type TaskWriter } from '../../shuffle/index.js';
import type { JobEdge } from '../graph/index.js';
import type { BufferPosition } from './deployment.js';
import { barrierPayload, watermarkPayload } from './event-payload.js';
import { Exchange, type ExchangeCounters } from './exchange.js';

const EMPTY = new Uint8Array(0);

/** The output side of one task attempt: one exchange per output edge, one task log under all of them. */
export class TaskOutputs {
  readonly #writer: TaskWriter;
  readonly #exchanges: readonly Exchange[];
  readonly #timeoutsMs: readonly number[];
  /** Of each exchange: since when rows wait for their batch to fill. */
  readonly #heldSinceMs: (number | undefined)[];

  constructor(options: {
    readonly writer: TaskWriter;
    readonly edges: readonly Pick<JobEdge, 'partitioning' | 'limits'>[];
    readonly schema: CompiledSchema;
    readonly counters: ExchangeCounters;
  }) {
    this.#writer = options.writer;
    this.#timeoutsMs = options.edges.map(({ limits }) => limits.bufferTimeoutMs);
    this.#heldSinceMs = options.edges.map(() => undefined);
    this.#exchanges = options.edges.map(({ partitioning }, index) => {
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

  batch(batch: Batch): void {
    for (const exchange of this.#exchanges) exchange.batch(batch);
  }

  /** After a step: notes which exchanges hold rows back. */
  noteHeldRows(nowMs: number): void {
    for (const [i, exchange] of this.#exchanges.entries()) {
      if (!exchange.holdsRows) this.#heldSinceMs[i] = undefined;
      else this.#heldSinceMs[i] ??= nowMs;
    }
  }

  /** How long until `flushOverdue` has something to do. */
  dueInMs(nowMs: number): number {
    let due = Number.POSITIVE_INFINITY;
    for (const [i, since] of this.#heldSinceMs.entries()) {
      if (since !== undefined) due = Math.min(due, since + (this.#timeoutsMs[i] as number) - nowMs);
    }
    return Math.max(0, due);
  }

  /** Cuts the batches of one exchange whose rows have waited long enough; its index, or -1 when there is none. */
  flushOverdue(nowMs: number): number {
    const due = this.#heldSinceMs.findIndex(
      (since, i) => since !== undefined && nowMs - since >= (this.#timeoutsMs[i] as number),
    );
    this.#exchanges[due]?.flush();
    return due;
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
