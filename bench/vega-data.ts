import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Of `vega-datasets`, whose package has no door to its files. */
export function dataFolder(): string {
  let folder = dirname(createRequire(import.meta.url).resolve('vega-datasets'));
  while (!existsSync(join(folder, 'data', 'flights-3m.parquet'))) {
    if (dirname(folder) === folder) throw new Error('vega-datasets has no flights-3m.parquet');
    folder = dirname(folder);
  }
  return join(folder, 'data');
}
