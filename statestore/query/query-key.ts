import { type ColumnType, encodeKeyValues, type Value } from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';

/** A key as a query names it: the values of its columns, or text: a JSON array of them, or one bare value. */
export type QueryKey = readonly Value[] | string;

/** What answers say of numbers that JSON has not. */
const NO_JSON_NUMBERS: readonly string[] = ['NaN', 'Infinity', '-Infinity'];

/**
 * The bytes of a key. `types` null: what an unknown column holds, which only a null can be.
 * @throws MillraceError `QUERY_KEY` (invalid) saying what the key is made of. `isPrefix`: fewer columns will do.
 */
export function encodeQueryKey(key: QueryKey, types: readonly (ColumnType | null)[], isPrefix: boolean): Uint8Array {
  const values = (typeof key === 'string' ? parse(key, types) : key).map((value, i) =>
    types[i] === 'float64' && typeof value === 'string' && NO_JSON_NUMBERS.includes(value) ? Number(value) : value,
  );
  const expected = `the key is (${types.map((type) => type ?? 'null').join(', ')})`;
  if (values.length > types.length || (!isPrefix && values.length < types.length)) {
    throw invalid(`a key of ${values.length} values was given: ${expected}`);
  }
  values.forEach((value, i) => {
    if (types[i] === null && value !== null)
      throw invalid(`value ${i} cannot be ${JSON.stringify(value)}: ${expected}`);
  });
  try {
    return encodeKeyValues(types.map((type) => type ?? 'utf8').slice(0, values.length), values);
  } catch (thrown) {
    throw invalid(`${MillraceError.from(thrown).message}: ${expected}`);
  }
}

function parse(text: string, types: readonly (ColumnType | null)[]): readonly Value[] {
  if (text.startsWith('[')) {
    const values = json(text);
    if (!Array.isArray(values)) throw invalid(`${text} is not a JSON array`);
    return values as Value[];
  }
  // A bare text needs no quotes.
  return [types[0] === 'utf8' ? text : (json(text) as Value)];
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid(`${text} is not JSON`);
  }
}

function invalid(message: string): MillraceError {
  return new MillraceError('invalid', 'QUERY_KEY', message);
}
