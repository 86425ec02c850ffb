import type { TtlSettings } from './expiry.js';

/*
 * What keyed state with TTL and evolving schemas should do, in plain maps. An expired entry may or may not be gone from the
 * store by the time something is changed that would let it live (TTL off, or longer): `Item.expired` remembers that it once
 * was, and what the store then says of it is taken as it is.
 */

export interface Item<T> {
  value: T;
  /** 0: none. */
  stamp: number;
  expired: boolean;
}

export interface Row {
  readonly a: number;
  readonly b?: string | null;
  readonly c?: boolean;
}

export interface KeyModel {
  record: Item<Row> | undefined;
  list: Item<number>[];
  map: Map<string, Item<number>>;
  sum: Item<number> | undefined;
  counts: Item<{ n: number; m: number }> | undefined;
  readonly timers: Set<number>;
}

export interface OwnerModel {
  /** When TTL began for it; undefined: off, or not begun. */
  since: number | undefined;
}

export interface Versioned {
  readonly version: number;
  readonly ttl: TtlSettings | undefined;
}

/** Everything at one moment; a checkpoint keeps a copy. */
export interface Moment extends Versioned {
  readonly parallelism: number;
  readonly owners: OwnerModel[];
  readonly keys: KeyModel[];
  /** By subtask. */
  readonly parts: number[][];
  readonly rules: Map<string, number>;
}

export function emptyKey(): KeyModel {
  return { record: undefined, list: [], map: new Map(), sum: undefined, counts: undefined, timers: new Set() };
}

export function copyOf(moment: Moment): Moment {
  return structuredClone(moment);
}

export function itemsOf(key: KeyModel): Item<unknown>[] {
  const single = [key.record, key.sum, key.counts].filter((item) => item !== undefined);
  return [...single, ...key.list, ...key.map.values()];
}

/** Of an entry whose owner has begun. */
export function isVisible(
  item: Item<unknown>,
  { since }: OwnerModel,
  ttl: TtlSettings | undefined,
  now: number,
): boolean {
  return ttl === undefined || since === undefined || Math.max(item.stamp, since + ttl.ms) > now;
}

/** Schemas of the record: each can follow those before it. */
export const RECORDS = [
  { fields: { a: 'int32' }, defaults: {} },
  { fields: { b: 'utf8?', a: 'int64' }, defaults: {} },
  { fields: { a: 'float64', b: 'utf8?', c: 'bool' }, defaults: { c: true } },
  { fields: { a: 'float64', c: 'bool' }, defaults: { c: true } },
  { fields: { a: 'float64', b: 'utf8', c: 'bool?' }, defaults: { b: 'none' } },
] as const;
export const VALUES = ['int32', 'int64', 'float64', 'float64', 'float64?'] as const;
/** Versions in which the second aggregate is counted. */
export const COUNTS_M = [false, false, true, false, true] as const;

export function rowAs(version: number, row: Row): Record<string, unknown> {
  const { fields, defaults } = RECORDS[version] as {
    fields: Record<string, string>;
    defaults: Record<string, unknown>;
  };
  return Object.fromEntries(
    Object.keys(fields).map((field) => {
      const written = (row as unknown as Record<string, unknown>)[field];
      const required = !(fields[field] as string).endsWith('?');
      const missing = written === undefined || (written === null && required);
      return [field, missing ? (defaults[field] ?? null) : written];
    }),
  );
}
