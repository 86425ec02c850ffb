import { MillraceError, xxh64 } from '../../base/index.js';
import {
  decodeIndex,
  type KeyGroups,
  readTrailer,
  SegmentCursor,
  SegmentReader,
  type SegmentState,
  SegmentWriter,
  segmentCorrupt,
  verifyBlock,
} from '../../checkpoint/index.js';
import { hashJoinedEntry, hashState } from '../tables/entry-hash.js';

/*
 * Beside a segment stands where each of its entries is, so that one is found with one cache miss, and read alone. Made from
 * the segment; little-endian:
 *
 *     head     0 magic 'MROX' u32 | 4 version u32 | 8 bytes of the segment f64 | 16 checksum of the segment's index u64
 *              24 pages u32 | 28 blocks u32 | 32 sections u32 | 36 entries u32 | 40 first, last key group u16
 *              44 flags u16 (1 = full) | 46 states u16 | 48 bytes of the states u32 | 52 zero
 *     blocks   start of each in the segment, and the end of the last: u32 each | from a multiple of 8: xxh64 of each
 *     sections runs of entries of one key group and state: start of each u32 | then of each: key group u16, state u16
 *     states   per state: name blob, meta blob, in the segment's order
 *     check    xxh64 of all before, from a multiple of 8; then zeros up to a multiple of 4096
 *     pages    a hash table each, of 681 slots: start of the entry in the segment u32 each | fingerprint u16 each (0 = none)
 *              | u16 zero | xxh64 of the page before that
 *
 * An entry's page follows from the high bits of its hash, its first slot and fingerprint from the rest; the next slots are
 * looked at until one is empty. Pages are three quarters full on average. Each is verified alone, so that an index of any
 * size can be used without being read: a page at a time.
 */
export const pageBytes = 4096;
export const pageSlots = 681;
/** In units of u16 within a page. */
export const fingerprintsAt = (pageSlots * 4) / 2;
const checksumAt = 4088;
const headBytes = 56;
const magic = 0x584f_524d;
const version = 1;
const FULL = 1;
const fillPerPage = 510;

/** What an index says of its segment, and where its parts are. */
export interface OverlayIndexHead {
  readonly segmentBytes: number;
  /** Which segment it is the index of. */
  readonly segmentChecksum: bigint;
  readonly range: KeyGroups;
  readonly full: boolean;
  readonly entries: number;
  readonly states: readonly Pick<SegmentState, 'name' | 'meta'>[];
  /** One more than there are blocks. */
  readonly blockStarts: Uint32Array;
  readonly blockChecksums: BigUint64Array;
  readonly sectionStarts: Uint32Array;
  /** key group | state << 16 */
  readonly sectionsOf: Uint32Array;
  readonly pages: number;
  /** Where the first page begins. */
  readonly pagesAt: number;
}

/** Which page an entry with this hash is in. */
export function pageOf(hash: number, pages: number): number {
  return Math.floor((hash / 2 ** 32) * pages);
}

/** Of the lower half: its first slot; of the upper: its fingerprint. */
export function slotWord(hash: number): number {
  return Math.imul(hash ^ (hash >>> 15), 0x9e3779b1) >>> 0;
}

export function firstSlot(word: number): number {
  return ((word & 0xffff) * pageSlots) >>> 16;
}

export function fingerprint(word: number): number {
  return word >>> 16 || 1;
}

/**
 * The index of a segment, which is verified in passing.
 * @throws MillraceError `SEGMENT_CORRUPT` (corrupt); `SEGMENT_TOO_LARGE` (invalid) from 4 GiB.
 */
