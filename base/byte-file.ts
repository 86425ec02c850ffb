import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { MillraceError } from './errors.js';

/**
 * Synchronous reads from files that do not change, for whoever cannot wait: a few microseconds each while the page cache has
 * the bytes. Never mapped: a page that is lost under a mapping kills the process, a failed read is an error.
 * Errors as those of `Disk`: `DISK_NOT_FOUND`, `DISK_FAILED` (unavailable).
 */
export interface ByteFiles {
  open(path: string): ByteFile;
}

export interface ByteFile {
  readonly path: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /**
   * Reads `length` bytes from `position` into `target` at `at`.
   * @throws MillraceError `DISK_FAILED` also when the file ends before.
   */
  read(target: Uint8Array, at: number, length: number, position: number): void;
  /** Removed files can still be read until then. */
  close(): void;
}

export function nodeByteFiles(): ByteFiles {
  return { open: (path) => failing(path, () => new NodeByteFile(path)) };
}

class NodeByteFile implements ByteFile {
  readonly path: string;
  readonly size: number;
  #descriptor: number;

  constructor(path: string) {
    this.path = path;
    this.#descriptor = openSync(path, 'r');
    this.size = fstatSync(this.#descriptor).size;
  }

  read(target: Uint8Array, at: number, length: number, position: number): void {
    let done = 0;
    try {
      while (done < length) {
        const read = readSync(this.#descriptor, target, at + done, length - done, position + done);
        if (read === 0) throw new Error(`it ends before byte ${position + length}`);
        done += read;
      }
    } catch (thrown) {
      throw byteFileError(this.path, thrown);
    }
  }

  close(): void {
    if (this.#descriptor < 0) return;
    closeSync(this.#descriptor);
    // Its number may soon be another file's.
    this.#descriptor = -1;
  }
}

/** Files in memory, for tests and the simulator: `bytesOf` says what a path holds. */
export function memoryByteFiles(bytesOf: (path: string) => Uint8Array | undefined): ByteFiles {
  return {
    open(path) {
      const bytes = bytesOf(path);
      if (bytes === undefined) throw notFound(path);
      return {
        path,
        size: bytes.byteLength,
        read(target, at, length, position) {
          if (position + length > bytes.byteLength) {
            throw byteFileError(path, new Error(`it ends before byte ${position + length}`));
          }
          target.set(bytes.subarray(position, position + length), at);
        },
        close() {},
      };
    },
  };
}

function failing<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw byteFileError(path, thrown);
  }
}

function byteFileError(path: string, cause: unknown): MillraceError {
  if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return notFound(path, cause);
  const why = cause instanceof Error ? cause.message : String(cause);
  return new MillraceError('unavailable', 'DISK_FAILED', `${path}: ${why}`, { cause, context: { path } });
}

function notFound(path: string, cause?: unknown): MillraceError {
  const details = { cause, context: { path } };
  return new MillraceError('unavailable', 'DISK_NOT_FOUND', `${path} does not exist`, details);
}
