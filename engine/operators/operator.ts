import type { Batch, CompiledSchema } from '../../base/columnar/index.js';
import type { Clock, Logger } from '../../base/index.js';
import type { StateStore } from '../../statestore/index.js';

/** Makes one operator for one attempt of one subtask. */
export type OperatorFactory = () => Operator;

export interface OperatorContext {
  readonly subtask: number;
  readonly parallelism: number;
  /** Prefix for state names, so that two operators of a chain do not share state. */
  readonly statePrefix: string;
  readonly state: StateStore;
  readonly keyGroups: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Schemas of this node's inputs, in order, and of its output. */
  readonly inputs: readonly CompiledSchema[];
  readonly output: CompiledSchema;
  readonly counters: OperatorCounters;
  /** Event time reached so far, after a restore; -Infinity at a fresh start. */
  readonly watermark: number;
}

/** Shared by the operators of a task; read for progress and metrics. */
export interface OperatorCounters {
  lateDropped: number;
}

/** Where an operator's rows go: the next operator of the chain, or the task's partitions. */
export interface Output {
  /** Appends one row; the object is read at once and may be reused. */
  row(row: Readonly<Record<string, unknown>>): void;
  /** Passes a whole batch on; not valid after the call returns. */
  batch(batch: Batch): void;
  /** Only operators that assign event time call this; others let the task forward watermarks. */
  watermark(timeMs: number): void;
}

/** The key is valid during the call. */
export type KeyVisitor = (keyGroup: number, key: Uint8Array) => void;

/**
 * One operator of a chain. All calls come from the task's own loop, one at a time, and are synchronous: what an operator
 * does with a step's input is all done when the call returns.
 */
export interface Operator {
  open(context: OperatorContext, output: Output): void;
  batch(input: number, batch: Batch): void;
  /**
   * Event time reached `timeMs`: fire what is due. Returns false when there is more to do than fits one step; it is then
   * called again with the same time before anything else. Without this method watermarks pass through.
   */
  watermark?(timeMs: number): boolean;
  /** Input `input` has ended; rows may still be emitted. */
  inputEnded?(input: number): void;
  /**
   * Names the keys whose state `batch` would use. Asked only where that state may have to be brought to this host first; `batch` is
   * called when it is there.
   */
  keysOf?(input: number, batch: Batch, visit: KeyVisitor): void;
  /** Likewise the keys of the timers that `watermark` would fire in one step. */
  keysDue?(timeMs: number, visit: KeyVisitor): void;
  /** True when this operator itself makes watermarks and swallows the ones it is given. */
  readonly assignsTime?: boolean;
}

/** Work one `watermark` call may do before it yields: bounds a step, and with it the pause a barrier waits for. */
export const TIMERS_PER_STEP = 2048;
