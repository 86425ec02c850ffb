import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { compareLines, expectedFlights } from './flights-check.js';

const DATA = resolve(createRequire(import.meta.url).resolve('vega-datasets'), '../../data');
const FILES = { flightsFile: `${DATA}/flights-3m.parquet`, airportsFile: `${DATA}/airports.csv` };

test('an hour of the expected output is what filtering the flights of that hour gives', async () => {
  const { lines } = await expectedFlights({ ...FILES, rows: 20_000 });
  const file = await asyncBufferFromFile(FILES.flightsFile);
  const flights = await parquetReadObjects({ file, compressors, rowEnd: 20_000 });
  const hour = '2001-01-01T13';
  const ofHour = flights.filter((f) => (f.date as Date).toISOString().startsWith(hour));
  const rows = lines.filter((l) => l.includes(`"windowStart":"${hour}`)).map((l) => JSON.parse(l));
  assert.equal(rows.length, 10);
  for (const row of rows) {
    const delays = ofHour.filter((f) => f.origin === row.origin).map((f) => Number(f.delay));
    assert.equal(row.flights, delays.length);
    assert.equal(row.meanDelay, delays.reduce((a, b) => a + b, 0) / delays.length);
    assert.equal(row.maxDelay, Math.max(...delays));
    assert.equal(row.late, delays.filter((d) => d > 15).length / delays.length);
  }
  const worst = Math.min(...rows.map((r) => r.meanDelay));
  const listed = new Set(rows.map((r) => r.origin));
  for (const origin of new Set(ofHour.map((f) => f.origin as string))) {
    const delays = ofHour.filter((f) => f.origin === origin).map((f) => Number(f.delay));
    const mean = delays.reduce((a, b) => a + b, 0) / delays.length;
    assert.ok(listed.has(origin) || mean <= worst, `${origin} is missing`);
  }
  assert.deepEqual(Object.keys(rows[0]).slice(0, 3), ['origin', 'windowStart', 'windowEnd']);
});

test('lines are compared as multisets, in any order', () => {
  const expected = ['a', 'b', 'c', 'c'];
  const same = compareLines(['c', 'b', 'c', 'a'], expected);
  assert.deepEqual({ ...same, sha256: '' }, { duplicates: 0, missing: 0, unexpected: 0, sha256: '' });
  const other = compareLines(['a', 'a', 'a', 'x', 'c'], expected);
  assert.deepEqual({ ...other, sha256: '' }, { duplicates: 2, missing: 2, unexpected: 1, sha256: '' });
  assert.notEqual(other.sha256, same.sha256);
});

test('the hash of equal output is the expected one', async () => {
  const expected = await expectedFlights({ ...FILES, rows: 2000 });
  assert.equal(compareLines([...expected.lines].reverse(), expected.lines).sha256, expected.sha256);
});
