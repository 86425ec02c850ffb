import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { count, csv, job, jsonLines, max, mean, parquet, share, tumbling } from 'millrace';

/** For every hour of 2001: the ten airports whose departures were latest on average, and where they are. */
export default job('flights', (j) => {
  const datasets = createRequire(import.meta.url).resolve('vega-datasets');
  const data = (name: string) => resolve(datasets, '../../data', name);

  const airports = j
    .from(
      csv(data('airports.csv'), {
        iata: 'utf8',
        name: 'utf8',
        state: 'utf8?',
        latitude: 'float64',
        longitude: 'float64',
      }),
    )
    .broadcast();

  j.from(
    parquet(
      data('flights-3m.parquet'),
      { date: 'timestamp', delay: 'int32', distance: 'int32', origin: 'utf8', destination: 'utf8' },
      { rows: j.param('rows', 3_000_000) },
    ),
    { rate: j.param('rate', 300_000) },
  )
    .eventTime('date', { outOfOrder: '1m' })
    .keyBy('origin')
    .window(tumbling('1h'))
    .aggregate({
      flights: count(),
      meanDelay: mean('delay'),
      maxDelay: max('delay'),
      late: share((flight) => flight.delay > 15),
    })
    .join(airports, 'origin', 'iata')
    .keyBy('windowStart')
    .top(10, { by: 'meanDelay', ties: ['origin'] })
    .to(jsonLines(j.param('out', 'out')));
});
