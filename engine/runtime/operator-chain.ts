import { Batch, BatchBuilder, type CompiledSchema } from '../../base/columnar/index.js';
import type { KeyVisitor, Operator, Output } from '../operators/index.js';

/** Where the last operator's batches go. */
export interface ChainEnd {
  batch(batch: Batch): void;
}

/** Rows and bytes of a batch; a batch is cut at whichever comes first, so its bytes depend on the rows alone. */
export const BATCH_ROWS = 4096;
export const BATCH_BYTES = 128 * 1024;

interface Link {
  readonly operator: Operator;
  readonly output: LinkOutput;
}

/**
 * The operators of one task, first to last, and what lies between them: a batch builder each. A watermark walks down the
 * chain after the rows before it, and may take several steps where an operator has much to fire.
 */
export class OperatorChain {
  readonly #links: Link[] = [];
  readonly #end: ChainEnd;
  /** A watermark on its way: the next operator to see it. */
  #pending: { readonly timeMs: number; at: number } | undefined;
  #watermark: number;

  constructor(end: ChainEnd, watermark: number) {
    this.#end = end;
    this.#watermark = watermark;
  }

  /** Event time that has passed the whole chain. */
  get watermarkPassed(): number {
    return this.#watermark;
  }

  /** Adds the next operator; `open` is called with the output it will write to. */
  add(operator: Operator, outputSchema: CompiledSchema, open: (output: Output) => void): void {
    const at = this.#links.length;
    const output = new LinkOutput(
      outputSchema,
      (batch) => this.#deliver(at + 1, 0, batch),
      (timeMs) => this.#assign(timeMs, at + 1),
    );
    this.#links.push({ operator, output });
    open(output);
  }

  get length(): number {
    return this.#links.length;
  }

  /** A batch for input `input` of operator `at`. */
  batch(at: number, input: number, batch: Batch): void {
    this.#deliver(at, input, batch);
  }

  /** The keys whose state that batch would use. */
  keysOf(at: number, input: number, batch: Batch, visit: KeyVisitor): void {
    this.#links[at]?.operator.keysOf?.(input, batch, visit);
  }

  /** The keys whose state the next `advance` would use. Keyed operators begin a chain: no other makes rows for them. */
  keysDue(visit: KeyVisitor): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    for (const { operator } of this.#links.slice(pending.at)) operator.keysDue?.(pending.timeMs, visit);
  }

  /** Event time of the task's inputs advanced. Call `advance` until it returns true before the next batch. */
  watermark(timeMs: number): void {
    const first = this.#links.findIndex(({ operator }) => operator.assignsTime === true);
    // Time that an operator of this chain assigns replaces what came in, up to the end of the stream.
    const from = first === -1 || timeMs === MAX_WATERMARK ? 0 : this.#links.length;
    if (from === 0 && timeMs > this.#watermark) this.#pending = { timeMs, at: 0 };
  }

  /** Walks a pending watermark on. Returns true when there is none left; `passed` is then called with its time. */
  advance(passed: (timeMs: number) => void): boolean {
    const pending = this.#pending;
    if (pending === undefined) return true;
    while (pending.at < this.#links.length) {
      const { operator, output } = this.#links[pending.at] as Link;
      const done = operator.watermark === undefined || operator.watermark(pending.timeMs);
      output.flush();
      if (!done) return false;
      pending.at++;
    }
    this.#pending = undefined;
    this.#watermark = pending.timeMs;
    passed(pending.timeMs);
    return true;
  }

  /** True while a watermark is on its way. */
  get advancing(): boolean {
    return this.#pending !== undefined;
  }

  /** Passes on what the builders between operators hold. */
  flush(): void {
    for (const { output } of this.#links) output.flush();
  }

  inputEnded(at: number, input: number): void {
    this.#links[at]?.operator.inputEnded?.(input);
  }

  #deliver(at: number, input: number, batch: Batch): void {
    const link = this.#links[at];
    if (link === undefined) this.#end.batch(batch);
    else link.operator.batch(input, batch);
  }

  #assign(timeMs: number, at: number): void {
    if (timeMs > this.#watermark) this.#pending = { timeMs, at };
  }
}

/** Event time of a stream that has ended: everything is due. */
export const MAX_WATERMARK = Number.MAX_SAFE_INTEGER;

class LinkOutput implements Output {
  readonly #schema: CompiledSchema;
  readonly #builder: BatchBuilder;
  readonly #next: (batch: Batch) => void;
  readonly #assign: (timeMs: number) => void;

  constructor(schema: CompiledSchema, next: (batch: Batch) => void, assign: (timeMs: number) => void) {
    this.#schema = schema;
    this.#builder = new BatchBuilder(schema, { rowsMax: BATCH_ROWS, bytesMax: BATCH_BYTES });
    this.#next = next;
    this.#assign = assign;
  }

  row(row: Readonly<Record<string, unknown>>): void {
    this.#builder.append(row as never);
    if (this.#builder.full) this.flush();
  }

  batch(batch: Batch): void {
    this.flush();
    this.#next(batch);
  }

  watermark(timeMs: number): void {
    this.flush();
    this.#assign(timeMs);
  }

  flush(): void {
    if (this.#builder.rows > 0) this.#next(Batch.decode(this.#schema, this.#builder.finish()));
  }
}
