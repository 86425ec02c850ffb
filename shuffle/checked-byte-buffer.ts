import { ByteBuffer } from 'flatbuffers';
import { malformed } from './shuffle-errors.js';

/**
 * FlatBuffers reads what is missing as zeros and believes every length, so that a cut message means something else and
 * a damaged one may ask for all memory there is. This one throws `SHUFFLE_PROTOCOL` instead.
 */
export class CheckedByteBuffer extends ByteBuffer {
  override readUint8(offset: number): number {
    this.#check(offset, 1);
    return super.readUint8(offset);
  }

  override readUint16(offset: number): number {
    this.#check(offset, 2);
    return super.readUint16(offset);
  }

  override readInt32(offset: number): number {
    this.#check(offset, 4);
    return super.readInt32(offset);
  }

  override __string(offset: number): string | Uint8Array {
    const at = offset + this.readInt32(offset);
    this.#check(at + 4, this.readInt32(at));
    return super.__string(offset);
  }

  /** An element has at least one byte, so a vector has at most as many as the message has left. */
  override __vector_len(offset: number): number {
    const length = super.__vector_len(offset);
    this.#check(this.__vector(offset), length);
    return length;
  }

  #check(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.capacity()) return;
    throw malformed(`a message of ${this.capacity()} bytes that refers to byte ${offset + length}`);
  }
}
