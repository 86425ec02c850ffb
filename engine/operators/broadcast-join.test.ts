import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BroadcastJoin } from './broadcast-join.js';
import { type HarnessOptions, OperatorHarness, sortedRows } from './operator-harness.test.support.js';

// So that a failing run shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

const STREAM = { id: 'int32', code: 'utf8?' } as const;
const TABLE = { iata: 'utf8?', city: 'utf8', size: 'float64?' } as const;
const options: HarnessOptions = {
  create: () => new BroadcastJoin('code', 'iata'),
  inputs: [STREAM, TABLE],
  output: { id: 'int32', code: 'utf8?', city: 'utf8', size: 'float64?' },
};

const code = fc.constantFrom('AMS', 'BER', '', 'ams', 'x'.repeat(300), null);
const streamRow = fc.record({ id: fc.nat(5), code });
const tableRow = fc.record({
  iata: code,
  city: fc.constantFrom('Amsterdam', 'Berlin', ''),
  size: fc.option(fc.nat(9)),
});
const batches = <T>(row: fc.Arbitrary<T>) => fc.array(fc.array(row, { maxLength: 5 }), { maxLength: 4 });

test('each row meets every table row of its value, in table order; null meets nothing; also after a restore', () => {
  fc.assert(
    fc.property(batches(tableRow), batches(streamRow), fc.nat(4), (table, stream, restoreAfter) => {
      let harness = new OperatorHarness(options);
      // The snapshot may come amid the build (the first table batches are in it) or later.
      table.forEach((rows, at) => {
        harness.batch(rows, 1);
        if (at === restoreAfter) harness = new OperatorHarness(options, harness.checkpoint(1));
      });
      for (const rows of stream) {
        harness.batch(rows, 0);
        const expected = rows.flatMap((row) =>
          table
            .flat()
            .filter(({ iata }) => iata !== null && iata === row.code)
            .map(({ city, size }) => ({ ...row, city, size })),
        );
        assert.deepEqual(harness.takeRows(), expected);
      }
    }),
    { numRuns: 200 },
  );
});

test('a table of many batches is in the snapshot once, not again in the next one', async () => {
  const harness = new OperatorHarness(options);
  for (let i = 0; i < 50; i++) harness.batch([{ iata: `A${i}`, city: 'c'.repeat(1000), size: i }], 1);
  const first = harness.checkpoint(1).segments.at(-1) as Uint8Array;
  const second = await harness.state.snapshot(2).segment;
  assert.ok(first.length > 50_000);
  assert.equal(second.entries, 0);
  harness.batch([{ id: 1, code: 'A49' }]);
  assert.deepEqual(
    sortedRows(harness.takeRows()),
    sortedRows([{ id: 1, code: 'A49', city: 'c'.repeat(1000), size: 49 }]),
  );
});
