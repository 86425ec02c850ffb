import { MillraceError } from '../errors.js';

export type ColumnType = 'bool' | 'int32' | 'int64' | 'float64' | 'timestamp' | 'utf8';

/** A column's type; `?` means that it may be null. */
export type ColumnSpec = ColumnType | `${ColumnType}?`;

/** Column names to their specs; the order of the properties is the order of the columns. */
export type Schema = { readonly [column: string]: ColumnSpec };

type BaseValue<T extends string> = T extends 'bool' ? boolean : T extends 'utf8' ? string : number;

/**
 * The JavaScript value of a column. `int64` and `timestamp` (ms since 1970) are numbers, always safe integers.
 * Strings are well-formed: a lone surrogate is stored as U+FFFD.
 */
export type ValueOf<C extends ColumnSpec> = C extends `${infer T}?` ? BaseValue<T> | null : BaseValue<C>;

/** Any value a column can hold. */
export type Value = boolean | number | string | null;

export type RowOf<S extends Schema> = { readonly [K in keyof S]: ValueOf<S[K]> };

export interface ColumnInfo {
  readonly name: string;
  readonly type: ColumnType;
  readonly nullable: boolean;
  readonly index: number;
}

export interface CompiledSchema<S extends Schema = Schema> {
  readonly schema: S;
  readonly columns: readonly ColumnInfo[];
  /** Canonical JSON: equal texts mean equal schemas. */
  readonly text: string;
  /** @throws MillraceError `COLUMN_UNKNOWN` (invalid) naming the column and what there is. */
  indexOf(name: string): number;
}

const COLUMNS_MAX = 1024;
const NAME_LENGTH_MAX = 64;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Identifiers that mean something else on every JavaScript object. */
const RESERVED = new Set(['__proto__', 'constructor']);
const TYPES: readonly string[] = ['bool', 'int32', 'int64', 'float64', 'timestamp', 'utf8'] satisfies ColumnType[];

const compiled = new Map<string, CompiledSchema>();

/**
 * Checks a schema and gives it its one compiled form: the same columns in the same order give the same object, so that
 * schemas are compared with `===` and code generated for one is generated once.
 * @throws MillraceError `SCHEMA_INVALID` (invalid) naming the column.
 */
export function compileSchema<const S extends Schema>(schema: S): CompiledSchema<S> {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw invalid(`a schema is an object of column types, not ${JSON.stringify(schema) ?? typeof schema}`);
  }
  const entries = Object.entries(schema);
  if (entries.length === 0) throw invalid('a schema needs at least one column');
  if (entries.length > COLUMNS_MAX) throw invalid(`a schema has at most ${COLUMNS_MAX} columns, not ${entries.length}`);
  const columns = entries.map(([name, spec], index) => compileColumn(name, spec, index));
  const text = JSON.stringify(Object.fromEntries(entries));
  const known = compiled.get(text);
  if (known !== undefined) return known as CompiledSchema<S>;

  const indexes = new Map(columns.map((c) => [c.name, c.index]));
  const result: CompiledSchema<S> = Object.freeze({
    schema: Object.freeze({ ...schema }),
    columns: Object.freeze(columns),
    text,
    indexOf(name: string): number {
      const index = indexes.get(name);
      if (index === undefined) {
        const message = `no column ${JSON.stringify(name)}; there are: ${columns.map((c) => c.name).join(', ')}`;
        throw new MillraceError('invalid', 'COLUMN_UNKNOWN', message, { context: { column: name } });
      }
      return index;
    },
  });
  compiled.set(text, result);
  return result;
}

function compileColumn(name: string, spec: unknown, index: number): ColumnInfo {
  if (!NAME.test(name) || name.length > NAME_LENGTH_MAX || RESERVED.has(name)) {
    throw invalid(
      `column name ${JSON.stringify(name)} is not an identifier of at most ${NAME_LENGTH_MAX} letters`,
      name,
    );
  }
  const nullable = typeof spec === 'string' && spec.endsWith('?');
  const type = nullable ? spec.slice(0, -1) : spec;
  if (typeof type !== 'string' || !TYPES.includes(type)) {
    const expected = `one of ${TYPES.join(', ')}, each with an optional ?`;
    throw invalid(`column ${name} has type ${JSON.stringify(spec) ?? String(spec)}, expected ${expected}`, name);
  }
  return Object.freeze({ name, type: type as ColumnType, nullable, index });
}

function invalid(message: string, column?: string): MillraceError {
  return new MillraceError('invalid', 'SCHEMA_INVALID', message, column === undefined ? {} : { context: { column } });
}
