/**
 * A region on disk: one immutable file with what one writer spilled at one time, sorted, so that each subpartition in it
 * is one sequential run. All numbers little-endian.
 *
 *     header   magic, version, header bytes, boot id bytes, writer bytes, object name bytes (u32 each)
 *              | boot id | writer | object name (utf8) | zeros up to a multiple of 8 | xxh64 of all before
 *     data     the stored bytes of all buffers, run after run, without gaps
 *     index    partitions, runs, buffers, 0 (u32 each)
 *              | per run, 24 bytes:    partition (4) | subpartition (4) | first seq (8) | buffers (4) | first record (4)
 *              | per buffer, 48 bytes: kind (4) | rows (4) | length (4) | raw length (4) | offset in the file (8)
 *                                      | checksum (8) | chain after it (8) | xxh64 of the stored bytes (8)
 *              | per partition:        length (4) | id (utf8)
 *     footer   index offset (8) | index length (8) | xxh64 of the index (8) | xxh64 of the 24 bytes before (8) | magic (8)
 *
 * The footer is written last and by itself: a file that ends otherwise is torn, which harms nobody, since its buffers
 * stay in memory until the write was done. An object name is there only in the record of a region that was moved to an
 * object store: such a file has no data, and its offsets are those in the object, a copy of the file that was here.
 */
import { MillraceError, xxh64 } from '../base/index.js';
import type { BufferKind } from './spi.js';

/** One buffer as it lies in the arena. */
export interface RegionBuffer {
  readonly seq: number;
  readonly kind: BufferKind;
  readonly rows: number;
  /** Bytes after decompression; equal to `bytes.length` when they are stored as they are. */
  readonly rawLength: number;
  /** xxh64 of the bytes after decompression. */
  readonly checksum: bigint;
  /** Chain hash after this buffer. */
  readonly chain: bigint;
  /** What was stored, perhaps compressed. */
  readonly bytes: Uint8Array;
}

/** A stretch of one subpartition: ascending seqs without gaps. */
export interface RegionPart {
  readonly partition: string;
  readonly subpartition: number;
  readonly buffers: readonly RegionBuffer[];
}

/** Who wrote a region, and where its data is when they are not in the file. */
export interface RegionHeader {
  readonly bootId: string;
  readonly writer: string;
  /** '' when the data are in the file. */
  readonly objectName: string;
}

/** A stretch of one subpartition as the index has it. */
export interface RegionRun {
  readonly partition: string;
  readonly subpartition: number;
  readonly first: number;
  readonly count: number;
  readonly firstRecord: number;
}

/** Where a buffer is, and what it must be. */
export interface RegionRecord {
  readonly kind: BufferKind;
  readonly rows: number;
  readonly length: number;
  readonly rawLength: number;
  readonly offset: number;
  readonly checksum: bigint;
  readonly chain: bigint;
  readonly storedChecksum: bigint;
}

export const REGION_FOOTER_BYTES = 40;
/** Enough for the lengths in a header; `headerBytes` says how long all of it is. */
export const REGION_HEADER_START_BYTES = 24;

const MAGIC = 0x4e47524d; // 'MRGN'
const FOOTER_MAGIC = 0x444e454e4f494752n; // 'RGIONEND'
const VERSION = 1;
const COUNTS_BYTES = 16;
const RUN_BYTES = 24;
const RECORD_BYTES = 48;
const HEADER_BYTES_MAX = 1 << 20;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeRegionHeader(header: RegionHeader): Uint8Array {
  const texts = [header.bootId, header.writer, header.objectName].map((text) => encoder.encode(text));
  const textBytes = texts.reduce((sum, text) => sum + text.length, 0);
  const total = Math.ceil((REGION_HEADER_START_BYTES + textBytes) / 8) * 8 + 8;
  const bytes = new Uint8Array(total);
  const view = viewOf(bytes);
  [MAGIC, VERSION, total, ...texts.map((text) => text.length)].forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  let at = REGION_HEADER_START_BYTES;
  for (const text of texts) {
    bytes.set(text, at);
    at += text.length;
  }
  view.setBigUint64(total - 8, xxh64(bytes.subarray(0, total - 8)), true);
  return bytes;
}

