import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ColumnType, Schema } from '../../base/columnar/index.js';
import { MillraceError, nodeDisk } from '../../base/index.js';
import { csv } from './csv.js';
import { parseCell } from './csv-cell.js';
import { MemoryDisk } from './memory-disk.test.support.js';
import { readBatches, readRows, sourceContext } from './read-source.test.support.js';

const AIRPORTS = resolve(createRequire(import.meta.url).resolve('vega-datasets'), '../../data/airports.csv');
const PATH = '/data/t.csv';

function diskWith(text: string): MemoryDisk {
  const disk = new MemoryDisk();
  disk.put(PATH, text);
  return disk;
}

function read<const S extends Schema>(text: string, schema: S) {
  return readRows(csv(PATH, schema), { disk: diskWith(text) });
}

const failsWith = (code: string, ...words: string[]) => {
  return (e: unknown) =>
    e instanceof MillraceError && e.code === code && e.kind === 'invalid' && words.every((w) => e.message.includes(w));
};

test('airports: every line is a row, quoted names included', async () => {
  const schema = { iata: 'utf8', name: 'utf8', latitude: 'float64' } as const;
  const rows = await readRows(csv(AIRPORTS, schema), { disk: nodeDisk(), batchRows: 1000 });
  assert.equal(rows.length, 3376);
  assert.deepEqual(rows[0], { iata: '00M', name: 'Thigpen', latitude: 31.95376472 });
  assert.equal(rows.find((r) => r.iata === 'DBN')?.name, 'W. H. "Bud" Barron');
});

test('columns are found by name, in any order; an empty field is null where null may be', async () => {
  const rows = await read('\ufeffb,x,a\r\n1,,"q ""uo"", te"\r\n,9,\r\n\r\n3,9,"two\nlines"\r\n', {
    a: 'utf8?',
    b: 'int32?',
  });
  assert.deepEqual(rows, [
    { a: 'q "uo", te', b: 1 },
    { a: null, b: null },
    { a: 'two\nlines', b: 3 },
  ]);
  assert.deepEqual(await read('a\n""\n', { a: 'utf8' }), [{ a: '' }]);
});

test('texts come back, also across the pieces a file is read in', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ unit: 'grapheme' }), { minLength: 1 }), async (texts) => {
      const quoted = texts.map((t) => `"${t.replaceAll('"', '""')}",1\n`);
      const rows = await read(`t,n\n${quoted.join('')}`, { t: 'utf8', n: 'int32' });
      assert.deepEqual(
        rows,
        texts.map((t) => ({ t, n: 1 })),
      );
    }),
  );
  const long = Array.from({ length: 30_000 }, (_, i) => `é${i}`);
  assert.deepEqual(
    (await read(`t\n${long.join('\n')}`, { t: 'utf8' })).map((r) => r.t),
    long,
  );
});

test('from every position on come the same batches, byte for byte', async () => {
  const disk = diskWith(`n\n${Array.from({ length: 47 }, (_, i) => i).join('\n')}\n`);
  const source = csv(PATH, { n: 'int32' });
  const all = await readBatches(source, { disk, batchRows: 10 });
  assert.equal(all.length, 5);
  assert.equal(all[1]?.position, '{"row":10}');
  for (const [i, { position }] of all.entries()) {
    assert.deepEqual(await readBatches(source, { disk, batchRows: 10, position }), all.slice(i), position);
  }
  assert.deepEqual(await readBatches(source, { disk, position: '{"row":47}' }), []);
  await assert.rejects(
    source.open(sourceContext({ disk, position: '{"row":48}' })),
    failsWith('POSITION_INVALID', PATH),
  );
});

test('a value of another type names file, line and column', async () => {
  await assert.rejects(
    read('a,n\n"x\ny",1\nz,two\n', { a: 'utf8', n: 'int32' }),
    failsWith('VALUE_INVALID', PATH, 'line 4', 'column n', '"two"'),
  );
  await assert.rejects(read('n\n1\n2147483648\n', { n: 'int32' }), failsWith('VALUE_INVALID', 'line 3'));
  await assert.rejects(read('a,n\nx,\n', { n: 'int32' }), failsWith('VALUE_INVALID', 'line 2', 'column n'));
});

test('a line with another number of fields, or an open quote, names file and line', async () => {
  await assert.rejects(read('a,n\nx,1\ny\n', { a: 'utf8' }), failsWith('FILE_CORRUPT', PATH, 'line 3'));
  await assert.rejects(read('a\n"x\n', { a: 'utf8' }), failsWith('FILE_CORRUPT', PATH));
});

test('check says what is missing: the file, the column, the header', async () => {
  const check = (text: string | undefined, path = PATH) => {
    const disk = text === undefined ? new MemoryDisk() : diskWith(text);
    return csv(path, { a: 'utf8' }).check?.(sourceContext({ disk })) as Promise<void>;
  };
  await check('a\n');
  await assert.rejects(check(undefined), failsWith('FILE_NOT_FOUND', PATH));
  await assert.rejects(check('b,c\n1,2\n'), failsWith('COLUMN_MISSING', PATH, 'column a', 'b, c'));
  await assert.rejects(check(''), failsWith('COLUMN_MISSING', PATH));
});

test('a header alone is no rows', async () => {
  assert.deepEqual(await read('a', { a: 'utf8' }), []);
});

test('a disk that fails while reading fails the read', async () => {
  const disk = diskWith('a\n1\n');
  disk.stopAt = 2;
  await assert.rejects(readRows(csv(PATH, { a: 'utf8' }), { disk }), { code: 'DISK_FAILED' });
});

test('cells are parsed strictly', () => {
  const cell = (type: ColumnType, text: string) => parseCell({ name: 'c', type, nullable: false, index: 0 }, text);
  assert.deepEqual(
    ['true', 'false', 'TRUE', ''].map((t) => cell('bool', t)),
    [true, false, undefined, undefined],
  );
  assert.deepEqual(
    ['+7', '-0', '1.0', ' 1', '0x1'].map((t) => cell('int64', t)),
    [7, 0, undefined, undefined, undefined],
  );
  assert.equal(cell('int64', '9007199254740992'), undefined);
  assert.deepEqual(
    ['1e3', '.5', '5.', 'NaN', '', '1,5'].map((t) => cell('float64', t)),
    [1000, 0.5, 5, undefined, undefined, undefined],
  );
  const day = Date.UTC(2001, 0, 2);
  const instants = [
    '2001-01-02',
    '2001-01-02T00:00',
    '2001-01-02 00:00:00.5Z',
    '2001-01-02T01:00:00+01:00',
    '2001-02-30',
    '1',
  ];
  assert.deepEqual(
    instants.map((t) => cell('timestamp', t)),
    [day, day, day + 500, day, undefined, undefined],
  );
});
