import { assert, MillraceError, xxh64 } from '../base/index.js';
import { orderEntries } from './entry-order.js';
import { newLocation } from './entry-table.js';
import { type EntryIdentity, type KeyedTable, type StateKind, stateKinds } from './keyed-table.js';
import type { MemoryOperatorValue } from './operator-value.js';
import { SegmentReader, SegmentWriter, segmentCorrupt } from './segment-bytes.js';
import type { KeyGroupRange, StateSegment } from './spi.js';

/*
 * A segment, little-endian (drawn in README.md):
 *   header     40 bytes
 *   directory  all states of the store, sorted by name; operator values stand in it
 *   groups     16 bytes for each key group that occurs: where its entries are, so that others need not be read
 *   entries    sorted by (key group, state, key, sub key or doubles)
 *   xxh64      of all before
 */
const magic = 0x5453524d;
/** The format written by this version. */
export const segmentVersion = 1;
const schemaVersion = 1;
const headerBytes = 40;
const groupBytes = 16;
const checksumBytes = 8;
const FULL = 1;

// Flags of an entry.
const TOMBSTONE = 1;
/** The TTL slot: a float64, ms since 1970, follows the identity. Written only when there is an expiry. */
const EXPIRES = 2;

export type AnyState = KeyedTable | MemoryOperatorValue;

/** All states by name. */
export type States = ReadonlyMap<string, AnyState>;

export interface SegmentInfo {
  readonly checkpointId: number;
  readonly full: boolean;
  readonly range: KeyGroupRange;
  readonly entries: number;
  readonly states: readonly DirectoryEntry[];
  readonly groups: readonly { readonly keyGroup: number; readonly offset: number; readonly length: number }[];
}

export interface DirectoryEntry {
  readonly name: string;
  readonly kind: StateKind;
  readonly lanes: number;
  readonly schemaVersion: number;
  readonly operatorValue: Uint8Array | undefined;
}

/** Writes the dirty entries of all states, or all live ones (`full`). Tables must be settled. */
export function writeSegment(states: States, range: KeyGroupRange, checkpointId: number, full: boolean): StateSegment {
  const sorted = [...states].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
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
  const writer = new SegmentWriter(headerBytes + total * 48);
  writer.u32(magic);
  writer.u16(segmentVersion);
  writer.u16(full ? FULL : 0);
  writer.u64(BigInt(checkpointId));
  writer.u16(range.first);
  writer.u16(range.last);
  writer.u32(total);
  writer.u32(0);
  writer.u32(sorted.length);
  writer.u32(keyGroups.length);
  writer.u32(0);
  for (const [name, state] of sorted) writeDirectoryEntry(writer, name, state, full);
  writer.patchU32(24, writer.length - headerBytes);
  const index = writer.length;
  for (let i = 0; i < keyGroups.length * 4; i++) writer.u32(0);
  const cursors = ordered.map(() => 0);
  keyGroups.forEach((keyGroup, i) => {
    const start = writer.length;
    let entries = 0;
    ordered.forEach((o, t) => {
      const group = o.entries.groups[cursors[t] as number];
      if (group?.keyGroup !== keyGroup) return;
      cursors[t] = (cursors[t] as number) + 1;
      entries += group.end - group.start;
      writer.u16(o.index);
      writer.u32(group.end - group.start);
      writeEntries(writer, o.table, o.entries.ids, group.start, group.end);
    });
    const at = index + i * groupBytes;
    writer.patchU32(at, keyGroup);
    writer.patchU32(at + 4, entries);
    writer.patchU32(at + 8, start);
    writer.patchU32(at + 12, writer.length - start);
  });
  assert(writer.length < 2 ** 32 - checksumBytes, 'a state segment is larger than 4 GiB');
  writer.u64(xxh64(writer.written()));
  return { bytes: writer.written().slice(), full, entries: total };
}

