import { type ByteFile, MillraceError, xxh64 } from '../../base/index.js';
import {
  decodeIndex,
  HAS_SUB,
  readTrailer,
  SECTION,
  type SegmentIndex,
  segmentCorrupt,
  TOMBSTONE,
} from '../../checkpoint/index.js';
import {
  fingerprint,
  fingerprintsAt,
  firstSlot,
  type OverlayIndexHead,
  pageBytes,
  pageOf,
  pageSlots,
  readOverlayIndexHead,
  slotWord,
  verifyPage,
} from './overlay-index-format.js';

/** What a look into a segment finds. */
export const NOTHING = 0;
export const ENTRY = 1;
export const REMOVED = 2;
export type OverlayAnswer = typeof NOTHING | typeof ENTRY | typeof REMOVED;

/** Bytes read at an entry before its length is known. */
const entryBytesGuess = 256;

export interface OverlaySegmentFiles {
  /** Holds the segment from `offset` on. */
  readonly segment: ByteFile;
  readonly offset: number;
  readonly index: ByteFile;
}

/**
 * A segment on this host with the index beside it: finds single entries without reading anything else. Its pages are read
 * one by one, or all at once into shared memory (`load`), after which a miss reads no file at all.
 *
 * Nothing is believed unverified: head and pages carry checksums; of the segment's blocks, each is read and verified whole
 * before the first entry in it is, and from then on entries are read alone.
 */
export class OverlaySegment {
  readonly head: OverlayIndexHead;
  /** The payload found last: valid until the next call. */
  bytes: Uint8Array = new Uint8Array(entryBytesGuess);
  start = 0;
  end = 0;
  readonly #files: OverlaySegmentFiles;
  readonly #verified: Uint8Array;
  /** All pages, when loaded; otherwise the one read last. */
  #words: Uint32Array;
  #halves: Uint16Array;
  #loaded: SharedArrayBuffer | undefined;
  #pageInMemory = -1;
  /** Where the header of an entry is being read. */
  #at = 0;
  #index: SegmentIndex | undefined;

  /**
   * `checksum`: which segment it has to be, if that is known.
   * @throws MillraceError `SEGMENT_CORRUPT` when the index is damaged, or another segment's.
   */
  constructor(files: OverlaySegmentFiles, checksum?: bigint) {
    this.#files = files;
    const { index } = files;
    this.head = readOverlayIndexHead(index.size, (position, length) => {
      const bytes = new Uint8Array(length);
      index.read(bytes, 0, length, position);
      return bytes;
    });
    if (checksum !== undefined && checksum !== this.head.segmentChecksum) {
      throw segmentCorrupt('its overlay index is that of another one');
    }
    this.#verified = new Uint8Array(this.head.blockChecksums.length);
    const page = new ArrayBuffer(pageBytes);
    this.#words = new Uint32Array(page);
    this.#halves = new Uint16Array(page);
  }

  /** Of the index, in memory. */
  get loadedBytes(): number {
    return this.#loaded?.byteLength ?? 0;
  }

  get pagesBytes(): number {
    return this.head.pages * pageBytes;
  }

  /**
   * Brings the whole index into memory. Threads may share it: give what `load` returned in one to that in others.
   * @throws MillraceError `SEGMENT_CORRUPT`.
   */
  load(shared?: SharedArrayBuffer): SharedArrayBuffer {
    const memory = shared ?? this.#readPages();
    this.#loaded = memory;
    this.#words = new Uint32Array(memory);
    this.#halves = new Uint16Array(memory);
    return memory;
  }

  unload(): void {
    const page = new ArrayBuffer(pageBytes);
    this.#words = new Uint32Array(page);
    this.#halves = new Uint16Array(page);
    this.#loaded = undefined;
    this.#pageInMemory = -1;
  }

