import { constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Disk, DiskFile } from './disk.js';
import { MillraceError } from './errors.js';

/** The machine's own files, through node:fs. */
export function nodeDisk(): Disk {
  return {
    read: (path, range) => naming(path, () => readRange(path, range)),
    write: (path, bytes, options) => naming(path, () => writeWhole(path, bytes, options?.exclusive === true)),
    append: (path) => naming(path, () => openForAppend(path)),
    rename: (from, to) =>
      naming(from, async () => {
        await rename(from, to);
        await syncFolder(dirname(to));
      }),
    link: (from, to) =>
      naming(to, async () => {
        await link(from, to);
        await syncFolder(dirname(to));
      }),
    remove: (path) => naming(path, () => removeOne(path)),
    makeFolder: (path) => naming(path, () => makeFolder(path)),
    list: (path) => naming(path, () => orWhenMissing([], async () => (await readdir(path)).sort())),
    stat: (path) =>
      naming(path, () =>
        orWhenMissing(undefined, async () => {
          const found = await stat(path);
          return { bytes: found.size, folder: found.isDirectory() };
        }),
      ),
  };
}

async function readRange(path: string, range?: { offset: number; length: number }): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const offset = range?.offset ?? 0;
    const rest = Math.max(0, (await file.stat()).size - offset);
    const bytes = new Uint8Array(Math.min(range?.length ?? rest, rest));
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, offset + done);
      if (bytesRead === 0) return bytes.subarray(0, done);
      done += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

async function writeWhole(path: string, bytes: Uint8Array, exclusive: boolean): Promise<void> {
  const file = await open(path, exclusive ? 'wx' : 'w');
  try {
    await writeAll(file, bytes);
    await file.datasync();
  } catch (e) {
    await unlink(path).catch(() => {});
    throw e;
  } finally {
    await file.close();
  }
  if (exclusive) await syncFolder(dirname(path));
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += (await file.write(bytes, done)).bytesWritten;
}

async function openForAppend(path: string): Promise<DiskFile> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;
  try {
    return new AppendedFile(path, await open(path, flags | constants.O_EXCL, 0o666), true);
  } catch (e) {
    if (errorCode(e) !== 'EEXIST') throw e;
    return new AppendedFile(path, await open(path, flags), false);
  }
}

class AppendedFile implements DiskFile {
  readonly path: string;
  readonly #file: FileHandle;
  /** The file was made here and its name is not durable yet. */
  #nameUnsynced: boolean;
  #failure: MillraceError | undefined;

  constructor(path: string, file: FileHandle, created: boolean) {
    this.path = path;
    this.#file = file;
    this.#nameUnsynced = created;
  }

  append(bytes: Uint8Array): Promise<void> {
    return this.#finalOnFailure(() => writeAll(this.#file, bytes));
  }

  sync(): Promise<void> {
    return this.#finalOnFailure(async () => {
      await this.#file.datasync();
      if (this.#nameUnsynced) await syncFolder(dirname(this.path));
      this.#nameUnsynced = false;
    });
  }

  close(): Promise<void> {
    return naming(this.path, () => this.#file.close());
  }

  /** After a failed write the file may end in half a record; after a failed sync the kernel may have dropped pages. */
  async #finalOnFailure(call: () => Promise<void>): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await naming(this.path, call);
    } catch (e) {
      this.#failure = MillraceError.from(e);
      throw e;
    }
  }
}

async function removeOne(path: string): Promise<void> {
  await orWhenMissing(undefined, async () => {
    try {
      await unlink(path);
    } catch (e) {
      // Linux says EISDIR for a folder, others EPERM.
      if (errorCode(e) !== 'EISDIR' && errorCode(e) !== 'EPERM') throw e;
      await rmdir(path);
    }
  });
}

async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function errorCode(e: unknown): string | undefined {
  return (e as NodeJS.ErrnoException).code;
}

async function orWhenMissing<T>(missing: T, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (e) {
    if (errorCode(e) === 'ENOENT') return missing;
    throw e;
  }
}

async function naming<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (e) {
    throw await diskError(path, e);
  }
}

async function diskError(path: string, cause: unknown): Promise<MillraceError> {
  const code = errorCode(cause);
  const details = { cause, context: { path } };
  if (code === 'ENOENT') return new MillraceError('unavailable', 'DISK_NOT_FOUND', `${path} does not exist`, details);
  if (code === 'EEXIST') return new MillraceError('invalid', 'DISK_EXISTS', `${path} exists already`, details);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const free = await statfs(dirname(path)).then(
      (fs) => `${fs.bavail * fs.bsize} bytes free`,
      () => 'free bytes unknown',
    );
    return new MillraceError('unavailable', 'DISK_FULL', `no room for ${path} (${free})`, details);
  }
  const why = cause instanceof Error ? cause.message : String(cause);
  return new MillraceError('unavailable', 'DISK_FAILED', `${path}: ${why}`, details);
}
