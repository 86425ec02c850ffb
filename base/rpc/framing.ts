import { FRAME_BYTES_MAX } from '../network.js';
import { AlignedBytes, ownBytes } from './aligned-bytes.js';
import { receivedFrameTooLarge } from './connection-errors.js';

/**
 * Frames on a byte stream (Unix or TCP socket):
 *
 *     offset 0   u32 little-endian   length n of the frame, 0 .. FRAME_BYTES_MAX
 *     offset 4   n bytes             the frame
 *
 * The length GOODBYE stands for "closed on purpose": nothing follows it. A stream that ends without it was cut.
 */
export const GOODBYE = 0xffff_ffff;

export interface FrameSink {
  frame(frame: Uint8Array): void;
  goodbye(): void;
}

/**
 * Cuts a stream into frames. Each byte is copied once, into memory that belongs to the frame and starts 8-aligned in its
 * ArrayBuffer, however the stream was cut into chunks.
 */
export class FrameReader {
  readonly #peer: string;
  readonly #sink: FrameSink;
  readonly #bytesMax: number;
  readonly #memory = new AlignedBytes();
  #length = 0;
  #lengthBytes = 0;
  #frame: Uint8Array | undefined;
  #filled = 0;
  #stopped = false;

  constructor(peer: string, sink: FrameSink, bytesMax = FRAME_BYTES_MAX) {
    this.#peer = peer;
    this.#sink = sink;
    this.#bytesMax = bytesMax;
  }

  /** @throws MillraceError `FRAME_TOO_LARGE` (corrupt) naming the peer; the reader is stopped then. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (!this.#stopped && at < chunk.length) {
      at = this.#frame === undefined ? this.#readLength(chunk, at) : this.#fill(this.#frame, chunk, at);
    }
  }

  /** The memory of a frame that nobody looks at any more. */
  recycle(frame: Uint8Array): void {
    this.#memory.recycle(frame);
  }

  /** Nothing is handed on any more, not even what is left of the chunk being pushed. */
  stop(): void {
    this.#stopped = true;
    this.#frame = undefined;
  }

  /** What is missing when the stream ends here; undefined at a frame boundary. */
  get truncation(): string | undefined {
    if (this.#frame !== undefined) return `in the middle of a frame (${this.#filled} of ${this.#length} bytes)`;
    return this.#lengthBytes > 0 ? 'in the middle of a frame length' : undefined;
  }

  #readLength(chunk: Uint8Array, from: number): number {
    let at = from;
    while (this.#lengthBytes < 4 && at < chunk.length) {
      this.#length = (this.#length | ((chunk[at++] as number) << (8 * this.#lengthBytes++))) >>> 0;
    }
    if (this.#lengthBytes < 4) return at;
    if (this.#length === GOODBYE) {
      this.stop();
      this.#lengthBytes = 0;
      this.#sink.goodbye();
    } else if (this.#length > this.#bytesMax) {
      this.stop();
      throw receivedFrameTooLarge(this.#peer, this.#length, this.#bytesMax);
    } else {
      this.#frame = this.#memory.allocate(this.#length);
      this.#filled = 0;
      if (this.#length === 0) this.#deliver(this.#frame);
    }
    return at;
  }

  #fill(frame: Uint8Array, chunk: Uint8Array, from: number): number {
    const count = Math.min(frame.length - this.#filled, chunk.length - from);
    frame.set(from === 0 && count === chunk.length ? chunk : chunk.subarray(from, from + count), this.#filled);
    this.#filled += count;
    if (this.#filled === frame.length) this.#deliver(frame);
    return from + count;
  }

  #deliver(frame: Uint8Array): void {
    this.#frame = undefined;
    this.#length = 0;
    this.#lengthBytes = 0;
    this.#sink.frame(frame);
  }
}

/** Two pieces of a frame as one. */
export function joined(head: Uint8Array, payload: Uint8Array): Uint8Array {
  const frame = ownBytes(head.length + payload.length);
  frame.set(head);
  frame.set(payload, head.length);
  return frame;
}

const COPY_BYTES_MAX = 4 * 1024;
const SLAB_BYTES = 64 * 1024;

/**
 * Gathers framed bytes for one vectored write: small frames are copied together, large ones are referenced as they are.
 */
export class FrameBatch {
  #chunks: Uint8Array[] = [];
  #slab: Uint8Array = new Uint8Array(0);
  #start = 0;
  #end = 0;
  #bytes = 0;

  /** Bytes gathered and not taken yet, lengths included. */
  get bytes(): number {
    return this.#bytes;
  }

  add(frame: Uint8Array): void {
    this.#reserve(frame.length <= COPY_BYTES_MAX ? 4 + frame.length : 4);
    this.#putLength(frame.length);
    this.#bytes += 4 + frame.length;
    this.#addPiece(frame);
  }

  /** One frame in two pieces, each treated as a frame would be. */
  addParts(head: Uint8Array, payload: Uint8Array): void {
    const length = head.length + payload.length;
    this.#reserve(4);
    this.#putLength(length);
    this.#bytes += 4 + length;
    this.#addPiece(head);
    this.#addPiece(payload);
  }

  addGoodbye(): void {
    this.#reserve(4);
    this.#putLength(GOODBYE);
    this.#bytes += 4;
  }

  /** The chunks to write, in order. They are never written to again. */
  take(): Uint8Array[] {
    this.#cut();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#bytes = 0;
    return chunks;
  }

  #addPiece(piece: Uint8Array): void {
    if (piece.length > COPY_BYTES_MAX) {
      this.#cut();
      this.#chunks.push(piece);
      return;
    }
    this.#reserve(piece.length);
    this.#slab.set(piece, this.#end);
    this.#end += piece.length;
  }

  #reserve(count: number): void {
    if (this.#end + count <= this.#slab.length) return;
    this.#cut();
    this.#slab = ownBytes(SLAB_BYTES);
    this.#start = 0;
    this.#end = 0;
  }

  #putLength(length: number): void {
    const slab = this.#slab;
    slab[this.#end++] = length & 0xff;
    slab[this.#end++] = (length >>> 8) & 0xff;
    slab[this.#end++] = (length >>> 16) & 0xff;
    slab[this.#end++] = length >>> 24;
  }

  #cut(): void {
    if (this.#end > this.#start) this.#chunks.push(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }
}
