import { MillraceError } from '../../base/index.js';

const bytesMin = 1024;
/** Up to here a buffer grows by doubling and copying; beyond, in place. */
const copiedMax = 64 * 1024;
/** Only address space is taken for it, memory as the buffer grows. The longest Uint8Array is a byte shorter than 4 GiB. */
const reservedBytes = 2 ** 32 - 64 * 1024;
/** In place it grows by a sixteenth: what stands empty is little, and system calls are few. */
const growth = 1 / 16;
const pageBytes = 64 * 1024;

/** ES2024; the compiler's library is older. */
interface GrowableSharedArrayBuffer extends SharedArrayBuffer {
  readonly growable: boolean;
  grow(bytes: number): void;
}
type GrowableConstructor = new (bytes: number, options: { maxByteLength: number }) => GrowableSharedArrayBuffer;

/**
 * Zeroed memory that other threads can read in place, and that grows without being copied once it is large: no array of
 * twice the size stands half empty, none is left behind for the garbage collector (which does not count shared memory and
 * is in no hurry), and a reader in another thread sees the same bytes before and after.
 */
export class GrowingBuffer {
  #buffer: SharedArrayBuffer;

  constructor(bytes = bytesMin) {
    this.#buffer = new SharedArrayBuffer(bytes);
  }

  /**
   * Look again after `reserve`: small ones are replaced as they grow. Views need an explicit length: those without one follow
   * the buffer as it grows, and are slower for it.
   */
  get buffer(): SharedArrayBuffer {
    return this.#buffer;
  }

  get byteLength(): number {
    return this.#buffer.byteLength;
  }

  /** Makes it at least so long. Views must then be made anew. @throws MillraceError `STATE_FULL` (unavailable) at 4 GiB. */
  reserve(bytes: number): void {
    const old = this.#buffer;
    const length = old.byteLength;
    if (bytes <= length) return;
    if (bytes > reservedBytes) throw new MillraceError('unavailable', 'STATE_FULL', 'a state table is full: 4 GiB');
    if (bytes <= copiedMax) {
      this.#replace(new SharedArrayBuffer(Math.min(copiedMax, Math.max(length * 2, bytes))));
      return;
    }
    const wanted = Math.max(bytes, length * (1 + growth));
    const rounded = Math.min(reservedBytes, Math.ceil(wanted / pageBytes) * pageBytes);
    if ((old as GrowableSharedArrayBuffer).growable) (old as GrowableSharedArrayBuffer).grow(rounded);
    else this.#replace(allocate(rounded));
  }

  #replace(buffer: SharedArrayBuffer): void {
    new Uint8Array(buffer).set(new Uint8Array(this.#buffer));
    this.#buffer = buffer;
  }
}

/** Growable, unless there is no address space to reserve (`ulimit -v`): then each growth is a copy. */
function allocate(bytes: number): SharedArrayBuffer {
  try {
    return new (SharedArrayBuffer as unknown as GrowableConstructor)(bytes, { maxByteLength: reservedBytes });
  } catch {
    return new SharedArrayBuffer(Math.ceil(bytes / 2) * 3);
  }
}
