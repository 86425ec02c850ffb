import type { ByteFiles } from '../../base/index.js';
import { OverlaySegment } from './overlay-segment.js';

/** Where things are in a state folder: see `StateFolder`. */
export function basePath(root: string): string {
  return `${root}/base`;
}

export function segmentPath(root: string, checksum: string): string {
  return `${root}/segments/${checksum}`;
}

export function overlayIndexPath(root: string, checksum: string): string {
  return `${root}/segments/${checksum}.index`;
}

/** @throws MillraceError `DISK_NOT_FOUND`, `DISK_FAILED` (unavailable), `SEGMENT_CORRUPT` (corrupt). */
export function openOverlaySegment(files: ByteFiles, root: string, checksum: string): OverlaySegment {
  const segment = files.open(segmentPath(root, checksum));
  try {
    const index = files.open(overlayIndexPath(root, checksum));
    try {
      return new OverlaySegment({ segment, offset: 0, index }, BigInt(`0x${checksum}`));
    } catch (thrown) {
      index.close();
      throw thrown;
    }
  } catch (thrown) {
    segment.close();
    throw thrown;
  }
}
