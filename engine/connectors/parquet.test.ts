import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import type { Schema } from '../../base/columnar/index.js';
import { type Disk, MillraceError, nodeDisk } from '../../base/index.js';
import { parquet } from './parquet.js';
import { diskWith, type FixtureColumn, parquetFixture } from './parquet-fixture.test.support.js';
import { readBatches, readRows, sourceContext } from './read-source.test.support.js';

const FLIGHTS = resolve(createRequire(import.meta.url).resolve('vega-datasets'), '../../data/flights-3m.parquet');
const FLIGHTS_SCHEMA = { date: 'timestamp', delay: 'int32', origin: 'utf8' } as const;
const PATH = '/data/t.parquet';

const failsWith = (code: string, ...words: string[]) => {
  return (e: unknown) =>
    e instanceof MillraceError && e.code === code && e.kind === 'invalid' && words.every((w) => e.message.includes(w));
};

const column = (c: Partial<FixtureColumn> & Pick<FixtureColumn, 'groups'>): FixtureColumn => {
  return { name: 'c', type: 'INT64', ...c };
};

function readFixture(columns: readonly FixtureColumn[], schema: Schema, rows?: number): Promise<unknown[]> {
  const disk = diskWith(PATH, parquetFixture(columns));
  return readRows(parquet(PATH, schema, rows === undefined ? {} : { rows }), { disk });
}

/** Reads one column and gives its values. */
async function readColumn(c: Omit<Partial<FixtureColumn>, 'groups'>, spec: string, values: FixtureColumn['groups'][0]) {
  const rows = await readFixture([column({ ...c, groups: [values] })], { c: spec } as Schema);
  return (rows as { c: unknown }[]).map((row) => row.c);
}

test('flights: the rows are those that hyparquet itself reads, up to a limit inside the second row group', async () => {
  const rows = 272_727 + 5000;
  const disk = nodeDisk();
  const actual = await readRows(parquet(FLIGHTS, FLIGHTS_SCHEMA, { rows }), { disk, batchRows: 4096 });
  assert.equal(actual.length, rows);
  const bytes = await readFile(FLIGHTS);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  for (const rowStart of [0, 272_700, rows - 100]) {
    const columns = ['date', 'delay', 'origin'];
    const expected = await parquetReadObjects({ file, compressors, columns, rowStart, rowEnd: rowStart + 100 });
    assert.deepEqual(
      actual.slice(rowStart, rowStart + 100),
      expected.map((r) => ({ date: (r.date as Date).getTime(), delay: Number(r.delay), origin: r.origin })),
    );
  }
});

test('flights: subtasks share the row groups, whatever the parallelism, and the limit counts rows of the file', async () => {
  const rows = 272_727 * 2 + 1000;
  const source = parquet(FLIGHTS, { date: 'timestamp' }, { rows });
  const disk = nodeDisk();
  const counts = [];
  for (let subtask = 0; subtask < 4; subtask++) {
    counts.push((await readRows(source, { disk, subtask, parallelism: 4, batchRows: 100_000 })).length);
  }
  assert.deepEqual(counts, [272_727, 272_727, 1000, 0]);
});

test('from every position on come the same batches, byte for byte', async () => {
  const groups = [0, 1, 2, 3, 4].map((g) =>
    Array.from({ length: 25 + g }, (_, i) => (i % 7 === 0 ? null : BigInt(g * 100 + i))),
  );
  const names = groups.map((g) => g.map((v) => `name ${v}`));
  const columns = [
    column({ optional: true, groups }),
    column({ name: 's', type: 'BYTE_ARRAY', converted: 'UTF8', groups: names }),
  ];
  const disk = diskWith(PATH, parquetFixture(columns));
  const source = parquet(PATH, { s: 'utf8', c: 'int64?' });
  for (const parallelism of [1, 2, 3]) {
    for (let subtask = 0; subtask < parallelism; subtask++) {
      const all = await readBatches(source, { disk, subtask, parallelism, batchRows: 10 });
      for (const [i, { position }] of all.entries()) {
        const rest = await readBatches(source, { disk, subtask, parallelism, batchRows: 10, position });
        assert.deepEqual(rest, all.slice(i), `subtask ${subtask} of ${parallelism} from ${position}`);
      }
    }
  }
  assert.deepEqual((await readBatches(source, { disk, batchRows: 10 }))[3]?.position, '{"rowGroup":1,"row":0}');
});

