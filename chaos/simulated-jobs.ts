import { seededRandom } from '../base/index.js';
import {
  count,
  type JobDefinition,
  job,
  jsonLines,
  max,
  mean,
  type RowOf,
  rows,
  share,
  sum,
  tumbling,
} from '../engine/index.js';
import { drawnJob } from './job-grammar.js';
import { nonceJob, type Stamp } from './nonce-job.js';
import { type JobShape, OUTPUT_FOLDER, type SimulatedJob } from './simulated-job.js';

export const JOB_KINDS = ['flights', 'windows', 'chain', 'late', 'drawn', 'nonces'] as const;
export type JobKind = (typeof JOB_KINDS)[number];

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2001, 0);
const LATE = 15;
const BEST = 3;

const EVENT = { at: 'timestamp', key: 'utf8', value: 'int32' } as const;
const PLACE = { code: 'utf8', name: 'utf8', state: 'utf8?' } as const;
type Event = RowOf<typeof EVENT>;
type Place = RowOf<typeof PLACE>;

/** `stamp`: what nondeterministic user code is given. */
export function simulatedJob(kind: JobKind, shape: JobShape, stamp: Stamp): SimulatedJob {
  switch (kind) {
    case 'flights':
      return flights(shape);
    case 'windows':
      return windows(shape);
    case 'late':
      return late(shape);
    case 'chain':
      return chain(shape);
    case 'drawn':
      return drawnJob(shape.steps ?? [], shape);
    case 'nonces':
      return nonceJob(shape, stamp);
  }
}

function oneOutput(definition: JobDefinition, expected: readonly string[]): SimulatedJob {
  return { definition, outputs: [{ folder: OUTPUT_FOLDER, expected }] };
}

/** Row i of the stream: nearly in order of time, by less than a minute. */
function eventAt({ dataSeed, rows: total, keys, windows: span }: JobShape): (i: number) => Event {
  return (i) => {
    const random = seededRandom(Math.imul(dataSeed + i, 0x9e3779b1));
    const at = START_MS + Math.floor((i * span * HOUR_MS) / total) + random.below(60_000);
    return { at, key: `K${random.below(keys)}`, value: random.below(100) - 30 };
  };
}

/** Most keys once, every fifth twice, every seventh not at all. */
function places({ keys }: JobShape): Place[] {
  const found: Place[] = [];
  for (let k = 0; k < keys; k++) {
    if (k % 7 === 6) continue;
    found.push({ code: `K${k}`, name: `Place "${k}"`, state: k % 3 === 0 ? null : `S${k % 4}` });
    if (k % 5 === 4) found.push({ code: `K${k}`, name: `Place ${k}, again`, state: 'XX' });
  }
  return found;
}

