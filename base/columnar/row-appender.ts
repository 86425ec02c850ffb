/** Generated per schema: writes one row, from an object or from a batch, into column buffers. */
import { assert, MillraceError } from '../errors.js';
import type { Batch } from './batch.js';
import { type ColumnBuffer, copyBytes } from './column-buffer.js';
import { compileCode } from './compile-code.js';
import type { ColumnInfo, CompiledSchema } from './schema.js';
import { writeUtf8 } from './utf8.js';

export interface RowAppender {
  /** To be called again whenever the buffers have been resized. */
  bind(columns: readonly ColumnBuffer[]): void;
  /** Writes row `at` and returns how many string bytes it has. When it throws, row `at` is as good as never written. */
  append(row: object, at: number): number;
  /** The batch that `appendFrom` reads from. */
  source(batch: Batch): void;
  appendFrom(row: number, at: number): number;
}

type Factory = () => RowAppender;
const factories = new WeakMap<CompiledSchema, Factory>();

export function createRowAppender(schema: CompiledSchema): RowAppender {
  let factory = factories.get(schema);
  if (factory === undefined) {
    factory = compileFactory(schema);
    factories.set(schema, factory);
  }
  return factory();
}

/** @throws always: says which column does not take which value. */
export function rejectValue(info: ColumnInfo, value: unknown): never {
  const { name: column, type } = info;
  const shown = show(value);
  const integer = type === 'int32' || type === 'int64' || type === 'timestamp';
  if (integer && typeof value === 'number' && Number.isInteger(value)) {
    const range = type === 'int32' ? '32-bit integers' : 'safe integers (up to 2^53 - 1)';
    const message = `column ${column} (${type}) holds ${range}, not ${shown}`;
    throw new MillraceError('invalid', 'VALUE_OUT_OF_RANGE', message, { context: { column, value: shown } });
  }
  const wanted = type === 'bool' ? 'a boolean' : type === 'utf8' ? 'a string' : integer ? 'an integer' : 'a number';
  const message = `column ${column} (${type}) takes ${wanted}${info.nullable ? ' or null' : ''}, not ${shown}`;
  throw new MillraceError('invalid', 'ROW_INVALID', message, { context: { column, value: shown } });
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === 'object' && value !== null) return `an object (${value.constructor?.name ?? 'no class'})`;
  return typeof value === 'function' ? 'a function' : typeof value === 'bigint' ? `${value}n` : String(value);
}

function compileFactory(schema: CompiledSchema): Factory {
  const columns = schema.columns;
  const each = (emit: (c: ColumnInfo) => string) => columns.map(emit).join('\n    ');
  const body = `
class RowAppender {
  constructor() {
    this.batch = undefined;
    ${each(({ index: i }) => `this.c${i} = this.v${i} = this.o${i} = this.n${i} = undefined;`)}
    ${each(({ index: i }) => `this.sc${i} = this.sv${i} = this.so${i} = this.sn${i} = undefined;`)}
  }
  bind(columns) {
    ${each(({ index: i, type }) => `this.c${i} = columns[${i}]; this.v${i} = this.c${i}.${valuesOf(type)}; this.o${i} = this.c${i}.offsets; this.n${i} = this.c${i}.validity;`)}
  }
  source(batch) {
    if (batch === this.batch) return;
    checkSource(batch);
    this.batch = batch;
    let c;
    ${each(({ index: i, type }) => `c = this.sc${i} = batch.column(${i}); this.sv${i} = c.${valuesOf(type)}; this.so${i} = c.offsets; this.sn${i} = c.validity;`)}
  }
  append(row, at) {
    let bytes = 0;
    ${each(appendValue)}
    return bytes;
  }
  appendFrom(row, at) {
    let bytes = 0;
    ${each(copyValue)}
    return bytes;
  }
}
return () => new RowAppender();`;
  const checkSource = (batch: Batch) =>
    assert(batch.schema === schema, 'rows are appended from a batch of another schema');
  return compileCode('row-appender', { columns, writeUtf8, copyBytes, checkSource, reject: rejectValue }, body);
}

