import zlib from 'node:zlib';
import type { Disk } from '../../base/index.js';

/**
 * Test double: writes small parquet files (uncompressed, flat), just enough of the format to try every way in which the
 * reader may find a value: https://github.com/apache/parquet-format.
 */
export interface FixtureColumn {
  readonly name: string;
  readonly type: 'BOOLEAN' | 'INT32' | 'INT64' | 'FLOAT' | 'DOUBLE' | 'BYTE_ARRAY';
  readonly converted?: 'UTF8' | 'DATE' | 'TIMESTAMP_MILLIS' | 'TIMESTAMP_MICROS' | 'UINT_32' | 'DECIMAL';
  readonly timestamp?: 'MILLIS' | 'MICROS' | 'NANOS';
  readonly optional?: boolean;
  readonly encoding?: 'plain' | 'dictionary';
  readonly pageVersion?: 1 | 2;
  readonly checksums?: boolean;
  readonly rowsPerPage?: number;
  /** Per row group. */
  readonly groups: readonly (readonly (boolean | number | bigint | string | null)[])[];
}

const TYPES = { BOOLEAN: 0, INT32: 1, INT64: 2, FLOAT: 4, DOUBLE: 5, BYTE_ARRAY: 6 };
const CONVERTED = { UTF8: 0, DECIMAL: 5, DATE: 6, TIMESTAMP_MILLIS: 9, TIMESTAMP_MICROS: 10, UINT_32: 13 };
const UNITS = { MILLIS: 1, MICROS: 2, NANOS: 3 };
const PLAIN = 0;
const RLE = 3;
const RLE_DICTIONARY = 8;

export function parquetFixture(columns: readonly FixtureColumn[]): Uint8Array {
  const parts: Buffer[] = [Buffer.from('PAR1')];
  let offset = 4;
  const groups = (columns[0]?.groups ?? []).map((_, index) => {
    const chunks = columns.map((column) => {
      const values = column.groups[index] ?? [];
      const pages = pagesOf(column, values);
      const bytes = Buffer.concat(pages);
      const dictionary = column.encoding === 'dictionary';
      const start = offset;
      parts.push(bytes);
      offset += bytes.length;
      return struct([
        [2, i64(start)],
        [
          3,
          struct([
            [1, i32(TYPES[column.type])],
            [2, list(I32, [i32(PLAIN), i32(RLE)])],
            [3, list(BINARY, [text(column.name)])],
            [4, i32(0)],
            [5, i64(values.length)],
            [6, i64(bytes.length)],
            [7, i64(bytes.length)],
            [9, i64(dictionary ? start + (pages[0] as Buffer).length : start)],
            ...(dictionary ? [[11, i64(start)] as Field] : []),
          ]),
        ],
      ]);
    });
    const rows = columns[0]?.groups[index]?.length ?? 0;
    return struct([
      [1, list(STRUCT, chunks)],
      [2, i64(0)],
      [3, i64(rows)],
    ]);
  });
  const root = struct([
    [4, text('root')],
    [5, i32(columns.length)],
  ]);
  const rows = (columns[0]?.groups ?? []).reduce((sum, group) => sum + group.length, 0);
  const footer = struct([
    [1, i32(1)],
    [2, list(STRUCT, [root, ...columns.map(schemaElement)])],
    [3, i64(rows)],
    [4, list(STRUCT, groups)],
  ]).bytes;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  // Not a Buffer, whose slice() is no copy.
  return new Uint8Array(Buffer.concat([...parts, footer, length, Buffer.from('PAR1')]));
}

/** Test double: a disk with one file, whose ranged reads end where the file does. */
export function diskWith(path: string, bytes: Uint8Array): Disk {
  const only = (p: string) => (p === path ? bytes : undefined);
  return {
    read: async (p, range) => (only(p) as Uint8Array).slice(range?.offset, range && range.offset + range.length),
    stat: async (p) => (only(p) === undefined ? undefined : { bytes: bytes.length, folder: false }),
  } as Disk;
}

function schemaElement(column: FixtureColumn): Thrift {
  const unit = column.timestamp;
  const logical =
    unit &&
    struct([
      [
        8,
        struct([
          [1, TRUE],
          [2, struct([[UNITS[unit], struct([])]])],
        ]),
      ],
    ]);
  return struct([
    [1, i32(TYPES[column.type])],
    [3, i32(column.optional === true ? 1 : 0)],
    [4, text(column.name)],
    ...(column.converted ? [[6, i32(CONVERTED[column.converted])] as Field] : []),
    ...(logical ? [[10, logical] as Field] : []),
  ]);
}

function pagesOf(column: FixtureColumn, values: readonly unknown[]): Buffer[] {
  const distinct = [...new Set(values.filter((v) => v !== null))];
  const pages: Buffer[] = [];
  if (column.encoding === 'dictionary') {
    const header: Field = [
      7,
      struct([
        [1, i32(distinct.length)],
        [2, i32(PLAIN)],
      ]),
    ];
    pages.push(page(2, header, Buffer.concat(distinct.map((v) => plain(column, v))), column));
  }
  const size = column.rowsPerPage ?? Math.max(1, values.length);
  for (let from = 0; from < values.length; from += size)
    pages.push(dataPage(column, values.slice(from, from + size), distinct));
  return pages;
}

