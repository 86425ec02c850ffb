import type { SchemaElement } from 'hyparquet';
import type { ColumnInfo, ColumnType, Value } from '../../base/columnar/index.js';

/** Turns one stored value into a row's value; undefined when it does not fit the column's type. */
export type ParquetConversion = (stored: never) => Value | undefined;

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
const DAY_MS = 86_400_000;

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * How a stored column becomes one of this type, or undefined when it cannot. Widening is fine (INT32 to int64, FLOAT to
 * float64), and so is narrowing that is checked value by value (INT64 to int32); nothing is rounded but time, which is
 * cut to whole milliseconds (towards the past), and nothing is parsed.
 */
export function parquetConversion(element: SchemaElement, type: ColumnType): ParquetConversion | undefined {
  const kind = storedKind(element);
  switch (type) {
    case 'bool':
      return kind === 'bool' ? same : undefined;
    case 'utf8':
      return kind === 'text' ? (stored: Uint8Array) => decoder.decode(stored) : undefined;
    case 'float64':
      return kind === 'float' || kind === 'int32' ? same : undefined;
    case 'int32':
      if (kind === 'int32' || kind === 'int64' || kind === 'uint32') return integerWithin(kind, INT32_MIN, INT32_MAX);
      return undefined;
    case 'int64':
      if (kind !== 'int32' && kind !== 'int64' && kind !== 'uint32') return undefined;
      return integerWithin(kind, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    case 'timestamp':
      return timestamp(kind);
  }
}

/** A stored column in words, for messages: `INT64 TIMESTAMP(MICROS)`. */
export function describeStored(element: SchemaElement): string {
  const logical = element.logical_type;
  const unit = logical !== undefined && 'unit' in logical ? `(${logical.unit})` : '';
  const annotation = logical === undefined ? (element.converted_type ?? '') : `${logical.type}${unit}`;
  return `${element.type ?? 'a group'} ${annotation}`.trim();
}

/** A column of a schema in words. */
export function describeSpec(column: ColumnInfo): string {
  return column.nullable ? `${column.type}?` : column.type;
}

type StoredKind = 'bool' | 'int32' | 'uint32' | 'int64' | 'float' | 'text' | 'days' | 'millis' | 'micros' | 'nanos';

function storedKind(element: SchemaElement): StoredKind | undefined {
  const { type, converted_type: converted, logical_type: logical } = element;
  switch (type) {
    case 'BOOLEAN':
      return 'bool';
    case 'FLOAT':
    case 'DOUBLE':
      return 'float';
    case 'BYTE_ARRAY':
      return logical?.type === 'STRING' || logical?.type === 'ENUM' || logical?.type === 'JSON' || isText(converted)
        ? 'text'
        : undefined;
    case 'INT32':
      if (logical?.type === 'DATE' || converted === 'DATE') return 'days';
      if (converted === 'UINT_32' || (logical?.type === 'INTEGER' && !logical.isSigned)) return 'uint32';
      return isPlainInteger(element) ? 'int32' : undefined;
    case 'INT64':
      if (logical?.type === 'TIMESTAMP')
        return { MILLIS: 'millis', MICROS: 'micros', NANOS: 'nanos' }[logical.unit] as StoredKind;
      if (converted === 'TIMESTAMP_MILLIS') return 'millis';
      if (converted === 'TIMESTAMP_MICROS') return 'micros';
      return isPlainInteger(element) ? 'int64' : undefined;
    default:
      return undefined;
  }
}

function isText(converted: SchemaElement['converted_type']): boolean {
  return converted === 'UTF8' || converted === 'ENUM' || converted === 'JSON';
}

function isPlainInteger({ converted_type: converted, logical_type: logical }: SchemaElement): boolean {
  if (logical !== undefined) return logical.type === 'INTEGER' && (logical.isSigned || logical.bitWidth < 32);
  return converted === undefined || (/^U?INT_(8|16|32|64)$/.test(converted) && converted !== 'UINT_64');
}

const same = (stored: Value) => stored;

function integerWithin(kind: StoredKind, min: number, max: number): ParquetConversion {
  return (stored: number | bigint) => {
    const signed = Number(stored);
    const value = kind === 'uint32' && signed < 0 ? signed + 2 ** 32 : signed;
    return value >= min && value <= max ? value : undefined;
  };
}

function timestamp(kind: StoredKind | undefined): ParquetConversion | undefined {
  const perMs = { millis: 1n, micros: 1000n, nanos: 1_000_000n }[kind as 'millis' | 'micros' | 'nanos'];
  if (kind === 'days') return (stored: number) => stored * DAY_MS;
  if (perMs === undefined) return undefined;
  const perMsNumber = Number(perMs);
  return (stored: bigint) => {
    const number = Number(stored);
    const ms = Number.isSafeInteger(number) ? Math.floor(number / perMsNumber) : Number(floorDiv(stored, perMs));
    return Number.isSafeInteger(ms) ? ms : undefined;
  };
}

function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return quotient * b > a ? quotient - 1n : quotient;
}