/** How long the whole header is, from its first 24 bytes. @throws `REGION_DAMAGED` (corrupt) */
export function headerBytes(start: Uint8Array): number {
  if (start.length < REGION_HEADER_START_BYTES) throw damaged('it ends within its header');
  const view = viewOf(start);
  if (view.getUint32(0, true) !== MAGIC) throw damaged('it does not begin like a region');
  const version = view.getUint32(4, true);
  if (version !== VERSION) throw damaged(`its format is version ${version}, known is ${VERSION}`);
  const total = view.getUint32(8, true);
  if (total < REGION_HEADER_START_BYTES + 8 || total > HEADER_BYTES_MAX) throw damaged('its header has no length');
  return total;
}

/** @throws `REGION_DAMAGED` (corrupt) */
export function decodeRegionHeader(bytes: Uint8Array): RegionHeader {
  const total = headerBytes(bytes);
  if (bytes.length < total) throw damaged('it ends within its header');
  const view = viewOf(bytes);
  if (view.getBigUint64(total - 8, true) !== xxh64(bytes.subarray(0, total - 8))) {
    throw damaged('its header does not match its checksum');
  }
  let at = REGION_HEADER_START_BYTES;
  const [bootId = '', writer = '', objectName = ''] = [12, 16, 20].map((field) => {
    const length = view.getUint32(field, true);
    at += length;
    return decoder.decode(bytes.subarray(at - length, at));
  });
  return { bootId, writer, objectName };
}

export function encodeRegionFooter(indexOffset: number, index: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(REGION_FOOTER_BYTES);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(indexOffset), true);
  view.setBigUint64(8, BigInt(index.length), true);
  view.setBigUint64(16, xxh64(index), true);
  view.setBigUint64(24, xxh64(bytes.subarray(0, 24)), true);
  view.setBigUint64(32, FOOTER_MAGIC, true);
  return bytes;
}

export interface RegionFooter {
  readonly indexOffset: number;
  readonly indexLength: number;
  readonly indexChecksum: bigint;
}

/** @param fileBytes the size of the whole file. @throws `REGION_DAMAGED` (corrupt): it is torn, or damaged there. */
export function decodeRegionFooter(bytes: Uint8Array, fileBytes: number): RegionFooter {
  if (bytes.length !== REGION_FOOTER_BYTES) throw damaged('it ends before its footer');
  const view = viewOf(bytes);
  if (view.getBigUint64(32, true) !== FOOTER_MAGIC) throw damaged('it has no footer');
  if (view.getBigUint64(24, true) !== xxh64(bytes.subarray(0, 24))) throw damaged('its footer is damaged');
  const indexOffset = Number(view.getBigUint64(0, true));
  const indexLength = Number(view.getBigUint64(8, true));
  if (indexOffset + indexLength + REGION_FOOTER_BYTES !== fileBytes) throw damaged('its footer is of another file');
  return { indexOffset, indexLength, indexChecksum: view.getBigUint64(16, true) };
}

/** The index of a region over its bytes; records are decoded when asked for. */
export class RegionIndex {
  readonly bytes: Uint8Array;
  readonly runs: readonly RegionRun[];
  /** Length of all data. */
  readonly dataBytes: number;
  readonly #view: DataView;
  readonly #records: number;

