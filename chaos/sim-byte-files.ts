import type { ByteFiles } from '../base/index.js';
import { MillraceError } from '../base/index.js';
import type { SimHostDisk } from './sim-disk.js';

/** Synchronous reads of a simulated disk: in the midst of an event, and so without time. A removed file can still be read. */
export function simByteFiles(disk: SimHostDisk): ByteFiles {
  return {
    open(path) {
      const file = disk.atOnce(path, () => disk.files.file(path));
      const size = file.length;
      return {
        path,
        size,
        read(target, at, length, position) {
          const bytes = disk.atOnce(path, () => file.read(position, length));
          if (bytes.length < length) {
            const message = `${path}: it ends before byte ${position + length}`;
            throw new MillraceError('unavailable', 'DISK_FAILED', message, { context: { path } });
          }
          target.set(bytes, at);
        },
        close() {},
      };
    },
  };
}
