import { MillraceError, xxh64 } from '../../base/index.js';
import { SegmentReader, SegmentWriter, segmentCorrupt } from './segment-bytes.js';

/*
 * A segment: one immutable sorted run of keyed entries. Little-endian:
 *
 *     blocks     about 32 KiB each; entries sorted by (key group, state, key, sub key), newest version of each only
 *     index      what states there are, and of each block: length, checksum, first key
 *     trailer    xxh64 of the index u64 | length of the index u32 | magic u32
 *
 *     entry      tag u8 (1 tombstone, 2 begins a section, 4 has a sub key) | section: key group u16, state varint |
 *                key length varint | [sub key length varint] | payload length varint | key | sub key | payload
 *
 * Whoever knows the checksum of the index (a SegmentRef does) can verify every block on its own: so a range of a segment in
 * object storage is read, and trusted, without the rest. Each block begins a section.
 */

/** The format written by this version. */
export const segmentVersion = 2;
const magic = 0x3247_534d;
export const trailerBytes = 16;
export const blockBytesTarget = 32 * 1024;
const FULL = 1;
const HAS_VALUE = 1;

// Tags of an entry.
export const TOMBSTONE = 1;
export const SECTION = 2;
export const HAS_SUB = 4;

/** Key groups of 16 bits, both inclusive. */
export interface KeyGroups {
  readonly first: number;
  readonly last: number;
}

/** A named state (a column family): what its entries are is its owner's business. */
export interface SegmentState {
  readonly name: string;
  /** How entries are to be read; segments that disagree about it are never merged. Opaque to this folder. */
  readonly meta: Uint8Array;
  /** State that is not keyed: replaced as a whole by newer segments that have one. */
  readonly value: Uint8Array | undefined;
}

export interface SegmentBlock {
  readonly offset: number;
  readonly length: number;
  readonly entries: number;
  /** xxh64. */
  readonly checksum: bigint;
  /** Of its first entry. */
  readonly keyGroup: number;
  readonly state: number;
  readonly key: Uint8Array;
}

/** What a segment says of itself. */
export interface SegmentIndex {
  readonly checkpointId: number;
  /** Older segments count for nothing within `range`. */
  readonly full: boolean;
  readonly range: KeyGroups;
  readonly entries: number;
  readonly tombstones: number;
  /** Sorted by name (bytewise); entries name them by position. */
  readonly states: readonly SegmentState[];
  /** Entries and bytes of each state, by its position. */
  readonly sizes: readonly { readonly entries: number; readonly bytes: number }[];
  readonly blocks: readonly SegmentBlock[];
}

/** Index and trailer. */
export function encodeIndex(index: SegmentIndex): Uint8Array {
  const writer = new SegmentWriter(256 + index.blocks.length * 48);
  writer.u16(segmentVersion);
  writer.u16(index.full ? FULL : 0);
  writer.varint(index.checkpointId);
  writer.u16(index.range.first);
  writer.u16(index.range.last);
  writer.varint(index.entries);
  writer.varint(index.tombstones);
  writer.varint(index.states.length);
  index.states.forEach((state, i) => {
    const size = index.sizes[i] ?? { entries: 0, bytes: 0 };
    writer.blob(Buffer.from(state.name, 'utf8'));
    writer.blob(state.meta);
    writer.varint(size.entries);
    writer.varint(size.bytes);
    writer.u8(state.value === undefined ? 0 : HAS_VALUE);
    if (state.value !== undefined) writer.blob(state.value);
  });
  writer.varint(index.blocks.length);
  for (const block of index.blocks) {
    writer.varint(block.length);
    writer.varint(block.entries);
    writer.u64(block.checksum);
    writer.u16(block.keyGroup);
    writer.varint(block.state);
    writer.blob(block.key);
  }
  const length = writer.length;
  writer.u64(xxh64(writer.written()));
  writer.u32(length);
  writer.u32(magic);
  return writer.written();
}

/** The last bytes of a segment: how long index and trailer are together, and the checksum of the index. */
export function readTrailer(bytes: Uint8Array): { readonly indexBytes: number; readonly checksum: bigint } {
  if (bytes.byteLength < trailerBytes) throw segmentCorrupt('it ends early');
  const reader = new SegmentReader(bytes, bytes.byteLength - trailerBytes);
  const checksum = reader.u64();
  const length = reader.u32();
  if (reader.u32() !== magic) throw segmentCorrupt('it does not end as one');
  return { indexBytes: length + trailerBytes, checksum };
}

/**
 * Reads index and trailer, the last bytes of a segment of `segmentBytes`.
 * @throws MillraceError `SEGMENT_CORRUPT` (corrupt); `SEGMENT_VERSION` (invalid) naming both versions.
 */
export function decodeIndex(bytes: Uint8Array, segmentBytes: number): SegmentIndex {
  const trailer = readTrailer(bytes);
  if (trailer.indexBytes !== bytes.byteLength) throw segmentCorrupt('its index is cut short');
  const body = bytes.subarray(0, bytes.byteLength - trailerBytes);
  if (xxh64(body) !== trailer.checksum) throw segmentCorrupt('the checksum of its index differs');
  const reader = new SegmentReader(body);
  const version = reader.u16();
  if (version !== segmentVersion) {
    throw new MillraceError(
      'invalid',
      'SEGMENT_VERSION',
      `a state segment has format ${version}, this version of Millrace reads format ${segmentVersion}`,
      { context: { found: version, supported: segmentVersion } },
    );
  }
  const full = (reader.u16() & FULL) !== 0;
  const checkpointId = reader.varint();
  const range = { first: reader.u16(), last: reader.u16() };
  const entries = reader.varint();
  const tombstones = reader.varint();
  const states: SegmentState[] = [];
  const sizes: { entries: number; bytes: number }[] = [];
  for (let i = reader.varint(); i > 0; i--) {
    const name = Buffer.from(reader.blob()).toString('utf8');
    const meta = reader.blob();
    sizes.push({ entries: reader.varint(), bytes: reader.varint() });
    states.push({ name, meta, value: reader.u8() === HAS_VALUE ? reader.blob() : undefined });
  }
  const blocks: SegmentBlock[] = [];
  let offset = 0;
  for (let i = reader.varint(); i > 0; i--) {
    const length = reader.varint();
    blocks.push({
      offset,
      length,
      entries: reader.varint(),
      checksum: reader.u64(),
      keyGroup: reader.u16(),
      state: reader.varint(),
      key: reader.blob(),
    });
    offset += length;
  }
  if (offset + bytes.byteLength !== segmentBytes) throw segmentCorrupt('its blocks are not all there');
  return { checkpointId, full, range, entries, tombstones, states, sizes, blocks };
}

/** @throws MillraceError `SEGMENT_CORRUPT` unless these are the bytes the index speaks of. */
export function verifyBlock(block: SegmentBlock, bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength !== block.length) throw segmentCorrupt(`a block of ${block.length} bytes is cut short`);
  if (xxh64(bytes) !== block.checksum) throw segmentCorrupt(`the checksum of the block at ${block.offset} differs`);
  return bytes;
}

/** Positions [from, to) of the blocks that may hold entries of these key groups. */
export function blocksOf(index: SegmentIndex, range: KeyGroups): { readonly from: number; readonly to: number } {
  const { blocks } = index;
  let from = 0;
  // A block also holds what follows its first entry, up to the first of the next block.
  while (from + 1 < blocks.length && (blocks[from + 1] as SegmentBlock).keyGroup < range.first) from++;
  let to = from;
  while (to < blocks.length && (blocks[to] as SegmentBlock).keyGroup <= range.last) to++;
  return { from, to };
}
