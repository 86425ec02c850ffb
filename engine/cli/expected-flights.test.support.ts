import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { type ExpectedFlights, expectedFlights } from '../examples/index.js';

/** What the flights job must put out over the first `rows` flights. */
export function expectedOfFlights(rows: number): Promise<ExpectedFlights> {
  const datasets = createRequire(import.meta.url).resolve('vega-datasets');
  const data = (name: string) => resolve(datasets, '../../data', name);
  return expectedFlights({ flightsFile: data('flights-3m.parquet'), airportsFile: data('airports.csv'), rows });
}