  private constructor(bytes: Uint8Array, runs: readonly RegionRun[]) {
    this.bytes = bytes;
    this.runs = runs;
    this.#view = viewOf(bytes);
    this.#records = COUNTS_BYTES + runs.length * RUN_BYTES;
    let dataBytes = 0;
    for (let i = 0; i < this.#view.getUint32(8, true); i++) dataBytes += this.length(i);
    this.dataBytes = dataBytes;
  }

  /** Size of the whole file with the data in it: the first buffer lies behind the header. */
  get fileBytes(): number {
    return this.offset(0) + this.dataBytes + this.bytes.length + REGION_FOOTER_BYTES;
  }

  /** While it is being written. */
  setStoredChecksum(record: number, checksum: bigint): void {
    this.#view.setBigUint64(this.#records + record * RECORD_BYTES + 40, checksum, true);
  }

  /** Lays the parts out behind a header of `dataOffset` bytes; `setStoredChecksum` is still to be called for each buffer. */
  static of(parts: readonly RegionPart[], dataOffset: number): RegionIndex {
    const partitions = new Map<string, number>();
    for (const { partition } of parts) if (!partitions.has(partition)) partitions.set(partition, partitions.size);
    const ids = [...partitions.keys()].map((id) => encoder.encode(id));
    const buffers = parts.reduce((sum, part) => sum + part.buffers.length, 0);
    const records = COUNTS_BYTES + parts.length * RUN_BYTES;
    const names = records + buffers * RECORD_BYTES;
    const bytes = new Uint8Array(names + ids.reduce((sum, id) => sum + 4 + id.length, 0));
    const view = viewOf(bytes);
    [ids.length, parts.length, buffers].forEach((count, i) => {
      view.setUint32(4 * i, count, true);
    });
    const runs: RegionRun[] = [];
    let record = 0;
    let offset = dataOffset;
    parts.forEach(({ partition, subpartition, buffers: ofRun }, i) => {
      const first = (ofRun[0] as RegionBuffer).seq;
      const at = COUNTS_BYTES + i * RUN_BYTES;
      view.setUint32(at, partitions.get(partition) as number, true);
      view.setUint32(at + 4, subpartition, true);
      view.setBigUint64(at + 8, BigInt(first), true);
      view.setUint32(at + 16, ofRun.length, true);
      view.setUint32(at + 20, record, true);
      runs.push({ partition, subpartition, first, count: ofRun.length, firstRecord: record });
      for (const buffer of ofRun) {
        const to = records + record++ * RECORD_BYTES;
        view.setUint32(to, buffer.kind, true);
        view.setUint32(to + 4, buffer.rows, true);
        view.setUint32(to + 8, buffer.bytes.length, true);
        view.setUint32(to + 12, buffer.rawLength, true);
        view.setBigUint64(to + 16, BigInt(offset), true);
        view.setBigUint64(to + 24, buffer.checksum, true);
        view.setBigUint64(to + 32, buffer.chain, true);
        offset += buffer.bytes.length;
      }
    });
    let at = names;
    for (const id of ids) {
      view.setUint32(at, id.length, true);
      bytes.set(id, at + 4);
      at += 4 + id.length;
    }
    return new RegionIndex(bytes, runs);
  }

  /** @throws `REGION_DAMAGED` (corrupt) */
  static decode(bytes: Uint8Array, footer: RegionFooter): RegionIndex {
    if (bytes.length !== footer.indexLength || xxh64(bytes) !== footer.indexChecksum) {
      throw damaged('its index does not match its checksum');
    }
    const view = viewOf(bytes);
    const [partitions = 0, runCount = 0, buffers = 0] = [0, 4, 8].map((at) => view.getUint32(at, true));
    const ids: string[] = [];
    let at = COUNTS_BYTES + runCount * RUN_BYTES + buffers * RECORD_BYTES;
    for (let i = 0; i < partitions; i++) {
      const length = view.getUint32(at, true);
      ids.push(decoder.decode(bytes.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    const runs = Array.from({ length: runCount }, (_, i) => {
      const run = COUNTS_BYTES + i * RUN_BYTES;
      return {
        partition: ids[view.getUint32(run, true)] as string,
        subpartition: view.getUint32(run + 4, true),
        first: Number(view.getBigUint64(run + 8, true)),
        count: view.getUint32(run + 16, true),
        firstRecord: view.getUint32(run + 20, true),
      };
    });
    return new RegionIndex(bytes, runs);
  }

  length(record: number): number {
    return this.#view.getUint32(this.#records + record * RECORD_BYTES + 8, true);
  }

  offset(record: number): number {
    return Number(this.#view.getBigUint64(this.#records + record * RECORD_BYTES + 16, true));
  }

  chain(record: number): bigint {
    return this.#view.getBigUint64(this.#records + record * RECORD_BYTES + 32, true);
  }

  record(record: number): RegionRecord {
    const at = this.#records + record * RECORD_BYTES;
    return {
      kind: this.#view.getUint32(at, true) as BufferKind,
      rows: this.#view.getUint32(at + 4, true),
      length: this.length(record),
      rawLength: this.#view.getUint32(at + 12, true),
      offset: this.offset(record),
      checksum: this.#view.getBigUint64(at + 24, true),
      chain: this.chain(record),
      storedChecksum: this.#view.getBigUint64(at + 40, true),
    };
  }
}

/** The file is torn, or its header, index or footer is damaged. */
export function damaged(why: string): MillraceError {
  return new MillraceError('corrupt', 'REGION_DAMAGED', why);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
