import * as zlib from 'node:zlib';
import lz4 from 'lz4-napi';
import { MillraceError } from '../base/index.js';
import type { Compression } from './spi.js';

/** Compresses buffers one by one. */
export interface BufferCodec {
  /** Undefined when the result would not be smaller. */
  compress(bytes: Uint8Array): Uint8Array | undefined;
  /** Bytes that are not a compressed form of `rawLength` bytes make it throw. */
  decompress(bytes: Uint8Array, rawLength: number): Uint8Array;
}

/** In Node 22.15 and later only. */
interface ZlibWithZstd {
  readonly zstdCompressSync?: (bytes: Uint8Array) => Uint8Array;
  readonly zstdDecompressSync?: (bytes: Uint8Array, options: { readonly maxOutputLength: number }) => Uint8Array;
}

const { zstdCompressSync, zstdDecompressSync } = zlib as ZlibWithZstd;

/** Undefined for `none`. @throws `COMPRESSION_UNAVAILABLE` (invalid) for zstd in a Node that does not have it. */
export function codecOf(compression: Compression): BufferCodec | undefined {
  if (compression === 'none') return undefined;
  if (compression === 'lz4') return LZ4;
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined) {
    const message = 'compression "zstd" needs Node 22.15 or newer; "lz4" works everywhere';
    throw new MillraceError('invalid', 'COMPRESSION_UNAVAILABLE', message);
  }
  return {
    compress: (bytes) => ifSmaller(zstdCompressSync(bytes), bytes),
    decompress: (bytes, rawLength) => sized(zstdDecompressSync(bytes, { maxOutputLength: rawLength }), rawLength),
  };
}

/** The library's block format: [bytes before compression u32 LE][block]. */
const LZ4: BufferCodec = {
  compress: (bytes) => ifSmaller(lz4.compressSync(asBuffer(bytes)), bytes),
  decompress(bytes, rawLength) {
    const buffer = asBuffer(bytes);
    // Looked at first, for so much is allocated.
    if (buffer.length < 4 || buffer.readUInt32LE(0) !== rawLength) throw new RangeError('the lengths do not agree');
    return sized(lz4.uncompressSync(buffer), rawLength);
  },
};

function ifSmaller(compressed: Uint8Array, bytes: Uint8Array): Uint8Array | undefined {
  return compressed.length < bytes.length ? compressed : undefined;
}

function sized(bytes: Uint8Array, rawLength: number): Uint8Array {
  if (bytes.length !== rawLength) throw new RangeError(`${bytes.length} bytes came out, not ${rawLength}`);
  // Columns are read in place and need their alignment.
  return bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