/** Checks a segment and reads its directory. @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION` (invalid). */
export function readSegmentInfo(bytes: Uint8Array): SegmentInfo {
  const reader = new SegmentReader(bytes);
  if (reader.u32() !== magic) throw segmentCorrupt('it does not begin as one');
  const version = reader.u16();
  if (version !== segmentVersion) {
    throw new MillraceError(
      'invalid',
      'SEGMENT_VERSION',
      `a state segment has format ${version}, this version of Millrace reads format ${segmentVersion}`,
      { context: { found: version, supported: segmentVersion } },
    );
  }
  if (bytes.byteLength < headerBytes + checksumBytes) throw segmentCorrupt('it ends early');
  const end = bytes.byteLength - checksumBytes;
  if (new SegmentReader(bytes, end).u64() !== xxh64(bytes.subarray(0, end)))
    throw segmentCorrupt('its checksum differs');
  const full = (reader.u16() & FULL) !== 0;
  const checkpointId = Number(reader.u64());
  const range = { first: reader.u16(), last: reader.u16() };
  const entries = reader.u32();
  reader.u32();
  const stateCount = reader.u32();
  const groupCount = reader.u32();
  reader.u32();
  const states: DirectoryEntry[] = [];
  for (let i = 0; i < stateCount; i++) states.push(readDirectoryEntry(reader));
  const groups: { keyGroup: number; offset: number; length: number }[] = [];
  for (let i = 0; i < groupCount; i++) {
    const keyGroup = reader.u32();
    reader.u32();
    groups.push({ keyGroup, offset: reader.u32(), length: reader.u32() });
  }
  return { checkpointId, full, range, entries, states, groups };
}

/** Applies one key group's entries to tables, which stand at the directory's index (undefined: an operator value). */
export function applyGroup(
  bytes: Uint8Array,
  group: SegmentInfo['groups'][number],
  tables: readonly (KeyedTable | undefined)[],
): void {
  const reader = new SegmentReader(bytes.subarray(group.offset, group.offset + group.length));
  const identity: EntryIdentity = {
    keyGroup: group.keyGroup,
    hash: 0,
    key: new Uint8Array(0),
    sub: new Uint8Array(0),
    first: 0,
    second: 0,
  };
  while (reader.position < group.length) {
    const table = tables[reader.u16()];
    if (table === undefined) throw segmentCorrupt('an entry belongs to no state');
    const count = reader.u32();
    for (let i = 0; i < count; i++) {
      const flags = reader.u8();
      identity.key = reader.bytes(reader.varint());
      identity.hash = reader.u32() | 0;
      if (table.hasSubKeys) identity.sub = reader.bytes(reader.varint());
      if (table.table.doublesPerEntry > 0) identity.first = reader.f64();
      if (table.table.doublesPerEntry > 1) identity.second = reader.f64();
      if ((flags & EXPIRES) !== 0) reader.f64();
      if ((flags & TOMBSTONE) !== 0) table.restoreRemoval(identity);
      else table.restore(identity, reader);
    }
  }
}

function writeEntries(writer: SegmentWriter, table: KeyedTable, ids: Int32Array, start: number, end: number): void {
  const at = newLocation();
  const doubles = table.table.doublesPerEntry;
  for (let i = start; i < end; i++) {
    const id = ids[i] as number;
    const removed = table.table.isRemoved(id);
    writer.u8(removed ? TOMBSTONE : 0);
    table.table.locate(id, at);
    writer.varint(at.split - at.start);
    writer.bytes(at.bytes, at.start, at.split);
    writer.u32(table.table.hashOf(id) >>> 0);
    if (table.hasSubKeys) {
      writer.varint(at.end - at.split);
      writer.bytes(at.bytes, at.split, at.end);
    }
    for (let which = 0; which < doubles; which++) writer.f64(table.table.doubleOf(id, which));
    if (!removed) table.writePayload(id, writer);
  }
}

function writeDirectoryEntry(writer: SegmentWriter, name: string, state: AnyState, full: boolean): void {
  const nameBytes = Buffer.from(name, 'utf8');
  writer.u8(stateKinds[state.kind]);
  writer.u8(0);
  writer.u16(state.kind === 'operator' ? 0 : state.lanes);
  writer.u16(schemaVersion);
  writer.u16(nameBytes.length);
  writer.bytes(nameBytes, 0, nameBytes.length);
  if (state.kind !== 'operator') return;
  const value = full || state.isDirty ? state.get() : undefined;
  writer.u8(value === undefined ? 0 : 1);
  if (value === undefined) return;
  writer.u32(value.length);
  writer.bytes(value, 0, value.length);
}

function readDirectoryEntry(reader: SegmentReader): DirectoryEntry {
  const code = reader.u8();
  reader.u8();
  const lanes = reader.u16();
  const schemaVersion = reader.u16();
  const name = Buffer.from(reader.bytes(reader.u16())).toString('utf8');
  const kind = (Object.keys(stateKinds) as StateKind[]).find((k) => stateKinds[k] === code);
  if (kind === undefined) throw segmentCorrupt(`state ${name} is of an unknown kind`);
  let operatorValue: Uint8Array | undefined;
  if (kind === 'operator' && reader.u8() === 1) operatorValue = reader.bytes(reader.u32());
  return { name, kind, lanes, schemaVersion, operatorValue };
}
