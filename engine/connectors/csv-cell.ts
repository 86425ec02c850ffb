import type { ColumnInfo, Value } from '../../base/columnar/index.js';

const INTEGER = /^[+-]?\d+$/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
/** ISO 8601; a time without a zone is UTC, whatever the machine's own zone. */
const INSTANT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-]\d\d:\d\d)?)?$/;

/** The value of a field, or undefined when the text is not of the column's type. */
export function parseCell(column: ColumnInfo, text: string): Value | undefined {
  if (text === '' && column.nullable) return null;
  switch (column.type) {
    case 'utf8':
      return text;
    case 'bool':
      return text === 'true' ? true : text === 'false' ? false : undefined;
    case 'float64':
      return NUMBER.test(text) ? Number(text) : undefined;
    case 'int32':
      return integerWithin(text, -(2 ** 31), 2 ** 31 - 1);
    case 'int64':
      return integerWithin(text, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    case 'timestamp':
      return instant(text);
  }
}

function integerWithin(text: string, min: number, max: number): number | undefined {
  if (!INTEGER.test(text)) return undefined;
  const value = Number(text);
  // -0 is not an integer that a column can give back.
  return value >= min && value <= max ? value + 0 : undefined;
}

function instant(text: string): number | undefined {
  const parts = INSTANT.exec(text);
  if (parts === null) return undefined;
  const ms = Date.parse(`${parts[1]}T${parts[2] ?? '00:00'}${parts[3] ?? 'Z'}`);
  if (Number.isNaN(ms)) return undefined;
  // Date.parse takes 30 February for 2 March.
  const day = parts[1] as string;
  return new Date(Date.parse(`${day}T00:00Z`)).toISOString().startsWith(day) ? ms : undefined;
}
