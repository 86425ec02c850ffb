/** fast-check arbitraries of schemas and rows, for tests. */
import fc from 'fast-check';
import type { ColumnSpec, ColumnType, Schema, Value } from './schema.js';

// So that a failing test shows what failed, not only for which values.
fc.configureGlobal({ includeErrorInReport: true });

export type PlainRow = Record<string, Value>;

const TYPES: readonly ColumnType[] = ['bool', 'int32', 'int64', 'float64', 'timestamp', 'utf8'];
const MAX = Number.MAX_SAFE_INTEGER;

const safeInteger = fc.oneof(
  fc.constantFrom(0, 1, -1, MAX, -MAX, 2 ** 32, -(2 ** 32), 2 ** 32 - 1, -(2 ** 31), 2 ** 31),
  fc.maxSafeInteger(),
);

const values: Record<ColumnType, fc.Arbitrary<Value>> = {
  bool: fc.boolean(),
  int32: fc.oneof(fc.constantFrom(0, -1, 2147483647, -2147483648), fc.integer()),
  int64: safeInteger,
  timestamp: safeInteger,
  float64: fc.oneof(fc.constantFrom(0, -0, Number.NaN, Infinity, -Infinity, Number.MIN_VALUE), fc.double()),
  // Units of all kinds: ASCII, zero, two and three bytes, pairs, and lone surrogates.
  utf8: fc.oneof(
    fc.constantFrom('', '\0', 'a\0', '\0\0b', '\u{1f600}', '\ud800', 'x\udc00', '\ufffd', '\uffff', 'a'.repeat(300)),
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
  ),
};

export function valueFor(spec: ColumnSpec): fc.Arbitrary<Value> {
  return spec.endsWith('?') ? fc.option(values[spec.slice(0, -1) as ColumnType]) : values[spec as ColumnType];
}

export const columnSpec: fc.Arbitrary<ColumnSpec> = fc
  .tuple(fc.constantFrom(...TYPES), fc.boolean())
  .map(([type, nullable]) => (nullable ? `${type}?` : type) as ColumnSpec);

const columnName = fc.oneof(
  fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,9}$/).filter((name) => name !== '__proto__' && name !== 'constructor'),
  fc.constantFrom('class', 'toJSON', 'toString', 'hasOwnProperty', 'row', 'prototype'),
);

export const schemaOf: fc.Arbitrary<Schema> = fc
  .uniqueArray(fc.tuple(columnName, columnSpec), { minLength: 1, maxLength: 6, selector: ([name]) => name })
  .map((entries) => Object.fromEntries(entries));

/** A schema with rows of it. */
export function table(rowsMax = 40): fc.Arbitrary<{ schema: Schema; rows: PlainRow[] }> {
  return schemaOf.chain((schema) => {
    const entries = Object.entries(schema).map(([name, spec]) => [name, valueFor(spec)] as const);
    const row = fc.record(Object.fromEntries(entries), { noNullPrototype: true }) as fc.Arbitrary<PlainRow>;
    return fc.record({ schema: fc.constant(schema), rows: fc.array(row, { maxLength: rowsMax }) });
  });
}

/** What a value is after it has been stored: strings are well-formed. */
export function stored(value: Value): Value {
  return typeof value === 'string' ? Buffer.from(value, 'utf8').toString('utf8') : value;
}

export function storedRow(row: PlainRow): PlainRow {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, stored(value)]));
}
