import type { ColumnSpec, ColumnType, Schema, Value } from '../../base/columnar/index.js';
import { stateIncompatible } from '../segment/state-incompatible.js';
import type { ValueShape } from './value-spec.js';

/**
 * What a type can become without a loss: every value of the one is a value of the other (integers are safe ones, up to
 * 2^53, so that a float64 holds them exactly). As JavaScript values they are the same, so that widening costs nothing.
 */
const WIDENINGS: Readonly<Record<ColumnType, readonly ColumnType[]>> = {
  bool: [],
  int32: ['int64', 'float64', 'timestamp'],
  int64: ['float64', 'timestamp'],
  timestamp: ['int64', 'float64'],
  float64: [],
  utf8: [],
};

/** Values for fields that older entries do not have, or have as null. */
export type FieldDefaults = Readonly<Record<string, Value | undefined>>;

/** Makes a value of the new shape of one of the old shape. */
export type Evolve = (old: unknown) => unknown;

/**
 * How entries written under one shape are read under another. Fields may be added (nullable, or with a default), removed
 * and widened, and may become nullable; a nullable one may become required where it has a default. Fields go by name: a
 * renamed one is a removed and an added one. Nothing is rewritten: each entry is converted when it is read.
 *
 * A field that was removed and comes back with its old type has its old value in entries that were not written meanwhile.
 * @throws MillraceError `STATE_INCOMPATIBLE` (invalid) naming state and field.
 */
export function evolution(state: string, from: ValueShape, to: ValueShape, defaults: FieldDefaults): Evolve {
  if ('codec' in from || 'codec' in to) {
    if ('codec' in from && 'codec' in to && from.codec === to.codec) return (old) => old;
    throw stateIncompatible(state, `holds ${nameOf(from)}, the job reads ${nameOf(to)}`);
  }
  if ('type' in from && 'type' in to) {
    checkField(state, undefined, from.type, to.type, false);
    return (old) => old;
  }
  if ('fields' in from && 'fields' in to) return fieldsEvolution(state, from.fields, to.fields, defaults);
  throw stateIncompatible(state, `holds ${nameOf(from)}, the job reads ${nameOf(to)}`);
}

function fieldsEvolution(state: string, from: Schema, to: Schema, defaults: FieldDefaults): Evolve {
  const fields = Object.entries(to).map(([name, spec]) => {
    const old = Object.hasOwn(from, name) ? from[name] : undefined;
    const byDefault = Object.hasOwn(defaults, name) ? defaults[name] : undefined;
    const required = !isNullable(spec);
    if (old !== undefined) checkField(state, name, old, spec, byDefault !== undefined);
    else if (required && byDefault === undefined) {
      throw stateIncompatible(state, `is new and required (${spec}): make it ${spec}? or give it a default`, name);
    }
    return { name, isNew: old === undefined, required, byDefault: byDefault ?? null };
  });
  return (old) => {
    const row = old as Readonly<Record<string, unknown>>;
    const made: Record<string, unknown> = {};
    for (const { name, isNew, required, byDefault } of fields) {
      made[name] = isNew || (required && row[name] === null) ? byDefault : row[name];
    }
    return made;
  };
}

function checkField(
  state: string,
  field: string | undefined,
  from: ColumnSpec,
  to: ColumnSpec,
  hasDefault: boolean,
): void {
  const [old, next] = [baseOf(from), baseOf(to)];
  if (old !== next && !WIDENINGS[old].includes(next)) {
    throw stateIncompatible(state, `was ${from} and cannot become ${to}`, field);
  }
  if (isNullable(from) && !isNullable(to) && !hasDefault) {
    throw stateIncompatible(state, `was ${from} and cannot become ${to}: it may be null; give it a default`, field);
  }
}

function isNullable(spec: ColumnSpec): boolean {
  return spec.endsWith('?');
}

function baseOf(spec: ColumnSpec): ColumnType {
  return spec.replace('?', '') as ColumnType;
}

function nameOf(shape: ValueShape): string {
  if ('codec' in shape) return `values of the codec ${JSON.stringify(shape.codec)}`;
  return 'type' in shape ? `single values of type ${shape.type}` : `fields (${Object.keys(shape.fields).join(', ')})`;
}