test('the end is a position too, and one that the file cannot have is refused', async () => {
  const disk = diskWith(PATH, parquetFixture([column({ groups: [[1n], [2n]] })]));
  const source = parquet(PATH, { c: 'int64' });
  assert.deepEqual(await readBatches(source, { disk, position: '{"rowGroup":2,"row":0}' }), []);
  for (const position of ['{"rowGroup":0,"row":1}', '{"rowGroup":5,"row":0}', '{"rowGroup":-1,"row":0}', '{}']) {
    await assert.rejects(source.open(sourceContext({ disk, position })), failsWith('POSITION_INVALID', PATH), position);
  }
  const foreign = sourceContext({ disk, position: '{"rowGroup":1,"row":0}', parallelism: 2 });
  await assert.rejects(source.open(foreign), failsWith('POSITION_INVALID', PATH));
});

test('values come back however the file stores them', async () => {
  const value = fc.record({
    n: fc.option(fc.maxSafeInteger()),
    s: fc.option(fc.string({ unit: 'grapheme', maxLength: 6 })),
    b: fc.option(fc.boolean()),
    f: fc.option(fc.double({ noNaN: true })),
  });
  const layout = fc.record({
    encoding: fc.constantFrom('plain' as const, 'dictionary' as const),
    pageVersion: fc.constantFrom(1 as const, 2 as const),
    checksums: fc.boolean(),
    rowsPerPage: fc.integer({ min: 1, max: 20 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(value, { maxLength: 30 }), { maxLength: 4 }), layout, async (groups, how) => {
      const of = <T>(pick: (row: (typeof groups)[0][0]) => T) => groups.map((g) => g.map(pick));
      const columns: FixtureColumn[] = [
        { ...how, name: 'n', type: 'INT64', optional: true, groups: of((r) => (r.n === null ? null : BigInt(r.n))) },
        { ...how, name: 's', type: 'BYTE_ARRAY', converted: 'UTF8', optional: true, groups: of((r) => r.s) },
        { ...how, name: 'b', type: 'BOOLEAN', encoding: 'plain', optional: true, groups: of((r) => r.b) },
        { ...how, name: 'f', type: 'DOUBLE', optional: true, groups: of((r) => r.f) },
      ];
      const rows = await readFixture(columns, { n: 'int64?', s: 'utf8?', b: 'bool?', f: 'float64?' });
      const zero = (r: (typeof groups)[0][0]) => ({ ...r, n: r.n === 0 ? 0 : r.n });
      // A dictionary holds 0 and -0 as one: the fixture's distinctness, not the reader's.
      const plus = (r: unknown) =>
        JSON.parse(
          JSON.stringify(r, (_, v) => (Object.is(v, -0) ? 0 : v === Infinity ? 'inf' : v === -Infinity ? '-inf' : v)),
        );
      assert.deepEqual(rows.map(plus), groups.flat().map(zero).map(plus));
    }),
    { numRuns: 200 },
  );
});

test('stored types become the types asked for', async () => {
  assert.deepEqual(await readColumn({}, 'int32', [-(2n ** 31n), 2n ** 31n - 1n]), [-(2 ** 31), 2 ** 31 - 1]);
  assert.deepEqual(await readColumn({ type: 'INT32' }, 'int64', [-5]), [-5]);
  assert.deepEqual(await readColumn({ type: 'INT32', converted: 'UINT_32' }, 'int64', [2 ** 32 - 1]), [2 ** 32 - 1]);
  assert.deepEqual(await readColumn({ type: 'FLOAT' }, 'float64', [1.5]), [1.5]);
  assert.deepEqual(
    await readColumn({ type: 'INT32', converted: 'DATE' }, 'timestamp', [-1, 1]),
    [-86_400_000, 86_400_000],
  );
  assert.deepEqual(await readColumn({ timestamp: 'MILLIS' }, 'timestamp', [-1n]), [-1]);
  assert.deepEqual(
    await readColumn({ timestamp: 'MICROS' }, 'timestamp', [1999n, -1n, 2n ** 62n]),
    [1, -1, 4_611_686_018_427_387],
  );
  assert.deepEqual(await readColumn({ timestamp: 'NANOS' }, 'timestamp', [10n ** 18n + 999_999n]), [10 ** 12]);
  assert.deepEqual(await readColumn({ converted: 'TIMESTAMP_MICROS' }, 'timestamp', [2000n]), [2]);
  assert.deepEqual(await readColumn({ type: 'BYTE_ARRAY', converted: 'UTF8' }, 'utf8', ['\ufeffé', '']), [
    '\ufeffé',
    '',
  ]);
});

test('a column of another type, or one that is not there, is an error that names file and column, before any row', async () => {
  const number = column({ groups: [[1n]] });
  const check = (c: FixtureColumn, schema: Schema) => {
    const disk = diskWith(PATH, parquetFixture([c]));
    return parquet(PATH, schema).check?.(sourceContext({ disk })) as Promise<void>;
  };
  await assert.rejects(check(number, { c: 'utf8' }), failsWith('COLUMN_TYPE', PATH, 'column c', 'INT64', 'utf8'));
  await assert.rejects(check(number, { c: 'timestamp' }), failsWith('COLUMN_TYPE', 'timestamp'));
  await assert.rejects(check(number, { c: 'float64?' }), failsWith('COLUMN_TYPE', 'float64?'));
  await assert.rejects(check({ ...number, converted: 'DECIMAL' }, { c: 'int64' }), failsWith('COLUMN_TYPE', 'DECIMAL'));
  await assert.rejects(
    check({ ...number, timestamp: 'MICROS' }, { c: 'int64' }),
    failsWith('COLUMN_TYPE', 'TIMESTAMP'),
  );
  await assert.rejects(check(number, { d: 'int64' }), failsWith('COLUMN_MISSING', PATH, 'column d', 'it has: c'));
});

test('a null where none may be, and a number that does not fit, name column, row group and row', async () => {
  const nulls = [
    [1n, 2n],
    [3n, null],
  ];
  for (const encoding of ['plain', 'dictionary'] as const) {
    const where = ['column c', PATH, 'row group 1', 'row 1'];
    const withNull = column({ encoding, optional: true, groups: nulls });
    await assert.rejects(readFixture([withNull], { c: 'int64' }), failsWith('COLUMN_NULL', ...where));
    const large = column({ encoding, groups: [[1n], [3n, 2n ** 31n]] });
    await assert.rejects(readFixture([large], { c: 'int32' }), failsWith('COLUMN_RANGE', ...where, '2147483648'));
    const unsafe = column({
      encoding,
      optional: true,
      groups: [
        [1n, null],
        [null, 2n ** 53n],
      ],
    });
    await assert.rejects(readFixture([unsafe], { c: 'int64?' }), failsWith('COLUMN_RANGE', ...where));
    const optional = column({ encoding, optional: true, groups: [[1n], [2n]] });
    assert.deepEqual(await readFixture([optional], { c: 'int64' }), [{ c: 1 }, { c: 2 }]);
  }
});

test('files without rows, row groups without rows, and a limit of no rows give none', async () => {
  assert.deepEqual(await readFixture([column({ groups: [] })], { c: 'int64' }), []);
  assert.deepEqual(await readFixture([column({ groups: [[], [1n], []] })], { c: 'int64' }), [{ c: 1 }]);
  assert.deepEqual(await readFixture([column({ groups: [[1n]] })], { c: 'int64' }, 0), []);
  assert.throws(() => parquet(PATH, { c: 'int64' }, { rows: -1 }), failsWith('OPTION_INVALID', 'rows'));
});

test('a file that is not there is FILE_NOT_FOUND', async () => {
  const source = parquet('/data/none.parquet', { c: 'int64' });
  const disk = diskWith(PATH, new Uint8Array(0));
  await assert.rejects(
    source.check?.(sourceContext({ disk })) as Promise<void>,
    failsWith('FILE_NOT_FOUND', 'none.parquet'),
  );
  await assert.rejects(source.open(sourceContext({ disk: nodeDisk() })), failsWith('FILE_NOT_FOUND', 'none.parquet'));
});

const SMALL = parquetFixture([
  column({
    optional: true,
    encoding: 'dictionary',
    groups: [
      [1n, null, 3n],
      [4n, 4n],
    ],
  }),
  column({
    name: 's',
    type: 'BYTE_ARRAY',
    converted: 'UTF8',
    groups: [
      ['a', 'b', 'c'],
      ['d', 'e'],
    ],
  }),
]);
const SMALL_SCHEMA = { c: 'int64?', s: 'utf8' } as const;

test('a file cut off anywhere is FILE_CORRUPT, named, already by check', async () => {
  for (let length = 0; length < SMALL.length; length++) {
    const disk = diskWith(PATH, SMALL.slice(0, length));
    const check = parquet(PATH, SMALL_SCHEMA).check?.(sourceContext({ disk })) as Promise<void>;
    await assert.rejects(check, failsWith('FILE_CORRUPT', PATH), `${length} bytes`);
  }
});

test('a file that lost bytes anywhere in the middle is an error, never other rows', async () => {
  const rows = await readRows(parquet(PATH, SMALL_SCHEMA), { disk: diskWith(PATH, SMALL) });
  assert.equal(rows.length, 5);
  for (let at = 0; at < SMALL.length - 1; at++) {
    const disk = diskWith(PATH, Buffer.concat([SMALL.subarray(0, at), SMALL.subarray(at + 1)]));
    await assert.rejects(readRows(parquet(PATH, SMALL_SCHEMA), { disk }), MillraceError, `without byte ${at}`);
  }
});

test('a flipped byte in a page with a checksum is FILE_CORRUPT', async () => {
  const groups = [[1n, 2n, 3n]];
  const bytes = parquetFixture([column({ checksums: true, groups })]);
  const at = Buffer.from(bytes).indexOf(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]));
  bytes[at] = 9;
  const read = readRows(parquet(PATH, { c: 'int64' }), { disk: diskWith(PATH, bytes) });
  await assert.rejects(read, failsWith('FILE_CORRUPT', PATH, 'column c of row group 0', 'checksum'));
});

