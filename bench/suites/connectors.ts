import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { Batch, compileSchema, seek, toRow } from '../../base/columnar/index.js';
import { nodeDisk, silentLogger, systemClock } from '../../base/index.js';
import { jsonLines, parquet } from '../../engine/connectors/index.js';
import { measure, type Suite, secondsOf, size } from '../harness.js';
import { dataFolder } from '../vega-data.js';

const FLIGHTS = { date: 'timestamp', delay: 'int32', distance: 'int32', origin: 'utf8', destination: 'utf8' } as const;
const SCHEMA = compileSchema(FLIGHTS);
const BATCH_ROWS = 4096;
const LINES_PER_CHUNK = 1024;
type FlightBatch = Batch<typeof FLIGHTS>;

const environment = { disk: nodeDisk(), clock: systemClock(), logger: silentLogger() };

export const connectors: Suite = {
  name: 'connectors',
  async run(context) {
    const file = join(dataFolder(), 'flights-3m.parquet');
    const rows = size(context, 1_000_000, 5_000);
    await measure(
      context,
      { name: 'connectors.parquet', unit: 'rows/s', limitName: 'bare hyparquet, columns dropped' },
      async () => rows / (await secondsOf(() => readBatches(file, rows, () => undefined))),
      async () => rows / (await secondsOf(() => readBare(file, rows))),
    );
    const batches: FlightBatch[] = [];
    const sinkRows = size(context, 300_000, 5_000);
    await readBatches(file, sinkRows, (batch) => batches.push(Batch.decode(SCHEMA, batch.bytes.slice())));
    const objects = batches.flatMap(toRows);
    let run = 0;
    await measure(
      context,
      { name: 'connectors.jsonLines', unit: 'rows/s', limitName: 'JSON.stringify of objects, write, fdatasync' },
      async () => sinkRows / (await secondsOf(() => writeLines(join(context.folder, `out-${run++}`), batches))),
      async () => sinkRows / (await secondsOf(() => writeBare(join(context.folder, 'bare.jsonl'), objects))),
    );
  },
};

async function readBatches(file: string, rows: number, each: (batch: FlightBatch) => void): Promise<void> {
  const context = { ...environment, subtask: 0, parallelism: 1, position: undefined, batchRows: BATCH_ROWS };
  const reader = await parquet(file, FLIGHTS, { rows }).open(context);
  let read = 0;
  for (let bytes = await reader.next(); bytes !== undefined; bytes = await reader.next()) {
    const batch = Batch.decode(SCHEMA, bytes);
    read += batch.rows;
    each(batch);
  }
  await reader.close();
  if (read !== rows) throw new Error(`${read} rows were read of ${rows}`);
}

async function readBare(path: string, rowEnd: number): Promise<void> {
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file);
  await parquetRead({ file, metadata, compressors, columns: Object.keys(FLIGHTS), rowEnd, onChunk: () => undefined });
}

/** One transaction: written, prepared, committed. */
async function writeLines(folder: string, batches: readonly FlightBatch[]): Promise<void> {
  const sink = jsonLines(folder);
  const context = { ...environment, subtask: 0, attempt: 'bench', schema: FLIGHTS, recovered: [] };
  const writer = await sink.open(context);
  for (const batch of batches) {
    writer.write(batch as unknown as Batch);
    if (writer.pending !== undefined) await writer.pending;
  }
  const transaction = await writer.preCommit(1);
  if (transaction === undefined) throw new Error('the sink wrote nothing');
  await writer.commit(transaction);
  await writer.close();
}

async function writeBare(path: string, objects: readonly object[]): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (let from = 0; from < objects.length; from += LINES_PER_CHUNK) {
      const lines = objects.slice(from, from + LINES_PER_CHUNK).map((row) => `${JSON.stringify(row)}\n`);
      await file.write(lines.join(''));
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Timestamps as the sink writes them. */
function toRows(batch: FlightBatch): object[] {
  const view = batch.rowView();
  return Array.from({ length: batch.rows }, (_, row) => {
    seek(view, row);
    const flight = toRow(view);
    return { ...flight, date: new Date(flight.date).toISOString() };
  });
}
