import { checksumHex, MillraceError } from '../../base/index.js';
import type { BlobReader } from '../blob/blob-store.js';
import type { SegmentRef } from '../manifest.js';
import { segmentCorrupt } from './segment-bytes.js';
import { decodeIndex, readTrailer, type SegmentBlock, type SegmentIndex, verifyBlock } from './segment-format.js';

/** What a ref says of a segment that is in memory. */
export function describeSegment(
  bytes: Uint8Array,
): Pick<SegmentRef, 'length' | 'indexBytes' | 'checksum' | 'full' | 'first' | 'last'> {
  const { indexBytes, checksum } = readTrailer(bytes);
  const index = decodeIndex(bytes.subarray(Math.max(0, bytes.length - indexBytes)), bytes.length);
  const { first, last } = index.range;
  return { length: bytes.length, indexBytes, checksum: checksumHex(checksum), full: index.full, first, last };
}

/** A segment in memory, whole. Its index is verified at once, each block when it is asked for. */
export class LoadedSegment {
  readonly index: SegmentIndex;
  readonly #bytes: Uint8Array;

  /** @throws MillraceError `SEGMENT_CORRUPT` (corrupt), `SEGMENT_VERSION` (invalid). */
  constructor(bytes: Uint8Array) {
    const { indexBytes } = readTrailer(bytes);
    if (indexBytes > bytes.length) throw segmentCorrupt('it is shorter than its index');
    this.index = decodeIndex(bytes.subarray(bytes.length - indexBytes), bytes.length);
    this.#bytes = bytes;
  }

  /** @throws MillraceError `SEGMENT_CORRUPT`. */
  block(at: number): Uint8Array {
    const block = this.index.blocks[at] as SegmentBlock;
    return verifyBlock(block, this.#bytes.subarray(block.offset, block.offset + block.length));
  }
}

/**
 * A segment where it is stored: its index is read once, its blocks by ranges when they are wanted, each verified. So a
 * first read from a checkpoint of any size costs the index and one range.
 */
export class StoredSegment {
  readonly ref: SegmentRef;
  readonly index: SegmentIndex;
  readonly #store: BlobReader;

  private constructor(store: BlobReader, ref: SegmentRef, index: SegmentIndex) {
    this.#store = store;
    this.ref = ref;
    this.index = index;
  }

  /** One ranged read, or none for an inline one. @throws MillraceError `SEGMENT_CORRUPT`, `SEGMENT_VERSION`, `STORE_UNAVAILABLE`. */
  static async open(store: BlobReader, ref: SegmentRef): Promise<StoredSegment> {
    const index = await verified(store, ref, ref.length - ref.indexBytes, ref.indexBytes, (bytes) => {
      if (checksumHex(readTrailer(bytes).checksum) !== ref.checksum)
        throw segmentCorrupt('it is not the one referred to');
      return decodeIndex(bytes, ref.length);
    });
    return new StoredSegment(store, ref, index);
  }

  /** Blocks [from, to) in one ranged read, verified. @throws MillraceError `SEGMENT_CORRUPT`, `STORE_UNAVAILABLE`. */
  async blocks(from: number, to: number): Promise<Uint8Array[]> {
    if (from >= to) return [];
    const wanted = this.index.blocks.slice(from, to);
    const offset = (wanted[0] as SegmentBlock).offset;
    const last = wanted[wanted.length - 1] as SegmentBlock;
    return verified(this.#store, this.ref, offset, last.offset + last.length - offset, (bytes) =>
      wanted.map((block) =>
        verifyBlock(block, bytes.subarray(block.offset - offset, block.offset - offset + block.length)),
      ),
    );
  }
}

/**
 * A segment's bytes, whole and verified.
 * @throws MillraceError `SEGMENT_CORRUPT` (corrupt: missing, cut short or altered), `SEGMENT_VERSION`, `STORE_UNAVAILABLE`.
 */
export async function readSegment(store: BlobReader, ref: SegmentRef): Promise<Uint8Array> {
  return verified(store, ref, 0, ref.length, (bytes) => {
    if (checksumHex(readTrailer(bytes).checksum) !== ref.checksum)
      throw segmentCorrupt('it is not the one referred to');
    const segment = new LoadedSegment(bytes);
    for (let i = 0; i < segment.index.blocks.length; i++) segment.block(i);
    return bytes;
  });
}

/** What `read` makes of a range. What a store on the way has kept wrong is read from its origin again, once. */
async function verified<T>(
  store: BlobReader,
  ref: SegmentRef,
  offset: number,
  length: number,
  read: (bytes: Uint8Array) => T,
): Promise<T> {
  const once = async () => {
    const bytes = await readRange(store, ref, offset, length);
    return naming(store, ref, () => read(bytes));
  };
  try {
    return await once();
  } catch (thrown) {
    if (store.forget === undefined || ref.inline !== undefined || MillraceError.from(thrown).kind !== 'corrupt')
      throw thrown;
    await store.forget(ref.object);
    return once();
  }
}

async function readRange(store: BlobReader, ref: SegmentRef, offset: number, length: number): Promise<Uint8Array> {
  let bytes: Uint8Array;
  if (ref.inline !== undefined) {
    bytes = new Uint8Array(Buffer.from(ref.inline, 'base64')).subarray(offset, offset + length);
  } else {
    try {
      bytes = await store.get(ref.object, { offset: ref.offset + offset, length });
    } catch (thrown) {
      if (thrown instanceof MillraceError && thrown.code === 'BLOB_NOT_FOUND')
        throw damaged(store, ref, 'is missing', thrown);
      throw thrown;
    }
  }
  if (bytes.byteLength !== length) throw damaged(store, ref, `has ${bytes.byteLength} bytes, not ${length}`);
  return bytes;
}

/** Gives an error about a segment's bytes the place where they are. */
function naming<T>(store: BlobReader, ref: SegmentRef, fn: () => T): T {
  try {
    return fn();
  } catch (thrown) {
    if (thrown instanceof MillraceError && thrown.kind === 'corrupt') throw damaged(store, ref, thrown.message, thrown);
    throw thrown;
  }
}

function damaged(store: BlobReader, ref: SegmentRef, why: string, cause: unknown = undefined): MillraceError {
  const place = ref.inline === undefined ? `${ref.object} at ${ref.offset}` : 'HEAD';
  return new MillraceError('corrupt', 'SEGMENT_CORRUPT', `${store.location}: segment in ${place}: ${why}`, {
    cause,
    context: { object: ref.object, offset: ref.offset, length: ref.length },
  });
}
