import {
  type ColumnSpec,
  type ColumnType,
  compileSchema,
  type RowOf,
  type Schema,
  type ValueOf,
} from '../../base/columnar/index.js';
import { MillraceError } from '../../base/index.js';

/** How a value of a user's type becomes bytes. `decode` may keep nothing of the bytes it is given. */
export interface StateCodec<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** A codec of the user's own. What it wrote is read by a codec of the same name only: give a new format a new name. */
export interface NamedCodec<T> extends StateCodec<T> {
  readonly codec: string;
}

/**
 * What the values of a state are, as a job declares it: one column type, named fields, or anything a codec can write. The first
 * two may change between versions of a job (`schema-evolution.ts`).
 */
export type ValueSpec = ColumnSpec | Schema | NamedCodec<unknown>;

/** The JavaScript type of such a value. */
export type StateValue<V extends ValueSpec> = V extends ColumnSpec
  ? ValueOf<V>
  : V extends NamedCodec<infer T>
    ? T
    : V extends Schema
      ? RowOf<V>
      : never;

/** A spec without its functions: what can be stored beside the state and compared. */
export type ValueShape = { readonly type: ColumnSpec } | { readonly fields: Schema } | { readonly codec: string };

/** @throws MillraceError `SCHEMA_INVALID` (invalid) naming the field. */
export function shapeOf(spec: ValueSpec): ValueShape {
  if (typeof spec === 'string') return { type: compileSchema({ value: spec }).schema.value as ColumnSpec };
  if (isCodec(spec)) return { codec: spec.codec };
  return { fields: { ...compileSchema(spec).schema } };
}

export function isCodec(spec: ValueSpec): spec is NamedCodec<unknown> {
  return typeof spec === 'object' && typeof (spec as Partial<NamedCodec<unknown>>).encode === 'function';
}

/** Whatever JSON can say. The order of its properties is the caller's, so that equal values may have different bytes. */
export function json<T>(): NamedCodec<T> {
  return {
    codec: 'json',
    encode(value) {
      const text = JSON.stringify(value) as string | undefined;
      if (text === undefined) {
        throw new MillraceError('invalid', 'ROW_INVALID', `a state cannot hold ${typeof value} as JSON`);
      }
      return new Uint8Array(Buffer.from(text, 'utf8'));
    },
    decode: (bytes) => JSON.parse(Buffer.from(bytes).toString('utf8')) as T,
  };
}

/** Types of key columns as they stand in schemas. */
export type KeyTypes = readonly ColumnType[];
