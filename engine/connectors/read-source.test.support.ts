import { Batch, compileSchema, type RowOf, type Schema, seek, toRow } from '../../base/columnar/index.js';
import { type Disk, silentLogger, systemClock } from '../../base/index.js';
import type { Source, SourceContext } from './spi.js';

export interface ReadOptions {
  readonly disk: Disk;
  readonly subtask?: number;
  readonly parallelism?: number;
  readonly position?: string;
  readonly batchRows?: number;
}

export interface ReadBatch {
  /** What `position()` said before the batch was read. */
  readonly position: string;
  readonly bytes: Buffer;
}

export function sourceContext(options: ReadOptions): SourceContext {
  const { disk, subtask = 0, parallelism = 1, position, batchRows = 100 } = options;
  return { disk, clock: systemClock(), logger: silentLogger(), subtask, parallelism, position, batchRows };
}

/** For tests: all batches of one subtask from a position, copied. */
export async function readBatches(source: Source, options: ReadOptions): Promise<ReadBatch[]> {
  const reader = await source.open(sourceContext(options));
  const batches: ReadBatch[] = [];
  try {
    for (;;) {
      const position = reader.position();
      const bytes = await reader.next();
      if (bytes === undefined) return batches;
      batches.push({ position, bytes: Buffer.from(bytes) });
    }
  } finally {
    await reader.close();
  }
}

/** For tests: all rows of one subtask from a position. */
export async function readRows<S extends Schema>(source: Source<S>, options: ReadOptions): Promise<RowOf<S>[]> {
  const rows: RowOf<S>[] = [];
  for (const { bytes } of await readBatches(source as unknown as Source, options)) {
    const batch = Batch.decode(compileSchema(source.schema), new Uint8Array(bytes)) as Batch<S>;
    const view = batch.rowView();
    for (let row = 0; row < batch.rows; row++) {
      seek(view as never, row);
      rows.push(toRow(view));
    }
  }
  return rows;
}