function valuesOf(type: ColumnInfo['type']): string {
  return { bool: 'bits', int32: 'words', int64: 'words', timestamp: 'words', float64: 'floats', utf8: 'data' }[type];
}

function appendValue({ index: i, name, type, nullable }: ColumnInfo): string {
  const bad = `reject(columns[${i}], v)`;
  const write = {
    bool: `if (typeof v !== 'boolean') ${bad}; ${setBit(`this.v${i}`, 'v')}`,
    int32: `if (typeof v !== 'number' || v !== (v | 0)) ${bad}; this.v${i}[at] = v;`,
    int64: `if (!Number.isSafeInteger(v)) ${bad}; this.v${i}[2 * at] = v | 0; this.v${i}[2 * at + 1] = Math.floor(v / 4294967296);`,
    timestamp: `if (!Number.isSafeInteger(v)) ${bad}; this.v${i}[2 * at] = v | 0; this.v${i}[2 * at + 1] = Math.floor(v / 4294967296);`,
    float64: `if (typeof v !== 'number') ${bad}; this.v${i}[at] = v !== v ? NaN : v;`,
    utf8: `if (typeof v !== 'string') ${bad};
      const start = this.o${i}[at];
      if (start + 3 * v.length > this.v${i}.length) this.v${i} = this.c${i}.reserve(start, 3 * v.length);
      const end = writeUtf8(this.v${i}, start, v);
      this.o${i}[at + 1] = end; bytes += end - start;`,
  }[type];
  if (!nullable) return `{ const v = row.${name}; ${write} }`;
  return `{ const v = row.${name};
      if (v === null) { ${clearBit(`this.n${i}`)} ${writeNull(i, type)} }
      else { ${write} ${setBit(`this.n${i}`, 'true')} } }`;
}

function copyValue({ index: i, type, nullable }: ColumnInfo): string {
  const copy = {
    bool: `const v = (this.sv${i}[row >>> 3] & (1 << (row & 7))) !== 0; ${setBit(`this.v${i}`, 'v')}`,
    int32: `this.v${i}[at] = this.sv${i}[row];`,
    int64: `this.v${i}[2 * at] = this.sv${i}[2 * row]; this.v${i}[2 * at + 1] = this.sv${i}[2 * row + 1];`,
    timestamp: `this.v${i}[2 * at] = this.sv${i}[2 * row]; this.v${i}[2 * at + 1] = this.sv${i}[2 * row + 1];`,
    float64: `const v = this.sv${i}[row]; this.v${i}[at] = v !== v ? NaN : v;`,
    utf8: `const start = this.o${i}[at], from = this.so${i}[row], to = this.so${i}[row + 1];
      if (start + to - from > this.v${i}.length) this.v${i} = this.c${i}.reserve(start, to - from);
      this.o${i}[at + 1] = copyBytes(this.c${i}, start, this.sc${i}, from, to); bytes += to - from;`,
  }[type];
  if (!nullable) return `{ ${copy} }`;
  return `if (this.sn${i} !== undefined && (this.sn${i}[row >>> 3] & (1 << (row & 7))) === 0) {
      ${clearBit(`this.n${i}`)} ${writeNull(i, type)}
    } else { ${copy} ${setBit(`this.n${i}`, 'true')} }`;
}

function writeNull(i: number, type: ColumnInfo['type']): string {
  if (type === 'bool') return clearBit(`this.v${i}`);
  if (type === 'int32' || type === 'float64') return `this.v${i}[at] = 0;`;
  if (type === 'utf8') return `this.o${i}[at + 1] = this.o${i}[at];`;
  return `this.v${i}[2 * at] = this.v${i}[2 * at + 1] = 0;`;
}

function clearBit(bitmap: string): string {
  return `${bitmap}[at >>> 3] &= ~(1 << (at & 7));`;
}

function setBit(bitmap: string, condition: string): string {
  const set = `${bitmap}[at >>> 3] |= 1 << (at & 7);`;
  return condition === 'true' ? set : `if (${condition}) ${set} else ${clearBit(bitmap)}`;
}
