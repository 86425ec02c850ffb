import { createRequire } from 'node:module';
import * as zlib from 'node:zlib';
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

/** Undefined for `none`. @throws `COMPRESSION_UNAVAILABLE` (invalid) for zstd in a Node without it, lz4 where its library is not. */
export function codecOf(compression: Compression): BufferCodec | undefined {
  if (compression === 'none') return undefined;
  if (compression === 'lz4') return lz4Codec();
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined) {
    const message = 'compression "zstd" needs Node 22.15 or newer; "lz4" works everywhere';
    throw new MillraceError('invalid', 'COMPRESSION_UNAVAILABLE', message);
  }
  return {
    compress: (bytes) => ifSmaller(zstdCompressSync(bytes), bytes),
    decompress: (bytes, rawLength) => sized(zstdDecompressSync(bytes, { maxOutputLength: rawLength }), rawLength),
  };
}

/** Native, and loaded only by who compresses. Its block format: [bytes before compression u32 LE][block]. */
function lz4Codec(): BufferCodec {
  let lz4: typeof import('lz4-napi');
  try {
    lz4 = createRequire(import.meta.url)('lz4-napi');
  } catch (cause) {
    const message = 'compression "lz4": its library cannot be loaded on this machine';
    throw new MillraceError('invalid', 'COMPRESSION_UNAVAILABLE', message, { cause });
  }
  return {
    compress: (bytes) => ifSmaller(lz4.compressSync(asBuffer(bytes)), bytes),
    decompress(bytes, rawLength) {
      const buffer = asBuffer(bytes);
      // Looked at first, for so much is allocated.
      if (buffer.length < 4 || buffer.readUInt32LE(0) !== rawLength) throw new RangeError('the lengths do not agree');
      return sized(lz4.uncompressSync(buffer), rawLength);
    },
  };
}

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