export function buildOverlayIndex(segment: Uint8Array): Uint8Array {
  if (segment.length > 0xffff_ffff) {
    throw new MillraceError(
      'invalid',
      'SEGMENT_TOO_LARGE',
      `a segment of ${segment.length} bytes cannot be indexed: at most 4 GiB`,
    );
  }
  const { indexBytes, checksum } = readTrailer(segment);
  if (indexBytes > segment.length) throw segmentCorrupt('it is shorter than its index');
  const index = decodeIndex(segment.subarray(segment.length - indexBytes), segment.length);
  const stateHashes = index.states.map(({ name }) => hashState(name));
  const hashes = new Uint32Array(index.entries);
  const starts = new Uint32Array(index.entries);
  const sections: number[] = [];
  const cursor = new SegmentCursor();
  let count = 0;
  let section = -1;
  for (const block of index.blocks) {
    cursor.load(verifyBlock(block, segment.subarray(block.offset, block.offset + block.length)));
    let start = 0;
    while (cursor.next()) {
      const stateHash = stateHashes[cursor.state];
      if (stateHash === undefined || count === index.entries)
        throw segmentCorrupt('its entries are not those it counts');
      const entrySection = cursor.keyGroup | (cursor.state << 16);
      if (entrySection !== section) {
        section = entrySection;
        sections.push(block.offset + start, section >>> 0);
      }
      hashes[count] = hashJoinedEntry(stateHash, cursor.bytes, cursor.keyStart, cursor.subEnd);
      starts[count++] = block.offset + start;
      start = cursor.payloadEnd;
    }
  }
  if (count !== index.entries) throw segmentCorrupt('its entries are not those it counts');
  let pages = Math.ceil(count / fillPerPage);
  let table = fillPages(hashes, starts, pages);
  // As good as never.
  while (table === undefined) table = fillPages(hashes, starts, ++pages);
  const head = encodeHead(index, segment.length, checksum, sections, pages);
  const bytes = new Uint8Array(head.length + table.length);
  bytes.set(head);
  bytes.set(table, head.length);
  return bytes;
}

/** Undefined when one of the pages overflows. */
function fillPages(hashes: Uint32Array, starts: Uint32Array, pages: number): Uint8Array | undefined {
  const table = new Uint8Array(pages * pageBytes);
  const words = new Uint32Array(table.buffer);
  const halves = new Uint16Array(table.buffer);
  const counts = new Uint16Array(pages);
  for (let i = 0; i < hashes.length; i++) {
    const hash = hashes[i] as number;
    const page = pageOf(hash, pages);
    // One slot stays empty: it ends every search.
    const filled = (counts[page] as number) + 1;
    if (filled === pageSlots) return undefined;
    counts[page] = filled;
    const word = slotWord(hash);
    const prints = page * (pageBytes / 2) + fingerprintsAt;
    let slot = firstSlot(word);
    while (halves[prints + slot] !== 0) slot = slot + 1 === pageSlots ? 0 : slot + 1;
    halves[prints + slot] = fingerprint(word);
    words[page * (pageBytes / 4) + slot] = starts[i] as number;
  }
  for (let page = 0; page < pages; page++) {
    const at = page * pageBytes;
    new DataView(table.buffer).setBigUint64(at + checksumAt, xxh64(table.subarray(at, at + checksumAt)), true);
  }
  return table;
}

/** @throws MillraceError `SEGMENT_CORRUPT` unless this page is as it was written. */
export function verifyPage(page: Uint8Array): void {
  const written = new DataView(page.buffer, page.byteOffset).getBigUint64(checksumAt, true);
  if (xxh64(page.subarray(0, checksumAt)) !== written) throw segmentCorrupt('a page of its overlay index differs');
}

