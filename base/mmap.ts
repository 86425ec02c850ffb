import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import type koffiModule from 'koffi';
import { MillraceError } from './errors.js';

/**
 * The system calls behind mapped memory, through koffi. koffi is native code that may not load everywhere, so it is
 * loaded on first use, here and nowhere else.
 */
export interface Mmap {
  /** Maps `length` bytes of an open file, read-write; `private` changes stay in this mapping. */
  mapFile(fd: number, length: number, sharing: 'shared' | 'private'): bigint;
  /** Takes the pages of a part of an open file from its file system; 0, or the error number when it has none left. */
  allocate(fd: number, offset: number, length: number): number;
  /** Puts anonymous zeroed memory over a mapping: its pages are freed, its views stay harmless. */
  blank(address: bigint, length: number): void;
  /** Only for memory that no live view covers: afterwards any access is a segmentation fault. */
  unmap(address: bigint, length: number): void;
}

const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = process.platform === 'linux' ? 0x20 : 0x1000;
const MAP_NORESERVE = process.platform === 'linux' ? 0x4000 : 0x40;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

let loaded: Mmap | undefined;

/** @throws MillraceError `MAPPING_UNAVAILABLE` (unavailable) where koffi or mmap is not to be had. */
export function loadMmap(): Mmap {
  loaded ??= bind();
  return loaded;
}

function unavailable(why: string, cause?: unknown): MillraceError {
  return new MillraceError('unavailable', 'MAPPING_UNAVAILABLE', `memory cannot be mapped here: ${why}`, { cause });
}

/**
 * The bytes of a mapping of this process, whichever thread made it. A thread that only views leaves nothing behind;
 * koffi keeps 3 MiB of address space of every thread that ever called a function through it.
 */
export function viewMapping(address: bigint, length: number): ArrayBuffer {
  return loadKoffi().view(address, length);
}

function loadKoffi(): typeof koffiModule {
  try {
    return createRequire(import.meta.url)('koffi') as typeof koffiModule;
  } catch (e) {
    throw unavailable(`koffi does not load (${e instanceof Error ? e.message : String(e)})`, e);
  }
}

function bind(): Mmap {
  if (process.platform === 'win32') throw unavailable('Windows has no mmap');
  const koffi = loadKoffi();
  try {
    const lib = koffi.load(null);
    const mmap = lib.func('void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64 offset)');
    const munmap = lib.func('int munmap(void *addr, size_t length)');
    const allocate = bindAllocate(lib);
    const call = (at: bigint | null, length: number, flags: number, fd: number): bigint => {
      const address = mmap(at, length, PROT_READ_WRITE, flags, fd, 0) as bigint;
      if (BigInt.asUintN(64, address) === MAP_FAILED)
        throw unavailable(`mmap of ${length} bytes: errno ${koffi.errno()}`);
      return address;
    };
    return {
      mapFile(fd, length, sharing) {
        return call(null, length, sharing === 'shared' ? MAP_SHARED : MAP_PRIVATE, fd);
      },
      allocate,
      blank(address, length) {
        call(address, length, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1);
      },
      unmap(address, length) {
        if (munmap(address, length) !== 0) throw unavailable(`munmap of ${length} bytes: errno ${koffi.errno()}`);
      },
    };
  } catch (e) {
    if (e instanceof MillraceError) throw e;
    throw unavailable(e instanceof Error ? e.message : String(e), e);
  }
}

/** Where there is no `posix_fallocate` (macOS), or none for this file system: zeros are written, at a third of the speed. */
function bindAllocate(lib: ReturnType<typeof koffiModule.load>): Mmap['allocate'] {
  const fallocate =
    process.platform === 'linux' ? lib.func('int posix_fallocate(int fd, int64 offset, int64 length)') : undefined;
  return (fd, offset, length) => {
    for (;;) {
      const errno = (fallocate?.(fd, offset, length) as number | undefined) ?? constants.errno.EOPNOTSUPP;
      if (errno === constants.errno.EINTR) continue;
      return errno === constants.errno.EOPNOTSUPP ? writeZeros(fd, offset, length) : errno;
    }
  };
}

function writeZeros(fd: number, offset: number, length: number): number {
  const zeros = new Uint8Array(Math.min(length, 2 ** 20));
  try {
    for (let at = 0; at < length; ) at += writeSync(fd, zeros, 0, Math.min(zeros.length, length - at), offset + at);
    return 0;
  } catch (e) {
    return Math.abs((e as NodeJS.ErrnoException).errno ?? constants.errno.EIO);
  }
}
