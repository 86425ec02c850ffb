import { SegmentBuilder, type SegmentState } from '../../checkpoint/index.js';
import type { KeyGroupRange, StateSegment } from '../spi.js';
import { type FrozenRecords, type GatheredRecords, gather } from '../tables/frozen-records.js';
import type { StateKind } from '../tables/keyed-table.js';
import { highHalf, lowHalf } from '../tables/ordered-double.js';
import {
  doubleAt,
  HASH,
  locateKey,
  META,
  newLocation,
  REMOVED,
  VALUE_LENGTH,
  VALUE_OFFSET,
} from '../tables/record-layout.js';
import { type OrderedRecords, orderRecords } from './entry-order.js';
import { flagBytes, hashBytes, stateMeta } from './segment-format.js';

/** A store as it was at a barrier: plain data over shared memory, to be written wherever there is time. */
export interface FrozenStates {
  readonly checkpointId: number;
  readonly full: boolean;
  readonly range: KeyGroupRange;
  /** Sorted by name, bytewise. */
  readonly states: readonly FrozenState[];
  /** One word, set when nothing of the store's memory is read any more. */
  readonly finished: Int32Array;
}

export interface FrozenState {
  readonly name: string;
  readonly kind: StateKind;
  readonly lanes: number;
  /** Of an operator value that belongs to the snapshot; no bytes: it was removed. */
  readonly value: Uint8Array | undefined;
  /** Of a table of which something belongs to the snapshot. */
  readonly records: FrozenRecords | undefined;
}

/** Records that are written between two turns of a writer that shares its thread. */
const recordsAtOnce = 1024;

/** One table's records on their way into a segment. */
interface Part {
  readonly state: number;
  readonly of: FrozenState;
  readonly records: GatheredRecords;
  readonly ordered: OrderedRecords;
}

/**
 * Writes what was frozen: the same bytes for the same state, whatever happens to the tables meanwhile. In steps, for a writer that
 * shares its thread. The first is all that a task must save changed records for; see `gatherStates`.
 */
export function* writeStates(frozen: FrozenStates): Generator<void, StateSegment> {
  const gathered = yield* gatherStates(frozen);
  return yield* writeGathered(frozen, gathered);
}

/** Copies all records that are to be written; a writer with several snapshots in hand does this first. */
export function* gatherStates(frozen: FrozenStates): Generator<void, readonly (GatheredRecords | undefined)[]> {
  const gathered: (GatheredRecords | undefined)[] = [];
  for (const { records } of frozen.states) gathered.push(records === undefined ? undefined : yield* gather(records));
  return gathered;
}

/** Sorts and writes what `gatherStates` copied. */
export function* writeGathered(
  frozen: FrozenStates,
  gathered: readonly (GatheredRecords | undefined)[],
): Generator<void, StateSegment> {
  const parts: Part[] = [];
  for (const [state, of] of frozen.states.entries()) {
    const records = gathered[state];
    if (records === undefined) continue;
    parts.push({ state, of, records, ordered: yield* orderRecords(records, records.count) });
  }
  const builder = new SegmentBuilder({
    checkpointId: frozen.checkpointId,
    full: frozen.full,
    range: frozen.range,
    states: frozen.states.map(describe),
    capacity: parts.reduce((sum, { records }) => sum + records.count * 48, 0),
  });
  yield;
  let written = 0;
  const cursors = parts.map(() => 0);
  const keyGroups = new Set(parts.flatMap(({ ordered }) => ordered.groups.map(({ keyGroup }) => keyGroup)));
  for (const keyGroup of [...keyGroups].sort((a, b) => a - b)) {
    for (const [p, part] of parts.entries()) {
      const group = part.ordered.groups[cursors[p] as number];
      if (group?.keyGroup !== keyGroup) continue;
      cursors[p] = (cursors[p] as number) + 1;
      writeRecords(builder, part, keyGroup, part.ordered.order.subarray(group.start, group.end));
      written += group.end - group.start;
      if (written < recordsAtOnce) continue;
      written = 0;
      yield;
    }
  }
  Atomics.store(frozen.finished, 0, 1);
  const segment = builder.finish();
  const unchanged = frozen.states.every(({ value }) => value === undefined);
  return { ...segment, empty: !frozen.full && segment.entries === 0 && unchanged };
}

function describe({ name, kind, lanes, value }: FrozenState): SegmentState {
  return { name, meta: stateMeta(kind, lanes), value };
}

function writeRecords(builder: SegmentBuilder, part: Part, keyGroup: number, order: Int32Array): void {
  const { records, of, state } = part;
  const { layout, words, doubles } = records;
  const { writer } = builder;
  const at = newLocation();
  const identityDoubles = of.kind === 'timers' ? 2 : of.kind === 'lanes' ? 1 : 0;
  for (const position of order) {
    const base = position * layout.stride;
    const payload = base + layout.payloadAt;
    const removed = ((words[base + META] as number) & REMOVED) !== 0;
    locateKey(records, base, at);
    const subLength = at.end - at.split + identityDoubles * 8;
    const valueLength = of.kind === 'bytes' ? (words[payload + VALUE_LENGTH] as number) : of.lanes * 8;
    const payloadLength = hashBytes + (removed ? 0 : flagBytes + valueLength);
    builder.begin(keyGroup, state, at.split - at.start, subLength, payloadLength, removed);
    writer.bytes(at.bytes, at.start, at.end);
    for (let which = 0; which < identityDoubles; which++) {
      const double = doubleAt(records, base, which);
      writer.u32be(highHalf(double));
      writer.u32be(lowHalf(double));
    }
    writer.u32((words[base + HASH] as number) >>> 0);
    if (removed) continue;
    writer.u8(0);
    if (of.kind === 'lanes') {
      for (let lane = payload >> 1; lane < (payload >> 1) + of.lanes; lane++) writer.f64(doubles[lane] as number);
    } else if (of.kind === 'bytes') {
      const from = words[payload + VALUE_OFFSET] as number;
      writer.bytes(records.values as Uint8Array, from, from + valueLength);
    }
  }
}
