import type { Batch } from '../../base/columnar/index.js';
import { seek } from '../../base/columnar/index.js';
import type { Operator, OperatorContext, Output } from './operator.js';

/** Rows in, rows out, one for one. */
export class MapRows implements Operator {
  readonly #map: (row: never) => Readonly<Record<string, unknown>>;
  #output: Output | undefined;

  constructor(map: (row: never) => Readonly<Record<string, unknown>>) {
    this.#map = map;
  }

  open(_context: OperatorContext, output: Output): void {
    this.#output = output;
  }

  batch(_input: number, batch: Batch): void {
    const output = this.#output as Output;
    const view = batch.rowView();
    for (let row = 0; row < batch.rows; row++) {
      seek(view, row);
      output.row(this.#map(view as never));
    }
  }
}

/** Keeps the rows for which the predicate holds. */
export class FilterRows implements Operator {
  readonly #keep: (row: never) => boolean;
  #output: Output | undefined;

  constructor(keep: (row: never) => boolean) {
    this.#keep = keep;
  }

  open(_context: OperatorContext, output: Output): void {
    this.#output = output;
  }

  batch(_input: number, batch: Batch): void {
    const output = this.#output as Output;
    const view = batch.rowView();
    for (let row = 0; row < batch.rows; row++) {
      seek(view, row);
      if (this.#keep(view as never)) output.row(view as unknown as Readonly<Record<string, unknown>>);
    }
  }
}