test('any flipped byte gives rows or one clear error, never a crash', async () => {
  for (let at = 0; at < SMALL.length; at++) {
    for (const mask of [0x01, 0x80]) {
      const bytes = SMALL.slice();
      bytes[at] = (bytes[at] as number) ^ mask;
      await readRows(parquet(PATH, SMALL_SCHEMA), { disk: diskWith(PATH, bytes) }).catch((e: unknown) => {
        assert.ok(e instanceof MillraceError, `byte ${at}: ${e}`);
      });
    }
  }
});

test('a file that changes after check, so that a page is cut off, is FILE_CORRUPT', async () => {
  let cut = SMALL.length;
  const whole = diskWith(PATH, SMALL);
  const disk = { ...whole, read: async (p, range) => await diskWith(p, SMALL.slice(0, cut)).read(p, range) } as Disk;
  const reader = await parquet(PATH, SMALL_SCHEMA).open(sourceContext({ disk, batchRows: 3 }));
  cut = Buffer.from(SMALL).indexOf(Buffer.from([1, 0, 0, 0, 0x65]));
  await reader.next();
  await assert.rejects(reader.next(), failsWith('FILE_CORRUPT', PATH));
  await reader.close();
});

test('at most one row group is read ahead', async () => {
  const groups = Array.from({ length: 6 }, (_, i) => [BigInt(i)]);
  const bytes = parquetFixture([column({ groups })]);
  let reads = 0;
  const plainDisk = diskWith(PATH, bytes);
  const disk = {
    ...plainDisk,
    read: (p, range) => {
      reads++;
      return plainDisk.read(p, range);
    },
  } as Disk;
  const reader = await parquet(PATH, { c: 'int64' }).open(sourceContext({ disk }));
  const footerReads = reads - 1;
  for (let group = 1; group <= 6; group++) {
    await reader.next();
    assert.equal(reads - footerReads, Math.min(group + 1, 6));
  }
  await reader.close();
});
