import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RowOf, Schema } from '../../base/columnar/index.js';
import { rows, type Sink, type Source } from '../connectors/index.js';
import { count, max, mean, min, share, sum } from '../operators/index.js';
import { type JobBuilder, job, type Stream, tumbling } from './index.js';

/**
 * Proves at compile time that row types flow from the schemas: each `@ts-expect-error` fails the build when the line below
 * it compiles. What follows must compile, and is built for real at the end.
 */

const FLIGHTS = { date: 'timestamp', delay: 'int32', origin: 'utf8', carrier: 'utf8?' } as const;
const AIRPORTS = { iata: 'utf8', city: 'utf8', latitude: 'float64?' } as const;
const flights: Source<typeof FLIGHTS> = rows(FLIGHTS, []);
const airports: Source<typeof AIRPORTS> = rows(AIRPORTS, []);
const nowhere: Sink = {
  name: 'nowhere',
  open: async () => {
    throw new Error('never opened');
  },
};

/** Fails to compile unless both are the very same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <T extends true>(): T => true as T;
type SchemaIn<T> = T extends Stream<infer S extends Schema> ? { readonly [K in keyof S]: S[K] } : never;

function describe(j: JobBuilder) {
  const timed = j.from(flights).eventTime('date', { outOfOrder: '1m' });
  const windowed = timed.keyBy('origin').window(tumbling('1h'));
  const hourly = windowed.aggregate({
    flights: count(),
    total: sum('delay'),
    meanDelay: mean('delay'),
    most: max('delay'),
    least: min('delay'),
    late: share((flight) => flight.delay > 15),
  });
  const table = j.from(airports).broadcast();
  const joined = hourly.join(table, 'origin', 'iata');
  joined
    .keyBy('windowStart')
    .top(10, { by: 'meanDelay', ties: ['origin', 'city'] })
    .to(nowhere);
  const short = timed.map({ origin: 'utf8', minutes: 'float64?' }, (row) => ({
    origin: row.origin,
    minutes: row.delay / 60,
  }));
  short.filter((row) => row.minutes !== null && row.minutes > 1).to(nowhere);
  return { hourly, joined, short };
}

type Described = ReturnType<typeof describe>;

holds<
  Same<
    SchemaIn<Described['hourly']>,
    {
      readonly origin: 'utf8';
      readonly windowStart: 'timestamp';
      readonly windowEnd: 'timestamp';
      readonly flights: 'int64';
      readonly total: 'float64';
      readonly meanDelay: 'float64?';
      readonly most: 'float64?';
      readonly least: 'float64?';
      readonly late: 'float64';
    }
  >
>();
holds<Same<RowOf<SchemaIn<Described['joined']>>['city'], string>>();
holds<Same<RowOf<SchemaIn<Described['joined']>>['latitude'], number | null>>();
holds<Same<RowOf<SchemaIn<Described['joined']>>['meanDelay'], number | null>>();
holds<Same<keyof SchemaIn<Described['short']>, 'origin' | 'minutes'>>();

/** Never called: none of it is meant to run, and none of it may compile. */
export function misspelt(j: JobBuilder): void {
  const stream = j.from(flights);
  const timed = stream.eventTime('date', { outOfOrder: 1000 });
  const windowed = timed.keyBy('origin').window(tumbling('1h'));
  const table = j.from(airports).broadcast();

  // @ts-expect-error no such column
  stream.eventTime('dat', { outOfOrder: '1m' });
  // @ts-expect-error a text is no time
  stream.eventTime('origin', { outOfOrder: '1m' });
  // @ts-expect-error a minute is '1m'
  stream.eventTime('date', { outOfOrder: '1 minute' });
  // @ts-expect-error no such column
  stream.keyBy('orign');
  // @ts-expect-error no such column, in the second place
  stream.keyBy('origin', 'dely');
  // @ts-expect-error a key needs a column
  stream.keyBy();
  // @ts-expect-error no such column
  stream.filter((row) => row.dely > 1);
  // @ts-expect-error null is not a number
  stream.filter((row) => row.carrier.length > 1);
  // @ts-expect-error no such column
  stream.map({ a: 'int32' }, (row) => ({ a: row.dely }));
  // @ts-expect-error the row has a column that its schema has not
  stream.map({ a: 'int32' }, (row) => ({ b: row.delay }));
  // @ts-expect-error a column of another type than its schema says
  stream.map({ a: 'int32' }, (row) => ({ a: row.origin }));
  // @ts-expect-error no such type
  stream.map({ a: 'int31' }, (row) => ({ a: row.delay }));
  // @ts-expect-error no such column
  windowed.aggregate({ m: mean('dely') });
  // @ts-expect-error no such column
  windowed.aggregate({ m: sum('dely'), n: count() });
  // @ts-expect-error a mean of texts
  windowed.aggregate({ m: mean('origin') });
  // @ts-expect-error no such column
  windowed.aggregate({ m: max('dely') });
  // @ts-expect-error no such column
  windowed.aggregate({ m: min('dely') });
  // @ts-expect-error no such column
  windowed.aggregate({ s: share((r) => r.dely > 1) });
  // @ts-expect-error the share of a number
  windowed.aggregate({ s: share((r) => r.delay) });
  // @ts-expect-error what is aggregated is gone: only keys, window and aggregates are left
  windowed.aggregate({ n: count() }).filter((row) => row.delay > 1);
  // @ts-expect-error no such column of the stream
  stream.join(table, 'orign', 'iata');
  // @ts-expect-error no such column of the table
  stream.join(table, 'origin', 'iatta');
  // @ts-expect-error the table's join column is not in the result
  stream.join(table, 'origin', 'iata').filter((row) => row.iata === '');
  // @ts-expect-error a stream is no table
  stream.join(j.from(airports), 'origin', 'iata');
  // @ts-expect-error no such column
  timed.keyBy('origin').top(3, { by: 'dely' });
  // @ts-expect-error no such column
  timed.keyBy('origin').top(3, { by: 'delay', ties: ['orign'] });
  // @ts-expect-error no such order
  timed.keyBy('origin').top(3, { by: 'delay', order: 'down' });
  // @ts-expect-error no such unit
  tumbling('1w');
  // @ts-expect-error a parameter is a number or a text
  j.param('rows', true);
}

test('the job that compiles can be built', () => {
  const graph = job('typed', describe).build({});
  assert.deepEqual(
    graph.nodes.map(({ name }) => name),
    [
      'rows',
      'eventTime(date)',
      'window(3600000 ms)',
      'rows',
      'join(origin)',
      'top(10 by meanDelay)',
      'nowhere',
      'map',
      'filter',
      'nowhere',
    ],
  );
});