function hourOf({ at }: Event): number {
  return Math.floor(at / HOUR_MS) * HOUR_MS;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** The main job's shape: two sources, windows per key, a table that is built first, the best of each hour. */
function flights(shape: JobShape): SimulatedJob {
  const rowAt = eventAt(shape);
  const table = places(shape);
  const definition = job('flights', (j) => {
    const known = j.from(rows(PLACE, table)).broadcast();
    j.from(rows(EVENT, rowAt, { count: shape.rows }), { rate: shape.rowsPerSecond })
      .eventTime('at', { outOfOrder: '1m' })
      .keyBy('key')
      .window(tumbling('1h'))
      .aggregate({
        events: count(),
        meanValue: mean('value'),
        maxValue: max('value'),
        late: share((e) => e.value > LATE),
      })
      .join(known, 'key', 'code')
      .keyBy('windowStart')
      .top(BEST, { by: 'meanValue', ties: ['key', 'name'] })
      .to(jsonLines(OUTPUT_FOLDER));
  });
  return oneOutput(definition, bestOfHours(shape.rows, rowAt, table));
}

function bestOfHours(total: number, rowAt: (i: number) => Event, table: readonly Place[]): string[] {
  const hours = new Map<number, Map<string, number[]>>();
  for (let i = 0; i < total; i++) {
    const event = rowAt(i);
    const hour = hours.get(hourOf(event)) ?? new Map<string, number[]>();
    hours.set(hourOf(event), hour);
    const values = hour.get(event.key) ?? [];
    hour.set(event.key, values);
    values.push(event.value);
  }
  const lines: string[] = [];
  for (const [start, keys] of hours) {
    const found = [];
    for (const [key, values] of keys) {
      const meanValue = values.reduce((a, b) => a + b, 0) / values.length;
      const late = values.filter((value) => value > LATE).length / values.length;
      const window = { key, windowStart: iso(start), windowEnd: iso(start + HOUR_MS), events: values.length };
      for (const { code, name, state } of table) {
        if (code === key) found.push({ ...window, meanValue, maxValue: Math.max(...values), late, name, state });
      }
    }
    found.sort((a, b) => b.meanValue - a.meanValue || compare(a.key, b.key) || compare(a.name, b.name));
    for (const row of found.slice(0, BEST)) lines.push(JSON.stringify(row));
  }
  return lines;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Stateless rows before a keyed window, a filter behind it. */
function windows(shape: JobShape): SimulatedJob {
  const rowAt = eventAt(shape);
  const definition = job('windows', (j) => {
    j.from(rows(EVENT, rowAt, { count: shape.rows }), { rate: shape.rowsPerSecond })
      .filter((e) => e.value !== 0)
      .eventTime('at', { outOfOrder: '1m' })
      .map({ at: 'timestamp', key: 'utf8', twice: 'int32' }, (e) => ({ at: e.at, key: e.key, twice: e.value * 2 }))
      .keyBy('key')
      .window(tumbling('1h'))
      .aggregate({ events: count(), total: sum('twice') })
      .filter((w) => w.total % 3 !== 0)
      .to(jsonLines(OUTPUT_FOLDER));
  });
  const groups = new Map<string, { key: string; start: number; events: number; total: number }>();
  for (let i = 0; i < shape.rows; i++) {
    const event = rowAt(i);
    if (event.value === 0) continue;
    const start = hourOf(event);
    const group = groups.get(`${start} ${event.key}`) ?? { key: event.key, start, events: 0, total: 0 };
    groups.set(`${start} ${event.key}`, group);
    group.events++;
    group.total += event.value * 2;
  }
  const kept = [...groups.values()].filter(({ total }) => total % 3 !== 0);
  const expected = kept.map(({ key, start, events, total }) =>
    JSON.stringify({ key, windowStart: iso(start), windowEnd: iso(start + HOUR_MS), events, total }),
  );
  return oneOutput(definition, expected);
}

/**
 * Windows of one source, some of whose rows come when their window is long closed, by far more than a batch: they count for
 * nothing, also in a task that was restored meanwhile.
 */
function late(given: JobShape): SimulatedJob {
  const shape = { ...given, rows: Math.max(300, given.rows), windows: 8 + (given.windows % 5) };
  const inOrder = eventAt(shape);
  const isLate = (i: number) => i % 15 === 14 && i > (6 * shape.rows) / shape.windows;
  const rowAt = (i: number): Event => {
    const event = inOrder(i);
    return isLate(i) ? { ...event, at: event.at - 5 * HOUR_MS } : event;
  };
  const definition = job('late', (j) => {
    j.from(rows(EVENT, rowAt, { count: shape.rows }), { rate: shape.rowsPerSecond })
      .eventTime('at', { outOfOrder: '1m' })
      .keyBy('key')
      .window(tumbling('1h'))
      .aggregate({ events: count(), total: sum('value') })
      .to(jsonLines(OUTPUT_FOLDER));
  });
  const groups = new Map<string, { key: string; start: number; events: number; total: number }>();
  for (let i = 0; i < shape.rows; i++) {
    if (isLate(i)) continue;
    const event = rowAt(i);
    const start = hourOf(event);
    const group = groups.get(`${start} ${event.key}`) ?? { key: event.key, start, events: 0, total: 0 };
    groups.set(`${start} ${event.key}`, group);
    group.events++;
    group.total += event.value;
  }
  const expected = [...groups.values()].map(({ key, start, events, total }) =>
    JSON.stringify({ key, windowStart: iso(start), windowEnd: iso(start + HOUR_MS), events, total }),
  );
  return oneOutput(definition, expected);
}

/** One task from source to sink. */
function chain(shape: JobShape): SimulatedJob {
  const rowAt = eventAt(shape);
  const numbered = { id: 'int32', key: 'utf8', value: 'int32' } as const;
  const definition = job('chain', (j) => {
    j.from(
      rows(numbered, (id) => ({ id, key: rowAt(id).key, value: rowAt(id).value }), { count: shape.rows }),
      {
        rate: shape.rowsPerSecond,
      },
    )
      .filter((row) => row.value % 3 !== 0)
      .map({ id: 'int32', text: 'utf8' }, (row) => ({ id: row.id, text: `${row.key}:${row.value}` }))
      .to(jsonLines(OUTPUT_FOLDER));
  });
  const expected: string[] = [];
  for (let id = 0; id < shape.rows; id++) {
    const { key, value } = rowAt(id);
    if (value % 3 !== 0) expected.push(JSON.stringify({ id, text: `${key}:${value}` }));
  }
  return oneOutput(definition, expected);
}
