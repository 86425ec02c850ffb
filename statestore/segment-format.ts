import {
  blocksOf,
  type LoadedSegment,
  SegmentBuilder,
  type SegmentBytes,
  SegmentCursor,
  SegmentReader,
  type SegmentState,
  segmentCorrupt,
} from '../checkpoint/index.js';
import { orderEntries } from './entry-order.js';
import { newLocation } from './entry-table.js';
import { type EntryIdentity, type KeyedTable, type StateKind, stateKinds } from './keyed-table.js';
import type { MemoryOperatorValue } from './operator-value.js';
import { highHalf, lowHalf, readOrderedDouble } from './ordered-double.js';
import type { KeyGroupRange } from './spi.js';

/*
 * Keyed state as entries of a checkpoint segment (its format: checkpoint/README.md):
 *
 *     meta      kind u8 | lanes u16 | schema version u16
 *     key       the key's canonical bytes
 *     sub key   bytes: the sub key; lanes: the namespace; timers: time, namespace (doubles in an order of bytes)
 *     payload   hash u32 | unless a tombstone: flags u8 (1: expiry f64 ms follows, the TTL slot) and the table's own payload
 *     value     of an operator value: its bytes; none: it was removed (in a delta only)
 */
const schemaVersion = 1;
export const hashBytes = 4;
const flagBytes = 1;
export const EXPIRES = 1;
const removed = new Uint8Array(0);

export type AnyState = KeyedTable | MemoryOperatorValue;

/** All states by name. */
export type States = ReadonlyMap<string, AnyState>;

export interface StateDescription {
  readonly name: string;
  readonly kind: StateKind;
  readonly lanes: number;
  readonly schemaVersion: number;
  readonly operatorValue: Uint8Array | undefined;
}

/** Writes the dirty entries of all states, or all live ones (`full`). Tables must be settled. */
export function writeSegment(states: States, range: KeyGroupRange, checkpointId: number, full: boolean): SegmentBytes {
  const written = [...states].filter(
    ([, state]) => state.kind !== 'operator' || state.isSet || (!full && state.isDirty),
  );
  const sorted = written.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const ordered = sorted.flatMap(([, state], index) =>
    state.kind === 'operator'
      ? []
      : [
          {
            table: state,
            index,
            entries: orderEntries(state.table, full ? state.table.liveIds() : state.table.dirtyIds()),
          },
        ],
  );
  const keyGroups = [...new Set(ordered.flatMap((o) => o.entries.groups.map((g) => g.keyGroup)))].sort((a, b) => a - b);
  const total = ordered.reduce((sum, o) => sum + o.entries.ids.length, 0);
  const builder = new SegmentBuilder({
    checkpointId,
    full,
    range,
    states: sorted.map(([name, state]) => describe(name, state, full)),
    capacity: total * 48,
  });
  const cursors = ordered.map(() => 0);
  for (const keyGroup of keyGroups) {
    ordered.forEach((o, t) => {
      const group = o.entries.groups[cursors[t] as number];
      if (group?.keyGroup !== keyGroup) return;
      cursors[t] = (cursors[t] as number) + 1;
      writeEntries(builder, keyGroup, o.index, o.table, o.entries.ids.subarray(group.start, group.end));
    });
  }
  return builder.finish();
}

/** What states a segment has. @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION` (invalid). */
export function describeStates(states: readonly SegmentState[]): StateDescription[] {
  return states.map(({ name, meta, value }) => {
    const reader = new SegmentReader(meta);
    const code = reader.u8();
    const kind = (Object.keys(stateKinds) as StateKind[]).find((k) => stateKinds[k] === code);
    if (kind === undefined) throw segmentCorrupt(`state ${name} is of an unknown kind`);
    return { name, kind, lanes: reader.u16(), schemaVersion: reader.u16(), operatorValue: value };
  });
}

/** Applies a segment's entries of these key groups to tables, which stand at the states' positions (undefined: none). */
export function applySegment(
  segment: LoadedSegment,
  range: KeyGroupRange,
  tables: readonly (KeyedTable | undefined)[],
): void {
  const cursor = new SegmentCursor();
  const empty = new Uint8Array(0);
  const identity: EntryIdentity = { keyGroup: 0, hash: 0, key: empty, sub: empty, first: 0, second: 0 };
  const { from, to } = blocksOf(segment.index, range);
  for (let at = from; at < to; at++) {
    const block = segment.block(at);
    const reader = new SegmentReader(block);
    cursor.load(block);
    while (cursor.next()) {
      if (cursor.keyGroup < range.first || cursor.keyGroup > range.last) continue;
      const table = tables[cursor.state];
      if (table === undefined) throw segmentCorrupt('an entry belongs to no state');
      const doubles = table.table.doublesPerEntry;
      identity.keyGroup = cursor.keyGroup;
      identity.key = cursor.key;
      if (table.hasSubKeys) identity.sub = cursor.sub;
      else if (cursor.subEnd - cursor.keyEnd !== doubles * 8) throw segmentCorrupt('an entry has another sub key');
      if (doubles > 0) identity.first = readOrderedDouble(block, cursor.keyEnd);
      if (doubles > 1) identity.second = readOrderedDouble(block, cursor.keyEnd + 8);
      reader.seek(cursor.subEnd);
      identity.hash = reader.u32() | 0;
      if (cursor.tombstone) table.restoreRemoval(identity);
      else {
        if ((reader.u8() & EXPIRES) !== 0) reader.f64();
        table.restore(identity, reader, cursor.payloadEnd - reader.position);
      }
      if (reader.position !== cursor.payloadEnd) throw segmentCorrupt('an entry has another payload than its state');
    }
  }
}

function writeEntries(
  builder: SegmentBuilder,
  keyGroup: number,
  state: number,
  table: KeyedTable,
  ids: Int32Array,
): void {
  const at = newLocation();
  const { writer } = builder;
  const entries = table.table;
  const doubles = entries.doublesPerEntry;
  for (const id of ids) {
    const removed = entries.isRemoved(id);
    entries.locate(id, at);
    const subLength = table.hasSubKeys ? at.end - at.split : doubles * 8;
    const payload = hashBytes + (removed ? 0 : flagBytes + table.payloadLength(id));
    builder.begin(keyGroup, state, at.split - at.start, subLength, payload, removed);
    writer.bytes(at.bytes, at.start, at.split);
    if (table.hasSubKeys) writer.bytes(at.bytes, at.split, at.end);
    for (let which = 0; which < doubles; which++) {
      const double = entries.doubleOf(id, which);
      writer.u32be(highHalf(double));
      writer.u32be(lowHalf(double));
    }
    writer.u32(entries.hashOf(id) >>> 0);
    if (removed) continue;
    writer.u8(0);
    table.writePayload(id, writer);
  }
}

function describe(name: string, state: AnyState, full: boolean): SegmentState {
  const meta = new Uint8Array(5);
  const view = new DataView(meta.buffer);
  view.setUint8(0, stateKinds[state.kind]);
  view.setUint16(1, state.kind === 'operator' ? 0 : state.lanes, true);
  view.setUint16(3, schemaVersion, true);
  if (state.kind !== 'operator') return { name, meta, value: undefined };
  return { name, meta, value: full || state.isDirty ? (state.get() ?? removed) : undefined };
}
