import { job, jsonLines, max, min, type RowOf, rows, type Schema, tumbling } from '../engine/index.js';
import { interleavedRows } from './interleaved-rows.js';
import { lineOf, type PlainValues } from './plain-flow.js';
import { type JobShape, OUTPUT_FOLDER, type SimulatedJob, type SimulatedOutput } from './simulated-job.js';

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2001, 0);

/** What no replay gives again: a random number and the time at which it was asked for. */
export type Stamp = () => { readonly nonce: number; readonly ms: number };

const ROW = { at: 'timestamp', id: 'int32', key: 'utf8' } as const;
const STAMPED = { ...ROW, nonce: 'int64', ms: 'int64' } as const;
const SALT = { salt: 'utf8', saltNonce: 'int64', saltMs: 'int64' } as const;

/**
 * Nondeterministic user code, whose results must not fork. Each row is stamped once and goes down three ways: windows, rows
 * kept in order, and straight to a sink. Salts, stamped too, are written to a sink and broadcast to the first two.
 *
 *     rows ─> [behind a keyBy, or at the source] stamp ──┬─> keyBy, window ─> join ─> /out/windows
 *                                                        ├─> keyBy, top ────> join ─> /out/top
 *                                                        └────────────────────────> /out/rows
 *     salts ──────────────────────> stamp ──┬── broadcast to both joins
 *                                           └────────────────────────────────────> /out/salts
 *
 * Whatever is committed of a row or salt, in whichever sink, has one stamp.
 */
export function nonceJob(shape: JobShape, stamp: Stamp): SimulatedJob {
  const salts = Array.from({ length: shape.keys }, (_, i) => ({ salt: `K${i}` }));
  const timeOf = (id: number) => START_MS + Math.floor((id * shape.windows * HOUR_MS) / shape.rows);
  const rowAt = (id: number) => ({ at: timeOf(id), id, key: `K${(id * 7) % (shape.keys + 1)}` });
  const stamped = ({ at, id, key }: RowOf<typeof ROW>) => ({ at, id, key, ...stamp() });
  const definition = job('nonces', (j) => {
    const salted = j.from(rows({ salt: 'utf8' }, salts)).map(SALT, ({ salt }) => {
      const { nonce, ms } = stamp();
      return { salt, saltNonce: nonce, saltMs: ms };
    });
    const source = j
      .from(interleavedRows(ROW, rowAt, shape.rows), { rate: shape.rowsPerSecond })
      .eventTime('at', { outOfOrder: '1m' });
    const behind = source.keyBy('id').top(1, { by: 'id' });
    const all = (shape.dataSeed % 2 === 0 ? source : behind).map(STAMPED, stamped);
    all
      .keyBy('id', 'key')
      .window(tumbling('1h'))
      .aggregate({ nonce: min('nonce'), ms: min('ms'), nonceMax: max('nonce'), msMax: max('ms') })
      .join(salted.broadcast(), 'key', 'salt')
      .to(jsonLines(`${OUTPUT_FOLDER}/windows`));
    all
      .keyBy('id')
      .top(1, { by: 'nonce' })
      .join(salted.broadcast(), 'key', 'salt')
      .to(jsonLines(`${OUTPUT_FOLDER}/top`));
    all.to(jsonLines(`${OUTPUT_FOLDER}/rows`));
    salted.to(jsonLines(`${OUTPUT_FOLDER}/salts`));
  });
  const plain = Array.from({ length: shape.rows }, (_, id) => rowAt(id));
  const met = plain.filter(({ key }) => salts.some(({ salt }) => salt === key));
  const window = { id: 'int32', key: 'utf8', windowStart: 'timestamp', windowEnd: 'timestamp' } as const;
  const windows = met.map(({ at: ms, id, key }) => {
    const windowStart = Math.floor(ms / HOUR_MS) * HOUR_MS;
    return { id, key, windowStart, windowEnd: windowStart + HOUR_MS };
  });
  const outputs = [
    output('windows', window, windows),
    output('top', ROW, met),
    output('rows', ROW, plain),
    output('salts', { salt: 'utf8' }, salts),
  ];
  return { definition, outputs };
}

/** What a sink holds, but for the stamps: those are taken off its lines, and must be the same wherever they are met. */
function output(name: string, schema: Schema, expected: readonly PlainValues[]): SimulatedOutput {
  return {
    folder: `${OUTPUT_FOLDER}/${name}`,
    expected: expected.map((values) => lineOf(schema, values)),
    takeStamps(line) {
      const row = JSON.parse(line) as Readonly<Record<string, number | string | null>>;
      const stamps: { of: string; stamp: string }[] = [];
      if ('nonce' in row) stamps.push({ of: `row ${row.id}`, stamp: `${row.nonce} at ${row.ms}` });
      if ('nonceMax' in row) stamps.push({ of: `row ${row.id}`, stamp: `${row.nonceMax} at ${row.msMax}` });
      if ('saltNonce' in row) {
        const salt = row.salt ?? row.key;
        stamps.push({ of: `salt ${salt}`, stamp: `${row.saltNonce} at ${row.saltMs}` });
      }
      const rest = Object.keys(schema).map((column) => [column, row[column] ?? null]);
      return { line: JSON.stringify(Object.fromEntries(rest)), stamps };
    },
  };
}
