import { MillraceError } from '../../base/index.js';
import type { KeyGroups } from '../../checkpoint/index.js';
import { baseStatesMax } from './base-key.js';
import type { BaseState } from './base-source.js';
import type { BaseSnapshot, BaseTransaction } from './base-store.js';

/**
 * A completed checkpoint. Ids alone do not tell one from another: after a rollback they are given again, under a higher
 * leader epoch.
 */
export interface Line {
  readonly checkpointId: number;
  readonly epoch: number;
}

/** Before the first checkpoint. */
export const beginning: Line = Object.freeze({ checkpointId: 0, epoch: 0 });

/** Key groups of which a base holds the state. */
export interface CoveredRange extends KeyGroups {
  /** The fold line: the state is that of this checkpoint, but for what `fold` has brought in early. */
  readonly line: Line;
  /** What was folded last to get there: checksums of segments, as refs have them. */
  readonly folded: readonly string[];
  /**
   * Set while entries of these segments are brought in, up to this line: some are there already. Of any key that is in them,
   * the base may have the old or the new state; so it counts only beneath an overlay that has all of them.
   */
  readonly fold?: { readonly line: Line; readonly segments: readonly string[] };
  /** Set until the first fold of all there is has ended: the base has nothing yet that could be used. */
  readonly isFilling?: true;
}

/** Key groups at some checkpoint. */
export interface LineOf extends KeyGroups {
  readonly line: Line;
}

/** What a base says of itself, in a record beside its entries: moved in the same transactions as they are. */
export interface BaseRecord {
  readonly format: 1;
  /** Entries name states by position. One name may stand here several times, with different metas. Only ever grows. */
  readonly states: readonly BaseState[];
  /** Disjoint, ascending. */
  readonly ranges: readonly CoveredRange[];
}

/** Shorter than any entry's key. */
const recordKey = Uint8Array.of(0);

export const emptyBaseRecord: BaseRecord = Object.freeze({ format: 1, states: [], ranges: [] });

/** @throws MillraceError `BASE_DAMAGED` (corrupt) when it is none of this version. */
export function readBaseRecord(snapshot: BaseSnapshot): BaseRecord {
  const length = snapshot.find(recordKey);
  if (length < 0) return emptyBaseRecord;
  const text = Buffer.from(snapshot.value.slice(0, length)).subarray(0, length).toString('utf8');
  const record = parse(text);
  if (record?.format !== 1) throw new MillraceError('corrupt', 'BASE_DAMAGED', 'the record of a base cannot be read');
  const states = (record.states as readonly { readonly name: string; readonly meta: string }[]).map((state) => ({
    name: state.name,
    meta: new Uint8Array(Buffer.from(state.meta, 'base64')),
  }));
  return { format: 1, states, ranges: record.ranges as readonly CoveredRange[] };
}

export function writeBaseRecord(transaction: BaseTransaction, { states, ranges }: BaseRecord): void {
  const text = JSON.stringify({
    format: 1,
    states: states.map(({ name, meta }) => ({ name, meta: Buffer.from(meta).toString('base64') })),
    ranges,
  });
  transaction.put(recordKey, Buffer.from(text, 'utf8'));
}

/** The record with these states too, those that it has already left out. */
export function withStates(record: BaseRecord, states: readonly BaseState[]): BaseRecord {
  const all = [...record.states];
  for (const { name, meta } of states) if (stateIn(all, name, meta) < 0) all.push({ name, meta });
  if (all.length > baseStatesMax) {
    throw new MillraceError('invalid', 'BASE_STATES', `a base cannot tell ${all.length} states apart`);
  }
  return all.length === record.states.length ? record : { ...record, states: all };
}

/** Its number, or -1. */
export function stateIn(states: readonly BaseState[], name: string, meta: Uint8Array): number {
  return states.findIndex((state) => state.name === name && Buffer.compare(state.meta, meta) === 0);
}

/** The record with this in place of whatever covers its key groups (undefined: nothing). */
export function withRange(record: BaseRecord, keyGroups: KeyGroups, range: CoveredRange | undefined): BaseRecord {
  return { ...record, ranges: joined(replaced(record.ranges, keyGroups, range)) };
}

/** Disjoint ranges, ascending, with this one in place of whatever covers some key groups (undefined: nothing). */
export function replaced<T extends KeyGroups>(ranges: readonly T[], keyGroups: KeyGroups, range: T | undefined): T[] {
  const others = ranges.flatMap((other) => without(other, keyGroups));
  if (range !== undefined) others.push(range);
  return others.sort((a, b) => a.first - b.first);
}

/** What of some key groups is in none of these ranges. */
export function uncovered(keyGroups: KeyGroups, ranges: readonly KeyGroups[]): KeyGroups[] {
  const { first, last } = keyGroups;
  return ranges.reduce<KeyGroups[]>((rest, range) => rest.flatMap((part) => without(part, range)), [{ first, last }]);
}

/** What is left of a range outside some key groups: nothing, one part or two. */
export function without<T extends KeyGroups>(range: T, { first, last }: KeyGroups): T[] {
  const parts: T[] = [];
  if (range.first < first) parts.push({ ...range, last: Math.min(range.last, first - 1) });
  if (range.last > last) parts.push({ ...range, first: Math.max(range.first, last + 1) });
  return parts;
}

/** The part of a range within some key groups, or undefined. */
export function within<T extends KeyGroups>(range: T, { first, last }: KeyGroups): T | undefined {
  const part = { ...range, first: Math.max(range.first, first), last: Math.min(range.last, last) };
  return part.first <= part.last ? part : undefined;
}

export function sameLine(a: Line | undefined, b: Line | undefined): boolean {
  return a?.checkpointId === b?.checkpointId && a?.epoch === b?.epoch;
}

/** Neighbours that are alike become one. */
function joined(ranges: readonly CoveredRange[]): CoveredRange[] {
  const result: CoveredRange[] = [];
  for (const range of ranges) {
    const before = result.at(-1);
    const alike =
      before !== undefined &&
      before.last + 1 === range.first &&
      sameLine(before.line, range.line) &&
      before.fold === undefined &&
      range.fold === undefined;
    if (!alike) result.push(range);
    else {
      const folded = [...new Set([...before.folded, ...range.folded])];
      result[result.length - 1] = { ...before, last: range.last, folded };
    }
  }
  return result;
}

function parse(
  text: string,
): { readonly format?: unknown; readonly states?: unknown; readonly ranges?: unknown } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