  /**
   * Looks up an entry by its hash (`hashEntry`). `state`: its position in `head.states`.
   * @throws MillraceError `SEGMENT_CORRUPT`, `DISK_FAILED`.
   */
  find(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array, hash: number): OverlayAnswer {
    const { pages, range } = this.head;
    if (pages === 0 || keyGroup < range.first || keyGroup > range.last) return NOTHING;
    const page = pageOf(hash, pages);
    let at = page;
    if (this.#loaded === undefined) {
      this.#readPage(page);
      at = 0;
    }
    const word = slotWord(hash);
    const print = fingerprint(word);
    const prints = at * (pageBytes / 2) + fingerprintsAt;
    for (let slot = firstSlot(word); ; slot = slot + 1 === pageSlots ? 0 : slot + 1) {
      const found = this.#halves[prints + slot];
      if (found === 0) return NOTHING;
      if (found !== print) continue;
      const start = this.#words[at * (pageBytes / 4) + slot] as number;
      if (this.#sectionOf(start) !== (keyGroup | (state << 16)) >>> 0) continue;
      const answer = this.#readEntry(start, key, sub);
      if (answer !== NOTHING) return answer;
    }
  }

  /** Read when first asked for, for those who walk the segment. @throws MillraceError `SEGMENT_CORRUPT`. */
  get index(): SegmentIndex {
    if (this.#index === undefined) {
      const { segmentBytes, segmentChecksum, blockStarts } = this.head;
      const from = blockStarts[blockStarts.length - 1] as number;
      const bytes = this.#read(from, segmentBytes - from).slice(0, segmentBytes - from);
      const index = decodeIndex(bytes, segmentBytes);
      if (readTrailer(bytes).checksum !== segmentChecksum) {
        throw segmentCorrupt('it is not the one of its overlay index');
      }
      this.#index = index;
    }
    return this.#index;
  }

  /** A copy of a block, verified. @throws MillraceError `SEGMENT_CORRUPT`. */
  block(at: number): Uint8Array {
    const { blockStarts, blockChecksums } = this.head;
    const start = blockStarts[at] as number;
    const length = (blockStarts[at + 1] as number) - start;
    const block = new Uint8Array(length);
    this.#files.segment.read(block, 0, length, this.#files.offset + start);
    if (xxh64(block) !== blockChecksums[at]) {
      throw new MillraceError(
        'corrupt',
        'SEGMENT_CORRUPT',
        `${this.#files.segment.path}: the checksum of the block at ${start} differs`,
        { context: { path: this.#files.segment.path } },
      );
    }
    this.#verified[at] = 1;
    return block;
  }

  close(): void {
    this.#files.segment.close();
    this.#files.index.close();
  }

  #readEntry(start: number, key: Uint8Array, sub: Uint8Array): OverlayAnswer {
    const { blockStarts } = this.head;
    const at = lastNotAbove(blockStarts, start);
    if (this.#verified[at] === 0) this.block(at);
    const blockEnd = blockStarts[at + 1] as number;
    const known = Math.min(entryBytesGuess, blockEnd - start);
    let bytes = this.#read(start, known);
    const tag = bytes[0] as number;
    this.#at = 1;
    if ((tag & SECTION) !== 0) {
      this.#at += 2;
      this.#varint();
    }
    const keyLength = this.#varint();
    const subLength = (tag & HAS_SUB) === 0 ? 0 : this.#varint();
    const payloadLength = this.#varint();
    const position = this.#at;
    if (keyLength !== key.length || subLength !== sub.length) return NOTHING;
    const payloadStart = position + keyLength + subLength;
    const end = payloadStart + payloadLength;
    if (start + end > blockEnd) throw segmentCorrupt('an entry ends after its block');
    if (end > known) bytes = this.#read(start, end);
    for (let i = 0; i < keyLength; i++) if (bytes[position + i] !== key[i]) return NOTHING;
    for (let i = 0; i < subLength; i++) if (bytes[position + keyLength + i] !== sub[i]) return NOTHING;
    this.start = payloadStart;
    this.end = end;
    return (tag & TOMBSTONE) === 0 ? ENTRY : REMOVED;
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.#at++] as number;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }

  /** key group | state << 16 of the entry that starts there. */
  #sectionOf(start: number): number {
    const { sectionStarts, sectionsOf } = this.head;
    return sectionsOf[lastNotAbove(sectionStarts, start)] as number;
  }

  /** Into `bytes`. */
  #read(start: number, length: number): Uint8Array {
    if (this.bytes.length < length) this.bytes = new Uint8Array(length * 2);
    this.#files.segment.read(this.bytes, 0, length, this.#files.offset + start);
    return this.bytes;
  }

  #readPage(page: number): void {
    if (this.#pageInMemory === page) return;
    this.#pageInMemory = -1;
    const bytes = new Uint8Array(this.#words.buffer);
    this.#files.index.read(bytes, 0, pageBytes, this.head.pagesAt + page * pageBytes);
    verifyPage(bytes);
    this.#pageInMemory = page;
  }

  #readPages(): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(this.pagesBytes);
    const target = new Uint8Array(memory);
    const { pagesAt, pages } = this.head;
    const part = new Uint8Array(Math.min(pages, 256) * pageBytes);
    for (let page = 0; page < pages; page += 256) {
      const length = Math.min(pages - page, 256) * pageBytes;
      this.#files.index.read(part, 0, length, pagesAt + page * pageBytes);
      for (let at = 0; at < length; at += pageBytes) verifyPage(part.subarray(at, at + pageBytes));
      target.set(part.subarray(0, length), page * pageBytes);
    }
    return memory;
  }
}

/** Position of the last of these ascending numbers that is not above `value`; the first is not. */
function lastNotAbove(numbers: Uint32Array, value: number): number {
  let low = 0;
  let high = numbers.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((numbers[middle] as number) <= value) low = middle;
    else high = middle;
  }
  return low;
}
