import type { Column } from './column.js';
import { compileCode } from './compile-code.js';
import type { ColumnInfo, CompiledSchema, RowOf, Schema } from './schema.js';
import { readUtf8 } from './utf8.js';

/** The cursor of a row view. Set `row` directly in loops over many schemas: it is always an object of this one class. */
export class RowCursor {
  row = 0;
}

export const rowCursor: unique symbol = Symbol('millrace.rowCursor');
const plainRow: unique symbol = Symbol('millrace.plainRow');

/**
 * A flyweight: its getters read the columns of one batch at the row its cursor stands on. It is no copy: keep values,
 * or `toRow(view)`, never the view itself. JSON.stringify and util.inspect show the current row.
 */
export type RowView<S extends Schema = Schema> = RowOf<S> & { readonly [rowCursor]: RowCursor };

/** Moves a row view to another row of its batch (not checked). */
export function seek(view: { readonly [rowCursor]: RowCursor }, row: number): void {
  view[rowCursor].row = row;
}

/** The current row as a plain object that stays. */
export function toRow<S extends Schema>(view: RowView<S>): RowOf<S> {
  return (view as unknown as { [plainRow](): RowOf<S> })[plainRow]();
}

type Factory = (columns: readonly Column[], cursor: RowCursor) => RowView;
const factories = new WeakMap<CompiledSchema, Factory>();

/** A view over columns of this schema, at row 0. */
export function createRowView<S extends Schema>(schema: CompiledSchema<S>, columns: readonly Column[]): RowView<S> {
  let factory = factories.get(schema);
  if (factory === undefined) {
    factory = compileFactory(schema);
    factories.set(schema, factory);
  }
  return factory(columns, new RowCursor()) as unknown as RowView<S>;
}

function compileFactory(schema: CompiledSchema): Factory {
  const { columns } = schema;
  const fields = columns.map((c) => `${fieldsOf(c).join('; ')};`).join(' ');
  const toJson = columns.some((c) => c.name === 'toJSON') ? '' : 'toJSON() { return this[plainRow](); }';
  const body = `
class RowView {
  #cursor; ${fields}
  constructor(columns, cursor) {
    this[rowCursor] = this.#cursor = cursor;
    ${columns.map(bind).join('\n    ')}
  }
  ${columns.map(getter).join('\n  ')}
  [plainRow]() { return { ${columns.map((c) => `${c.name}: this.${c.name}`).join(', ')} }; }
  [inspect]() { return this[plainRow](); }
  ${toJson}
}
return (columns, cursor) => new RowView(columns, cursor);`;
  const scope = { readUtf8, rowCursor, plainRow, inspect: Symbol.for('nodejs.util.inspect.custom') };
  return compileCode('row-view', scope, body);
}

/** Private fields cannot collide with column names. */
function fieldsOf({ index, type, nullable }: ColumnInfo): string[] {
  return [...(type === 'utf8' ? [`#o${index}`] : []), `#v${index}`, ...(nullable ? [`#n${index}`] : [])];
}

function bind({ index, type, nullable }: ColumnInfo): string {
  const values = { bool: 'bits', int32: 'words', int64: 'words', timestamp: 'words', float64: 'floats', utf8: 'data' }[
    type
  ];
  const offsets = type === 'utf8' ? `this.#o${index} = columns[${index}].offsets; ` : '';
  const nulls = nullable ? ` this.#n${index} = columns[${index}].validity;` : '';
  return `${offsets}this.#v${index} = columns[${index}].${values};${nulls}`;
}

function getter({ index, type, nullable, name }: ColumnInfo): string {
  const isNull = `const n = this.#n${index}; if (n !== undefined && (n[row >>> 3] & (1 << (row & 7))) === 0) return null;`;
  const value = {
    bool: `return (this.#v${index}[row >>> 3] & (1 << (row & 7))) !== 0;`,
    int32: `return this.#v${index}[row];`,
    int64: `const v = this.#v${index}; return v[2 * row + 1] * 4294967296 + (v[2 * row] >>> 0);`,
    timestamp: `const v = this.#v${index}; return v[2 * row + 1] * 4294967296 + (v[2 * row] >>> 0);`,
    float64: `return this.#v${index}[row];`,
    utf8: `const o = this.#o${index}; return readUtf8(this.#v${index}, o[row], o[row + 1]);`,
  }[type];
  return `get ${name}() { const row = this.#cursor.row; ${nullable ? isNull : ''} ${value} }`;
}
