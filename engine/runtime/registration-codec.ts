import { text, unpack } from './control-codec.js';
import { Progress } from './generated/millrace/control/progress.js';
import { RegisterSlot } from './generated/millrace/control/register-slot.js';
import { RegisterWorker } from './generated/millrace/control/register-worker.js';

/** Counters of one attempt of a task. */
export interface TaskProgress {
  readonly task: string;
  readonly attempt: number;
  readonly sourceRows: number;
  readonly rowsIn: number;
  readonly rowsOut: number;
  readonly lateDropped: number;
}

export function decodeProgress(bytes: Uint8Array): TaskProgress[] {
  const table = unpack('progress', bytes, (buffer) => Progress.getRootAsProgress(buffer).unpack());
  return table.tasks.map((t) => ({
    task: text(t.task),
    attempt: t.attempt,
    sourceRows: Number(t.sourceRows),
    rowsIn: Number(t.rowsIn),
    rowsOut: Number(t.rowsOut),
    lateDropped: Number(t.lateDropped),
  }));
}

export function decodeRegisterSlot(bytes: Uint8Array): { readonly worker: string; readonly slot: number } {
  const table = unpack('slot', bytes, (buffer) => RegisterSlot.getRootAsRegisterSlot(buffer).unpack());
  return { worker: text(table.worker), slot: table.slot };
}

export function decodeRegisterWorker(bytes: Uint8Array): {
  readonly worker: string;
  readonly pid: number;
  readonly slots: number;
  readonly version: string;
} {
  const table = unpack('worker', bytes, (buffer) => RegisterWorker.getRootAsRegisterWorker(buffer).unpack());
  return { worker: text(table.worker), pid: table.pid, slots: table.slots, version: text(table.version) };
}
