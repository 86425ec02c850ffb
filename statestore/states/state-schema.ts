import { MillraceError, xxh64 } from '../../base/index.js';
import { stateIncompatible } from '../segment/state-incompatible.js';
import type { StateStore } from '../spi.js';
import type { KeyTypes, ValueShape } from './value-spec.js';

/*
 * Every shape that entries of a state have ever had is stored with them: as an operator value of its own, so that it goes
 * wherever the state's segments go. Names of what belongs to state S:
 *
 *     S:schema:<fingerprint>           JSON of a StateSchema
 *     S:ttl:<first>-<last>             since when entries expire, by owner's key groups (expiry.ts)
 *     S:list:<subtask>.<parallelism>   operator lists, by owner (operator-list.ts)
 *     S:broadcast:<subtask>.<parallelism>
 *
 * Entries name the shape by its fingerprint, never by a position in a list: so segments of different versions of a job, and
 * of owners that have seen different versions, can be merged and restored together in any order.
 */

/** What can be declared. */
export type StateKindName =
  | 'value'
  | 'list'
  | 'map'
  | 'reducing'
  | 'aggregating'
  | 'aggregates'
  | 'operatorList'
  | 'broadcast';

export interface StateSchema {
  readonly kind: StateKindName;
  /** Of the keys it is partitioned by; none for what is not keyed. */
  readonly key: KeyTypes;
  /** Of a map's own keys. */
  readonly mapKey?: KeyTypes;
  readonly value: ValueShape | LanesShape;
}

/** Aggregates kept in lanes of float64, in this order; one more lane has the expiry. */
export interface LanesShape {
  readonly aggregates: readonly { readonly name: string; readonly of: string; readonly lanes: number }[];
}

/** @throws MillraceError `STATE_NAME` (invalid): an identifier, once in an operator. */
export function checkStateName(name: string, taken: { has(name: string): boolean }): void {
  if (/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/.test(name) && !taken.has(name)) return;
  const why = taken.has(name) ? 'there is one already' : "it is a letter, then letters, digits, '_' or '-', at most 64";
  throw new MillraceError('invalid', 'STATE_NAME', `a state cannot be named ${JSON.stringify(name)}: ${why}`, {
    context: { state: name },
  });
}

/** 24 bits of the xxh64 of a shape: beside the flags of an entry. */
export function fingerprintOf(shape: StateSchema['value']): number {
  return Number(xxh64(new Uint8Array(Buffer.from(JSON.stringify(shape), 'utf8'))) & 0xffffffn);
}

export function schemaName(state: string, fingerprint: number): string {
  return `${state}:schema:${fingerprint.toString(16).padStart(6, '0')}`;
}

/** The schema in an operator value, by its name; undefined when the name is not one of a schema. */
export function parseSchema(
  name: string,
  value: Uint8Array,
): { readonly state: string; readonly schema: StateSchema } | undefined {
  const match = /^(.*):schema:[0-9a-f]{6}$/s.exec(name);
  if (match === null) return undefined;
  try {
    return { state: match[1] as string, schema: JSON.parse(Buffer.from(value).toString('utf8')) as StateSchema };
  } catch (thrown) {
    throw new MillraceError('corrupt', 'STATE_CORRUPT', `the schema ${name} cannot be read`, { cause: thrown });
  }
}

/** All shapes under which entries of a state may have been written. */
export function readSchemas(store: StateStore, state: string): StateSchema[] {
  return store.operatorNames().flatMap((name) => {
    if (!name.startsWith(`${state}:schema:`)) return [];
    const parsed = parseSchema(name, store.operatorValue(name).get() as Uint8Array);
    return parsed === undefined ? [] : [parsed.schema];
  });
}

/**
 * Stores what a job declares beside what was declared before.
 * @returns the values' shapes before it, all of the same kind and keys.
 * @throws MillraceError `STATE_INCOMPATIBLE` (invalid).
 */
export function declareSchema(store: StateStore, state: string, schema: StateSchema): StateSchema['value'][] {
  const fingerprint = fingerprintOf(schema.value);
  const older = readSchemas(store, state);
  for (const old of older) {
    if (old.kind !== schema.kind)
      throw stateIncompatible(state, `is of kind ${old.kind}, the job declares ${schema.kind}`);
    checkKeys(state, 'keys', old.key, schema.key);
    checkKeys(state, 'map keys', old.mapKey ?? [], schema.mapKey ?? []);
    if (fingerprintOf(old.value) !== fingerprint || isSame(old.value, schema.value)) continue;
    throw stateIncompatible(state, 'has a new schema whose fingerprint is that of an old one: name a field otherwise');
  }
  const value = store.operatorValue(schemaName(state, fingerprint));
  if (value.get() === undefined) value.set(new Uint8Array(Buffer.from(JSON.stringify(schema), 'utf8')));
  return older.map((old) => old.value).filter((shape) => !isSame(shape, schema.value));
}

/** Keys are found by their bytes, so their types cannot change. */
function checkKeys(state: string, what: string, old: KeyTypes, now: KeyTypes): void {
  if (isSame(old, now)) return;
  throw stateIncompatible(
    state,
    `has ${what} of type ${old.join(', ') || 'none'}, the job's are ${now.join(', ') || 'none'}`,
  );
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
