import { type Disk, MillraceError, xxh64 } from '../../base/index.js';
import { hasCode } from '../blob/blob-errors.js';

/**
 * A file that knows when it is damaged, and of which any range can be read and checked alone:
 *
 *     bytes | xxh64 of each 64 KiB of them, 8 bytes each | xxh64 of those checksums, 8 bytes | `MRCHKD1\n`
 *
 * The size of the bytes follows from the size of the file.
 */
const chunkBytes = 65_536;
const footerBytes = 16;
const magic = Buffer.from('MRCHKD1\n', 'latin1');
/** Files up to this size are read whole: one call instead of two. */
const wholeBytesMax = 4 * chunkBytes;

export function checkedFile(bytes: Uint8Array): Uint8Array {
  const file = Buffer.alloc(checkedFileBytes(bytes.byteLength));
  file.set(bytes);
  let at = bytes.byteLength;
  for (let chunk = 0; chunk < bytes.byteLength; chunk += chunkBytes) {
    at = file.writeBigUInt64LE(xxh64(bytes.subarray(chunk, chunk + chunkBytes)), at);
  }
  at = file.writeBigUInt64LE(xxh64(file.subarray(bytes.byteLength, at)), at);
  magic.copy(file, at);
  return file;
}

/** Size of the file that holds so many bytes. */
export function checkedFileBytes(bytes: number): number {
  return bytes + 8 * Math.ceil(bytes / chunkBytes) + footerBytes;
}

/** Size of the bytes in a file of this size; undefined when no file of this kind has it. */
export function checkedBytes(fileBytes: number): number | undefined {
  const bytes = fileBytes - footerBytes - 8 * Math.ceil((fileBytes - footerBytes) / (chunkBytes + 8));
  return bytes >= 0 && checkedFileBytes(bytes) === fileBytes ? bytes : undefined;
}

/**
 * `bytes` is the size of what was stored.
 * @throws MillraceError `BLOB_DAMAGED` (corrupt) when the file is not what was written; what `Disk` throws.
 */
export async function readChecked(
  disk: Disk,
  path: string,
  bytes: number,
  range: { readonly offset: number; readonly length: number } = { offset: 0, length: bytes },
): Promise<Uint8Array> {
  const fileBytes = checkedFileBytes(bytes);
  const offset = Math.min(range.offset, bytes);
  const end = Math.min(offset + range.length, bytes);
  const first = Math.floor(offset / chunkBytes);
  const from = first * chunkBytes;
  const to = Math.min(Math.ceil(end / chunkBytes) * chunkBytes, bytes);
  let data: Uint8Array;
  let footer: Uint8Array;
  if (fileBytes <= wholeBytesMax || (from === 0 && to === bytes)) {
    const file = await disk.read(path);
    if (file.byteLength !== fileBytes) throw damaged(path, `has ${file.byteLength} bytes, not ${fileBytes}`);
    data = file.subarray(from, Math.max(from, to));
    footer = file.subarray(bytes);
  } else {
    [data, footer] = await Promise.all([
      disk.read(path, { offset: from, length: Math.max(0, to - from) }),
      disk.read(path, { offset: bytes, length: fileBytes - bytes + 1 }),
    ]);
  }
  const sums = Buffer.from(footer.buffer, footer.byteOffset, footer.byteLength);
  const sumsEnd = sums.length - footerBytes;
  if (sums.length !== fileBytes - bytes || !sums.subarray(sumsEnd + 8).equals(magic)) {
    throw damaged(path, 'does not end as it should');
  }
  if (sums.readBigUInt64LE(sumsEnd) !== xxh64(sums.subarray(0, sumsEnd))) {
    throw damaged(path, 'has damaged checksums');
  }
  for (let at = 0; at < data.byteLength; at += chunkBytes) {
    const sum = sums.readBigUInt64LE(8 * (first + at / chunkBytes));
    if (xxh64(data.subarray(at, at + chunkBytes)) !== sum) throw damaged(path, `is damaged near byte ${from + at}`);
  }
  if (data.byteLength < end - from) throw damaged(path, 'is cut short');
  return data.slice(offset - from, end - from);
}

export function isDamaged(thrown: unknown): boolean {
  return hasCode(thrown, 'BLOB_DAMAGED');
}

function damaged(path: string, why: string): MillraceError {
  return new MillraceError('corrupt', 'BLOB_DAMAGED', `${path} ${why}`, { context: { path } });
}
