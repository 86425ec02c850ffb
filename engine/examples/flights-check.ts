import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';

/**
 * What the flights job must put out, computed the plain way: the same two files, a Map of hours, a sort. It shares no
 * code with Millrace (no connector, no batch, no operator), so that a bug there cannot hide by being here as well.
 */

export interface FlightsInput {
  readonly flightsFile: string;
  readonly airportsFile: string;
  /** Only the first so many flights of the file. */
  readonly rows: number;
}

export interface ExpectedFlights {
  /** JSON lines, sorted by code unit. */
  readonly lines: string[];
  /** Of the sorted lines, each ended by '\n'. */
  readonly sha256: string;
}

export interface LineComparison {
  /** Lines that are there more often than they should be, counting each surplus copy. */
  readonly duplicates: number;
  /** Lines that should be there and are not. */
  readonly missing: number;
  /** Lines that should not be there at all. */
  readonly unexpected: number;
  /** Of the sorted actual lines, as in `ExpectedFlights`. */
  readonly sha256: string;
}

const HOUR_MS = 3_600_000;
const LATE_MINUTES = 15;
const WORST_COUNT = 10;

interface Tally {
  flights: number;
  delaySum: number;
  delayMax: number;
  late: number;
}

interface Airport {
  readonly name: string;
  readonly state: string | null;
  readonly latitude: number;
  readonly longitude: number;
}

/** Takes about a second per million rows, and lets the event loop run at every column it reads. */
export async function expectedFlights(input: FlightsInput): Promise<ExpectedFlights> {
  const hours = await tallyHours(input.flightsFile, input.rows);
  const airports = await readAirports(input.airportsFile);
  const lines: string[] = [];
  for (const [windowStart, origins] of hours) {
    const rows: Record<string, string | number | null>[] = [];
    for (const [origin, t] of origins) {
      for (const airport of airports.get(origin) ?? []) {
        const meanDelay = t.delaySum / t.flights;
        const late = t.late / t.flights;
        rows.push({
          origin,
          windowStart: new Date(windowStart).toISOString(),
          windowEnd: new Date(windowStart + HOUR_MS).toISOString(),
          flights: t.flights,
          meanDelay,
          maxDelay: t.delayMax,
          late,
          ...airport,
        });
      }
    }
    rows.sort((a, b) => Number(b.meanDelay) - Number(a.meanDelay) || (String(a.origin) < String(b.origin) ? -1 : 1));
    for (const row of rows.slice(0, WORST_COUNT)) lines.push(JSON.stringify(row));
  }
  lines.sort();
  return { lines, sha256: hashSorted(lines) };
}

/** Compares as multisets: order does not matter, how often a line is there does. */
export function compareLines(actual: readonly string[], expected: readonly string[]): LineComparison {
  const left = new Map<string, number>();
  for (const line of expected) left.set(line, (left.get(line) ?? 0) + 1);
  let duplicates = 0;
  let unexpected = 0;
  for (const line of actual) {
    const count = left.get(line);
    if (count === undefined) unexpected++;
    else if (count === 0) duplicates++;
    else left.set(line, count - 1);
  }
  let missing = 0;
  for (const count of left.values()) missing += count;
  return { duplicates, missing, unexpected, sha256: hashSorted([...actual].sort()) };
}

function hashSorted(lines: readonly string[]): string {
  const hash = createHash('sha256');
  for (const line of lines) hash.update(`${line}\n`);
  return hash.digest('hex');
}

async function tallyHours(path: string, rows: number): Promise<Map<number, Map<string, Tally>>> {
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file);
  const hours = new Map<number, Map<string, Tally>>();
  let groupStart = 0;
  for (const group of metadata.row_groups) {
    const groupEnd = groupStart + Number(group.num_rows);
    const rowEnd = Math.min(groupEnd, rows);
    if (rowEnd <= groupStart) break;
    const count = rowEnd - groupStart;
    const columns: Record<string, ArrayLike<unknown>[]> = { date: [], delay: [], origin: [] };
    for (const column of Object.keys(columns)) columns[column] = new Array(count);
    await parquetRead({
      file,
      metadata,
      compressors,
      columns: Object.keys(columns),
      rowStart: groupStart,
      rowEnd,
      parsers: { timestampFromMicroseconds: (micros: bigint) => Number(micros / 1000n) },
      onChunk: ({ columnName, columnData, rowStart }) => {
        // Columns arrive in any order and in chunks of different lengths: only the row number says what belongs together.
        const column = columns[columnName] as unknown[];
        const from = rowStart - groupStart;
        const length = Math.min(columnData.length, count - from);
        for (let i = 0; i < length; i++) column[from + i] = columnData[i];
      },
    });
    const { date, delay, origin } = columns as unknown as { date: number[]; delay: bigint[]; origin: string[] };
    for (let i = 0; i < count; i++) {
      tally(hours, date[i] as number, origin[i] as string, Number(delay[i] as bigint));
    }
    groupStart = groupEnd;
  }
  return hours;
}

function tally(hours: Map<number, Map<string, Tally>>, date: number, origin: string, delay: number): void {
  const windowStart = Math.floor(date / HOUR_MS) * HOUR_MS;
  let origins = hours.get(windowStart);
  if (origins === undefined) {
    origins = new Map();
    hours.set(windowStart, origins);
  }
  let t = origins.get(origin);
  if (t === undefined) {
    t = { flights: 0, delaySum: 0, delayMax: Number.NEGATIVE_INFINITY, late: 0 };
    origins.set(origin, t);
  }
  t.flights++;
  t.delaySum += delay;
  if (delay > t.delayMax) t.delayMax = delay;
  if (delay > LATE_MINUTES) t.late++;
}

async function readAirports(path: string): Promise<Map<string, Airport[]>> {
  const airports = new Map<string, Airport[]>();
  const records = parse(await readFile(path, 'utf8'), { columns: true, bom: true }) as Record<string, string>[];
  for (const r of records) {
    const iata = r.iata ?? '';
    const airport = {
      name: r.name ?? '',
      state: r.state === '' ? null : (r.state ?? null),
      latitude: Number(r.latitude),
      longitude: Number(r.longitude),
    };
    const same = airports.get(iata);
    if (same === undefined) airports.set(iata, [airport]);
    else same.push(airport);
  }
  return airports;
}
