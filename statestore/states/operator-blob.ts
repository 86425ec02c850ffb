import { SegmentReader, SegmentWriter } from '../../checkpoint/index.js';

/** Byte strings one after the other: varint count, then of each a varint length and its bytes. */
export function encodeBlobs(blobs: readonly Uint8Array[]): Uint8Array {
  const writer = new SegmentWriter(64);
  writer.varint(blobs.length);
  for (const blob of blobs) writer.blob(blob);
  return writer.written().slice();
}

/** Copies. @throws MillraceError `SEGMENT_CORRUPT` (corrupt). */
export function decodeBlobs(bytes: Uint8Array): Uint8Array[] {
  const reader = new SegmentReader(bytes);
  return Array.from({ length: reader.varint() }, () => reader.blob());
}
