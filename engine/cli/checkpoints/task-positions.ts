import type { Manifest } from '../../../checkpoint/index.js';
import type { TaskPosition } from '../../runtime/index.js';
import { count, textTable } from '../text-table.js';

interface PositionRow {
  readonly task: string;
  readonly finished: boolean;
  /** Null for a task of someone who uses the store alone: what its position means is his business. */
  readonly position: {
    readonly sourceRows: number;
    readonly lateDropped: number;
    readonly watermark: number | null;
    readonly buffersRead: number;
    readonly inputsEnded: number;
    readonly inputs: number;
    readonly buffersSent: number;
    readonly openTransactions: number;
  } | null;
}

/** Where each task was: how far its inputs were read, what its outputs had sent, what its sink has not committed for certain. */
export function positionRows(manifest: Manifest): {
  readonly text: readonly string[];
  readonly json: readonly PositionRow[];
} {
  const rows = manifest.tasks.map(({ task, finished, position }) => ({ task, finished, position: summed(position) }));
  const cells = rows.map(({ task, finished, position: p }) => [
    `${task}${finished ? ' (finished)' : ''}`,
    ...(p === null
      ? ['unknown']
      : [
          p.watermark === null ? '-' : instant(p.watermark),
          p.sourceRows === 0 ? '-' : count(p.sourceRows),
          p.inputs === 0
            ? '-'
            : `${count(p.buffersRead)} of ${p.inputs}${p.inputsEnded === 0 ? '' : ` (${p.inputsEnded} ended)`}`,
          count(p.buffersSent),
          String(p.openTransactions),
        ]),
  ]);
  const columns = ['watermark', 'source rows', 'buffers read of channels', 'buffers sent', 'open transactions'];
  const text = textTable(
    [{ title: 'position of task', align: 'left' }, ...columns.map((title) => ({ title, align: 'right' as const }))],
    cells,
  );
  return { text, json: rows };
}

function summed(json: string): PositionRow['position'] {
  try {
    const { inputs, outputs, watermark, transactions, sourceRows, lateDropped } = JSON.parse(json) as TaskPosition;
    return {
      sourceRows,
      lateDropped,
      watermark,
      inputs: inputs.length,
      inputsEnded: inputs.filter((input) => input.ended).length,
      buffersRead: inputs.reduce((sum, input) => sum + input.seq, 0),
      buffersSent: outputs.flat().reduce((sum, output) => sum + output.seq, 0),
      openTransactions: transactions.length,
    };
  } catch {
    return null;
  }
}

function instant(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}