function encodeHead(
  index: ReturnType<typeof decodeIndex>,
  segmentBytes: number,
  checksum: bigint,
  sections: readonly number[],
  pages: number,
): Uint8Array {
  const states = new SegmentWriter(256);
  for (const { name, meta } of index.states) {
    states.blob(Buffer.from(name, 'utf8'));
    states.blob(meta);
  }
  const { blocks } = index;
  const checksumsAt = align(headBytes + 4 * (blocks.length + 1), 8);
  const sectionsAt = checksumsAt + 8 * blocks.length;
  const statesAt = sectionsAt + 4 * sections.length;
  const checkAt = align(statesAt + states.length, 8);
  const head = new Uint8Array(align(checkAt + 8, pageBytes));
  const view = new DataView(head.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(4, version, true);
  view.setFloat64(8, segmentBytes, true);
  view.setBigUint64(16, checksum, true);
  [pages, blocks.length, sections.length / 2, index.entries].forEach((n, i) => {
    view.setUint32(24 + 4 * i, n, true);
  });
  view.setUint16(40, index.range.first, true);
  view.setUint16(42, index.range.last, true);
  view.setUint16(44, index.full ? FULL : 0, true);
  view.setUint16(46, index.states.length, true);
  view.setUint32(48, states.length, true);
  const starts = [...blocks.map((block) => block.offset), blocks.reduce((sum, block) => sum + block.length, 0)];
  starts.forEach((start, i) => {
    view.setUint32(headBytes + 4 * i, start, true);
  });
  blocks.forEach((block, i) => {
    view.setBigUint64(checksumsAt + 8 * i, block.checksum, true);
  });
  for (let i = 0; i < sections.length; i += 2) {
    view.setUint32(sectionsAt + 2 * i, sections[i] as number, true);
    view.setUint32(sectionsAt + 2 * sections.length + 2 * i, sections[i + 1] as number, true);
  }
  head.set(states.written(), statesAt);
  view.setBigUint64(checkAt, xxh64(head.subarray(0, checkAt)), true);
  return head;
}

/** How many bytes the head of an index has, told from its first `headBytes`; where its own checksum is. */
function sizesOf(start: Uint8Array): { readonly checkAt: number; readonly bytes: number } {
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (view.getUint32(0, true) !== magic) throw segmentCorrupt('its overlay index is none');
  const found = view.getUint32(4, true);
  if (found !== version) throw segmentCorrupt(`its overlay index has version ${found}, not ${version}`);
  const blocks = view.getUint32(28, true);
  const sections = view.getUint32(32, true);
  const statesAt = align(headBytes + 4 * (blocks + 1), 8) + 8 * blocks + 8 * sections;
  const checkAt = align(statesAt + view.getUint32(48, true), 8);
  return { checkAt, bytes: align(checkAt + 8, pageBytes) };
}

/**
 * Reads the head through `read(position, length)`. @throws MillraceError `SEGMENT_CORRUPT`: then make the index anew; what
 * `read` throws.
 */
export function readOverlayIndexHead(
  fileBytes: number,
  read: (position: number, length: number) => Uint8Array,
): OverlayIndexHead {
  if (fileBytes < pageBytes) throw segmentCorrupt('its overlay index is cut short');
  const start = read(0, pageBytes);
  const { checkAt, bytes: pagesAt } = sizesOf(start);
  if (pagesAt > fileBytes) throw segmentCorrupt('its overlay index is cut short');
  // A copy, so that typed arrays can stand on it.
  const head = new Uint8Array(pagesAt);
  head.set(pagesAt === pageBytes ? start : read(0, pagesAt));
  const view = new DataView(head.buffer);
  if (xxh64(head.subarray(0, checkAt)) !== view.getBigUint64(checkAt, true)) {
    throw segmentCorrupt('its overlay index has a damaged head');
  }
  const pages = view.getUint32(24, true);
  const blocks = view.getUint32(28, true);
  const sections = view.getUint32(32, true);
  if (fileBytes !== pagesAt + pages * pageBytes) throw segmentCorrupt('its overlay index is cut short');
  const checksumsAt = align(headBytes + 4 * (blocks + 1), 8);
  const sectionsAt = checksumsAt + 8 * blocks;
  const reader = new SegmentReader(head, sectionsAt + 8 * sections);
  const states = Array.from({ length: view.getUint16(46, true) }, () => ({
    name: Buffer.from(reader.blob()).toString('utf8'),
    meta: reader.blob(),
  }));
  return {
    segmentBytes: view.getFloat64(8, true),
    segmentChecksum: view.getBigUint64(16, true),
    range: { first: view.getUint16(40, true), last: view.getUint16(42, true) },
    full: (view.getUint16(44, true) & FULL) !== 0,
    entries: view.getUint32(36, true),
    states,
    blockStarts: new Uint32Array(head.buffer, headBytes, blocks + 1),
    blockChecksums: new BigUint64Array(head.buffer, checksumsAt, blocks),
    sectionStarts: new Uint32Array(head.buffer, sectionsAt, sections),
    sectionsOf: new Uint32Array(head.buffer, sectionsAt + 4 * sections, sections),
    pages,
    pagesAt,
  };
}

function align(bytes: number, to: number): number {
  return Math.ceil(bytes / to) * to;
}
