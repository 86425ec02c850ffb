import { segmentCorrupt } from './segment-bytes.js';
import { HAS_SUB, SECTION, TOMBSTONE } from './segment-format.js';

/**
 * Walks the entries of one verified block after another. Nothing is copied or allocated: the offsets of the current entry
 * point into `bytes`, which is valid as long as the block is.
 */
export class SegmentCursor {
  bytes: Uint8Array = new Uint8Array(0);
  keyGroup = 0;
  /** Position in the segment's states. */
  state = 0;
  tombstone = false;
  keyStart = 0;
  /** End of the key, start of the sub key. */
  keyEnd = 0;
  /** End of the sub key, start of the payload. */
  subEnd = 0;
  payloadEnd = 0;
  #at = 0;

  /** Stands before the first entry of a block. */
  load(block: Uint8Array): void {
    this.bytes = block;
    this.#at = 0;
  }

  /** Moves to the next entry; false at the end of the block. @throws MillraceError `SEGMENT_CORRUPT`. */
  next(): boolean {
    const bytes = this.bytes;
    if (this.#at >= bytes.length) return false;
    const tag = bytes[this.#at++] as number;
    if (tag > 7) throw segmentCorrupt('an entry has an unknown tag');
    if ((tag & SECTION) !== 0) {
      if (this.#at + 2 > bytes.length) throw segmentCorrupt('it ends early');
      this.keyGroup = (bytes[this.#at] as number) | ((bytes[this.#at + 1] as number) << 8);
      this.#at += 2;
      this.state = this.#varint();
    }
    this.tombstone = (tag & TOMBSTONE) !== 0;
    const keyLength = this.#varint();
    const subLength = (tag & HAS_SUB) === 0 ? 0 : this.#varint();
    const payloadLength = this.#varint();
    this.keyStart = this.#at;
    this.keyEnd = this.keyStart + keyLength;
    this.subEnd = this.keyEnd + subLength;
    this.payloadEnd = this.subEnd + payloadLength;
    if (this.payloadEnd > bytes.length) throw segmentCorrupt('an entry ends after its block');
    this.#at = this.payloadEnd;
    return true;
  }

  /** Views, valid as long as the block is. */
  get key(): Uint8Array {
    return this.bytes.subarray(this.keyStart, this.keyEnd);
  }

  get sub(): Uint8Array {
    return this.bytes.subarray(this.keyEnd, this.subEnd);
  }

  get payload(): Uint8Array {
    return this.bytes.subarray(this.subEnd, this.payloadEnd);
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes[this.#at++];
      if (byte === undefined) throw segmentCorrupt('it ends early');
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw segmentCorrupt('a length is malformed');
  }
}
