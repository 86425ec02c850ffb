import { MillraceError } from '../../base/index.js';

/** Little-endian bytes, growing. */
export class SegmentWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(Math.max(capacity, 256));
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.#room(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
  }

  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  /** Big-endian: in the order of bytes. */
  u32be(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value, false);
    this.#length += 4;
  }

  u64(value: bigint): void {
    this.#room(8);
    this.#view.setBigUint64(this.#length, value, true);
    this.#length += 8;
  }

  /** NaN has one bit pattern; written as integers, because `setFloat64` keeps whatever bits a NaN came with. */
  f64(value: number): void {
    this.#room(8);
    if (Number.isNaN(value)) {
      this.#view.setUint32(this.#length, 0, true);
      this.#view.setUint32(this.#length + 4, 0x7ff80000, true);
    } else {
      this.#view.setFloat64(this.#length, value, true);
    }
    this.#length += 8;
  }

  /** Unsigned LEB128, up to 2^53. */
  varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.u8((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    this.u8(rest);
  }

  /** Length as a varint, then the bytes. */
  blob(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.bytes(bytes, 0, bytes.length);
  }

  bytes(source: Uint8Array, start: number, end: number): void {
    this.#room(end - start);
    if (end - start < 32) for (let i = start; i < end; i++) this.#bytes[this.#length++] = source[i] as number;
    else {
      this.#bytes.set(source.subarray(start, end), this.#length);
      this.#length += end - start;
    }
  }

  /** What was written, in place: valid until the next write. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(needed: number): void {
    if (this.#length + needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.byteLength * 2, this.#length + needed));
    grown.set(this.written());
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Reads what SegmentWriter wrote. Every overrun is `SEGMENT_CORRUPT`. */
export class SegmentReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  get position(): number {
    return this.#at;
  }

  seek(position: number): void {
    this.#at = position;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#advance(8), true);
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 56; shift += 7) {
      const byte = this.u8();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw segmentCorrupt('a length is malformed');
  }

  /** A copy of what `blob` wrote. */
  blob(): Uint8Array {
    return new Uint8Array(this.bytes(this.varint()));
  }

  /** A view, valid as long as the segment's bytes. */
  bytes(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  #advance(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.byteLength) throw segmentCorrupt('it ends early');
    this.#at = at + length;
    return at;
  }
}

/** A MillraceError `SEGMENT_CORRUPT`. */
export function segmentCorrupt(why: string): MillraceError {
  return new MillraceError('corrupt', 'SEGMENT_CORRUPT', `a state segment is damaged: ${why}`);
}

/** Bytewise, a prefix first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
