import { Batch, type CompiledSchema } from '../../base/columnar/index.js';
import type { Clock } from '../../base/index.js';
import type { SourceReader } from '../connectors/index.js';

/**
 * A source's reader as the task's loop wants it: one batch read ahead, paced to a rate. Pacing decides only *when* a
 * batch is taken, never what is in it.
 */
export class SourceInput {
  readonly #reader: SourceReader;
  readonly #schema: CompiledSchema;
  readonly #clock: Clock;
  /** Rows per ms; 0 for no limit. */
  readonly #rate: number;
  readonly #wake: () => void;
  #state: 'idle' | 'reading' | 'ready' | 'ended' | 'failed' = 'idle';
  #next: Uint8Array | undefined;
  #error: unknown;
  #position: string;
  #rowsTaken = 0;
  #startedMs: number;
  #batches = 0;

  constructor(options: {
    readonly reader: SourceReader;
    readonly schema: CompiledSchema;
    readonly clock: Clock;
    readonly rowsPerSecond: number;
    readonly wake: () => void;
  }) {
    this.#reader = options.reader;
    this.#schema = options.schema;
    this.#clock = options.clock;
    this.#rate = options.rowsPerSecond / 1000;
    this.#wake = options.wake;
    this.#position = options.reader.position();
    this.#startedMs = options.clock.monotonicMs();
  }

  /** Position after the batches taken so far. */
  get position(): string {
    return this.#position;
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  get batches(): number {
    return this.#batches;
  }

  /** Milliseconds until the rate allows the next batch; 0 when it does now. */
  get delayMs(): number {
    if (this.#rate === 0) return 0;
    return Math.max(0, this.#startedMs + this.#rowsTaken / this.#rate - this.#clock.monotonicMs());
  }

  /** Starts reading ahead; `wake` is called when there is something to take. */
  prefetch(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'reading';
    this.#reader.next().then(
      (bytes) => {
        this.#next = bytes;
        this.#state = bytes === undefined ? 'ended' : 'ready';
        this.#wake();
      },
      (error) => {
        this.#error = error;
        this.#state = 'failed';
        this.#wake();
      },
    );
  }

  /** The batch read ahead, or undefined when there is none yet, it is not due, or the source has ended. */
  take(): Batch | undefined {
    if (this.#state === 'failed') throw this.#error;
    if (this.#state !== 'ready' || this.delayMs > 0) return undefined;
    const batch = Batch.decode(this.#schema, this.#next as Uint8Array);
    this.#position = this.#reader.position();
    this.#rowsTaken += batch.rows;
    this.#batches++;
    return batch;
  }

  /** The batch taken is used up; its bytes may go. */
  release(): void {
    this.#next = undefined;
    this.#state = 'idle';
    this.prefetch();
  }

  close(): Promise<void> {
    return this.#reader.close();
  }
}
