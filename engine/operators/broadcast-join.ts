import { Batch, type CompiledSchema, seek } from '../../base/columnar/index.js';
import type { OperatorValue } from '../../statestore/index.js';
import type { Operator, OperatorContext, Output } from './operator.js';

const STREAM = 0;

/**
 * Inner join of a stream (input 0) with a table small enough for every subtask (input 1, broadcast, built first).
 * State: the table's batches as they came, one operator value each, so that a snapshot writes each of them once.
 */
export class BroadcastJoin implements Operator {
  readonly #streamColumn: string;
  readonly #tableColumn: string;
  #context: OperatorContext | undefined;
  #output: Output | undefined;
  #count: OperatorValue | undefined;
  #batches: Batch[] = [];
  /** Join value -> [batch, row] pairs, flattened. */
  readonly #index = new Map<unknown, number[]>();
  #tableNames: string[] = [];

  constructor(streamColumn: string, tableColumn: string) {
    this.#streamColumn = streamColumn;
    this.#tableColumn = tableColumn;
  }

  open(context: OperatorContext, output: Output): void {
    this.#context = context;
    this.#output = output;
    const table = context.inputs[1] as CompiledSchema;
    this.#tableNames = table.columns.map((column) => column.name).filter((name) => name !== this.#tableColumn);
    this.#count = context.state.operatorValue(`${context.statePrefix}table-batches`);
    const saved = this.#count.get();
    const batches = saved === undefined ? 0 : new DataView(saved.buffer, saved.byteOffset, 4).getUint32(0);
    for (let i = 0; i < batches; i++) {
      const bytes = this.#value(i).get();
      if (bytes !== undefined) this.#add(Batch.decode(table, bytes));
    }
  }

  batch(input: number, batch: Batch): void {
    if (input !== STREAM) {
      const bytes = batch.bytes.slice();
      this.#value(this.#batches.length).set(bytes);
      this.#add(Batch.decode(batch.schema, bytes));
      const count = new Uint8Array(4);
      new DataView(count.buffer).setUint32(0, this.#batches.length);
      (this.#count as OperatorValue).set(count);
      return;
    }
    const output = this.#output as Output;
    const view = batch.rowView() as unknown as Record<string, unknown>;
    const streamNames = batch.schema.columns.map((column) => column.name);
    const row: Record<string, unknown> = {};
    for (let i = 0; i < batch.rows; i++) {
      seek(view as never, i);
      const matches = this.#index.get(view[this.#streamColumn]);
      if (matches === undefined) continue;
      for (const name of streamNames) row[name] = view[name];
      for (let m = 0; m < matches.length; m += 2) {
        const table = (this.#batches[matches[m] as number] as Batch).rowView() as unknown as Record<string, unknown>;
        seek(table as never, matches[m + 1] as number);
        for (const name of this.#tableNames) row[name] = table[name];
        output.row(row);
      }
    }
  }

  #value(index: number): OperatorValue {
    const context = this.#context as OperatorContext;
    return context.state.operatorValue(`${context.statePrefix}table-${index}`);
  }

  #add(batch: Batch): void {
    const column = batch.column(batch.schema.indexOf(this.#tableColumn));
    const at = this.#batches.length;
    for (let row = 0; row < batch.rows; row++) {
      const value = column.get(row);
      if (value === null) continue;
      const list = this.#index.get(value);
      if (list === undefined) this.#index.set(value, [at, row]);
      else list.push(at, row);
    }
    this.#batches.push(batch);
  }
}
