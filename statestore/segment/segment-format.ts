import {
  blocksOf,
  type LoadedSegment,
  SegmentCursor,
  SegmentReader,
  type SegmentState,
  segmentCorrupt,
} from '../../checkpoint/index.js';
import type { KeyGroupRange } from '../spi.js';
import { type EntryIdentity, type KeyedTable, type StateKind, stateKinds } from '../tables/keyed-table.js';
import { readOrderedDouble } from '../tables/ordered-double.js';

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
export const flagBytes = 1;
export const EXPIRES = 1;

export interface StateDescription {
  readonly name: string;
  readonly kind: StateKind;
  readonly lanes: number;
  readonly schemaVersion: number;
  readonly operatorValue: Uint8Array | undefined;
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

/** Of a state whose entries are left where they are. */
export const LEFT = 'left';

/** Applies a segment's entries of these key groups to tables, which stand at the states' positions (undefined: none). */
export function applySegment(
  segment: LoadedSegment,
  range: KeyGroupRange,
  tables: readonly (KeyedTable | typeof LEFT | undefined)[],
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
      if (table === LEFT) continue;
      if (table === undefined) throw segmentCorrupt('an entry belongs to no state');
      const { doubles, subKeys } = table.table.shape;
      identity.keyGroup = cursor.keyGroup;
      identity.key = cursor.key;
      if (subKeys === true) identity.sub = cursor.sub;
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

/** What a segment says of a state, besides its name. */
export function stateMeta(kind: StateKind, lanes: number): Uint8Array {
  const meta = new Uint8Array(5);
  const view = new DataView(meta.buffer);
  view.setUint8(0, stateKinds[kind]);
  view.setUint16(1, lanes, true);
  view.setUint16(3, schemaVersion, true);
  return meta;
}
