import type { Batch, ColumnInfo, ColumnType, Value } from '../../base/columnar/index.js';
import { compileSchema, type Schema, seek } from '../../base/columnar/index.js';

/** What needs escaping in a JSON string: quotes, backslashes, control characters, lone surrogates (any, to be safe). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const ESCAPED = /["\\\u0000-\u001f\ud800-\udfff]/;

/** Rows as canonical JSON, one a line: columns in schema order, no spaces, the same row always the same text. */
export class JsonLinesFormat {
  readonly #columns: readonly ColumnInfo[];
  /** `{"first":`, `,"second":`, ... */
  readonly #prefixes: readonly string[];
  /** Rows of one window share their timestamps, and formatting one is what costs most in a row. */
  #lastMs = Number.NaN;
  #lastIso = 'null';

  constructor(schema: Schema) {
    this.#columns = compileSchema(schema).columns;
    this.#prefixes = this.#columns.map((c) => `${c.index === 0 ? '{' : ','}${JSON.stringify(c.name)}:`);
  }

  /** The rows [from, to) of a batch, each ended by '\n'. */
  lines(batch: Batch, from: number, to: number): string {
    const view = batch.rowView();
    const columns = this.#columns;
    let text = '';
    for (let row = from; row < to; row++) {
      seek(view, row);
      for (let i = 0; i < columns.length; i++) {
        const column = columns[i] as ColumnInfo;
        text += this.#prefixes[i] + this.#value(column.type, view[column.name] as Value);
      }
      text += '}\n';
    }
    return text;
  }

  #value(type: ColumnType, value: Value): string {
    if (value === null) return 'null';
    if (type === 'utf8') return ESCAPED.test(value as string) ? JSON.stringify(value) : `"${value}"`;
    if (type === 'timestamp') return this.#timestamp(value as number);
    if (type === 'float64' && !Number.isFinite(value as number)) return 'null';
    return `${value}`;
  }

  #timestamp(ms: number): string {
    if (ms !== this.#lastMs) {
      const date = new Date(ms);
      // Beyond the years a Date can say, the number itself is the only exact text.
      this.#lastIso = Number.isNaN(date.getTime()) ? `${ms}` : `"${date.toISOString()}"`;
      this.#lastMs = ms;
    }
    return this.#lastIso;
  }
}
