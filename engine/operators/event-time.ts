import type { Batch } from '../../base/columnar/index.js';
import type { Operator, OperatorContext, Output } from './operator.js';

/**
 * Bounded out-of-orderness watermarks (Akidau et al., VLDB 2015): after each batch, watermark = largest time seen -
 * `outOfOrderMs` - 1. The largest time is operator state, so event time does not go back after a restore.
 */
export class EventTime implements Operator {
  readonly assignsTime = true;
  readonly #column: string;
  readonly #outOfOrderMs: number;
  #index = 0;
  #max = Number.NEGATIVE_INFINITY;
  #save: (max: number) => void = () => {};
  #output: Output | undefined;

  constructor(column: string, outOfOrderMs: number) {
    this.#column = column;
    this.#outOfOrderMs = outOfOrderMs;
  }

  open(context: OperatorContext, output: Output): void {
    this.#output = output;
    this.#index = context.output.indexOf(this.#column);
    const state = context.state.operatorValue(`${context.statePrefix}max-time`);
    const saved = state.get();
    if (saved !== undefined) this.#max = new DataView(saved.buffer, saved.byteOffset, 8).getFloat64(0);
    this.#save = (max) => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setFloat64(0, max);
      state.set(bytes);
    };
  }

  batch(_input: number, batch: Batch): void {
    const output = this.#output as Output;
    const column = batch.column(this.#index);
    let max = this.#max;
    for (let row = 0; row < batch.rows; row++) {
      const time = column.get(row) as number | null;
      if (time !== null && time > max) max = time;
    }
    output.batch(batch);
    if (max > this.#max) {
      this.#max = max;
      this.#save(max);
      output.watermark(max - this.#outOfOrderMs - 1);
    }
  }
}