function dataPage(column: FixtureColumn, values: readonly unknown[], distinct: readonly unknown[]): Buffer {
  const present = values.filter((v) => v !== null);
  const levels =
    column.optional === true
      ? runs(
          values.map((v) => (v === null ? 0 : 1)),
          1,
        )
      : Buffer.alloc(0);
  const bits = Math.max(1, 32 - Math.clz32(Math.max(0, distinct.length - 1)));
  const data =
    column.encoding === 'dictionary'
      ? Buffer.concat([
          Buffer.from([bits]),
          runs(
            present.map((v) => distinct.indexOf(v)),
            (bits + 7) >> 3,
          ),
        ])
      : column.type === 'BOOLEAN'
        ? bitmap(present as boolean[])
        : Buffer.concat(present.map((v) => plain(column, v)));
  const encoding = i32(column.encoding === 'dictionary' ? RLE_DICTIONARY : PLAIN);
  if (column.pageVersion === 2) {
    const counts: Field[] = [
      [1, i32(values.length)],
      [2, i32(values.length - present.length)],
      [3, i32(values.length)],
    ];
    const header = struct([...counts, [4, encoding], [5, i32(levels.length)], [6, i32(0)], [7, FALSE]]);
    return page(3, [8, header], Buffer.concat([levels, data]), column);
  }
  const length = Buffer.alloc(4);
  length.writeUInt32LE(levels.length);
  const header = struct([
    [1, i32(values.length)],
    [2, encoding],
    [3, i32(RLE)],
    [4, i32(RLE)],
  ]);
  return page(0, [5, header], Buffer.concat([...(column.optional === true ? [length, levels] : []), data]), column);
}

function page(type: number, header: Field, body: Buffer, column: FixtureColumn): Buffer {
  const crc: Field[] = column.checksums === true ? [[4, i32(zlib.crc32(body) | 0)]] : [];
  const fields: Field[] = [[1, i32(type)], [2, i32(body.length)], [3, i32(body.length)], ...crc, header];
  return Buffer.concat([struct(fields).bytes, body]);
}

function plain(column: FixtureColumn, value: unknown): Buffer {
  const bytes = Buffer.alloc(8);
  switch (column.type) {
    case 'INT32':
      bytes.writeInt32LE(Number(value) | 0);
      return bytes.subarray(0, 4);
    case 'INT64':
      bytes.writeBigInt64LE(BigInt(value as bigint));
      return bytes;
    case 'FLOAT':
      bytes.writeFloatLE(value as number);
      return bytes.subarray(0, 4);
    case 'DOUBLE':
      bytes.writeDoubleLE(value as number);
      return bytes;
    default: {
      const body = Buffer.from(value as string);
      bytes.writeUInt32LE(body.length);
      return Buffer.concat([bytes.subarray(0, 4), body]);
    }
  }
}

function bitmap(values: readonly boolean[]): Buffer {
  const bytes = Buffer.alloc((values.length + 7) >> 3);
  values.forEach((v, i) => {
    if (v) bytes[i >> 3] = (bytes[i >> 3] as number) | (1 << (i & 7));
  });
  return bytes;
}

/** Run-length encoding, each value a run of its own length. */
function runs(values: readonly number[], width: number): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < values.length; ) {
    let end = i + 1;
    while (end < values.length && values[end] === values[i]) end++;
    const value = Buffer.alloc(4);
    value.writeUInt32LE(values[i] as number);
    parts.push(varint(BigInt(end - i) << 1n), value.subarray(0, width));
    i = end;
  }
  return Buffer.concat(parts);
}

// Thrift's compact protocol.
interface Thrift {
  readonly type: number;
  readonly bytes: Buffer;
}
type Field = readonly [id: number, value: Thrift];

const I32 = 5;
const BINARY = 8;
const STRUCT = 12;
const TRUE: Thrift = { type: 1, bytes: Buffer.alloc(0) };
const FALSE: Thrift = { type: 2, bytes: Buffer.alloc(0) };

const i32 = (n: number): Thrift => ({ type: I32, bytes: zigzag(BigInt(n)) });
const i64 = (n: number): Thrift => ({ type: 6, bytes: zigzag(BigInt(n)) });

function text(s: string): Thrift {
  return { type: BINARY, bytes: Buffer.concat([varint(BigInt(Buffer.byteLength(s))), Buffer.from(s)]) };
}

function list(type: number, items: readonly Thrift[]): Thrift {
  const head =
    items.length < 15
      ? [Buffer.from([(items.length << 4) | type])]
      : [Buffer.from([0xf0 | type]), varint(BigInt(items.length))];
  return { type: 9, bytes: Buffer.concat([...head, ...items.map((i) => i.bytes)]) };
}

function struct(fields: readonly Field[]): Thrift {
  const parts: Buffer[] = [];
  let last = 0;
  for (const [id, value] of fields) {
    parts.push(Buffer.from([((id - last) << 4) | value.type]), value.bytes);
    last = id;
  }
  return { type: STRUCT, bytes: Buffer.concat([...parts, Buffer.from([0])]) };
}

function zigzag(n: bigint): Buffer {
  return varint(n < 0n ? -2n * n - 1n : 2n * n);
}

function varint(n: bigint): Buffer {
  const bytes: number[] = [];
  let rest = n;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
