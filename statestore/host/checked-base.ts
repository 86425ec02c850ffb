import { MillraceError, xxh64 } from '../../base/index.js';
import { mixBytes, mixed } from '../tables/entry-hash.js';
import type { BaseScan, BaseSnapshot, BaseStats, BaseStore, BaseTransaction, WritableBaseStore } from './base-store.js';

/*
 * Records of a base, each with a checksum of its key and value behind the value, u32 little-endian: the file beneath has none, and a bit
 * that flips in it would be a wrong row. Every record that is read is verified: `BASE_DAMAGED` (corrupt).
 */

const sumBytes = 4;
/** Up to here a loop is faster than a call of the library. */
const shortBytesMax = 256;
const basis = 0x811c9dc5;

/** FNV-1a finds every change of a single byte: each step can be undone. */
function sumOf(key: Uint8Array, value: Uint8Array, length: number): number {
  const seed = mixBytes(basis, key, 0, key.length);
  if (length <= shortBytesMax) return mixed(mixBytes(seed, value, 0, length));
  return mixed(seed ^ Number(xxh64(value.subarray(0, length)) & 0xffffffffn));
}

/** @returns the length of the value without its checksum. */
function verified(path: string, key: Uint8Array, record: Uint8Array, length: number): number {
  const end = length - sumBytes;
  if (end >= 0) {
    const low = (record[end] as number) | ((record[end + 1] as number) << 8);
    const high = (record[end + 2] as number) | ((record[end + 3] as number) << 8);
    if (sumOf(key, record, end) === (low | (high << 16)) >>> 0) return end;
  }
  const why = `${path}: a record of ${key.length} + ${length} bytes does not have the checksum it was written with`;
  throw new MillraceError('corrupt', 'BASE_DAMAGED', why, { context: { path } });
}

class CheckedSnapshot implements BaseSnapshot {
  readonly #path: string;
  readonly #inner: BaseSnapshot;

  constructor(path: string, inner: BaseSnapshot) {
    this.#path = path;
    this.#inner = inner;
  }

  get value(): Uint8Array {
    return this.#inner.value;
  }

  find(key: Uint8Array): number {
    const length = this.#inner.find(key);
    return length < 0 ? length : verified(this.#path, key, this.#inner.value, length);
  }

  scan(from: Uint8Array, to: Uint8Array): BaseScan {
    return new CheckedScan(this.#path, this.#inner.scan(from, to));
  }

  release(): void {
    this.#inner.release();
  }
}

class CheckedScan implements BaseScan {
  value: Uint8Array = new Uint8Array(0);
  readonly #path: string;
  readonly #inner: BaseScan;

  constructor(path: string, inner: BaseScan) {
    this.#path = path;
    this.#inner = inner;
  }

  get key(): Uint8Array {
    return this.#inner.key;
  }

  next(): boolean {
    if (!this.#inner.next()) return false;
    const { key, value } = this.#inner;
    this.value = value.subarray(0, verified(this.#path, key, value, value.length));
    return true;
  }

  close(): void {
    this.#inner.close();
  }
}

class CheckedReader<S extends BaseStore> implements BaseStore {
  protected readonly path: string;
  protected readonly inner: S;

  constructor(path: string, inner: S) {
    this.path = path;
    this.inner = inner;
  }

  snapshot(): BaseSnapshot {
    return new CheckedSnapshot(this.path, this.inner.snapshot());
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

class CheckedBase extends CheckedReader<WritableBaseStore> implements WritableBaseStore {
  /** Records as they are written, of each length: the copy that is made of them needs arrays of that very length. */
  readonly #records: (Uint8Array | undefined)[] = [];

  write(changes: (transaction: BaseTransaction) => void): void {
    this.inner.write((transaction) =>
      changes({
        put: (key, value) => transaction.put(key, this.#recordOf(key, value)),
        remove: (key) => transaction.remove(key),
        get: (key) => {
          const record = transaction.get(key);
          return record?.subarray(0, verified(this.path, key, record, record.length));
        },
      }),
    );
  }

  sync(): Promise<void> {
    return this.inner.sync();
  }

  checkReaders(): number {
    return this.inner.checkReaders();
  }

  stats(): BaseStats {
    return this.inner.stats();
  }

  #recordOf(key: Uint8Array, value: Uint8Array): Uint8Array {
    const end = value.length;
    const record = this.#arrayOf(end + sumBytes);
    if (end > shortBytesMax) record.set(value);
    else for (let i = 0; i < end; i++) record[i] = value[i] as number;
    const sum = sumOf(key, value, end);
    record[end] = sum;
    record[end + 1] = sum >>> 8;
    record[end + 2] = sum >>> 16;
    record[end + 3] = sum >>> 24;
    return record;
  }

  #arrayOf(length: number): Uint8Array {
    if (length > shortBytesMax) return new Uint8Array(length);
    let array = this.#records[length];
    if (array === undefined) {
      array = new Uint8Array(length);
      this.#records[length] = array;
    }
    return array;
  }
}

/** A base as its readers see it. `path`: for messages. */
export function checkedReader(path: string, inner: BaseStore): BaseStore {
  return new CheckedReader(path, inner);
}

/** A base as its writer sees it. */
export function checkedBase(path: string, inner: WritableBaseStore): WritableBaseStore {
  return new CheckedBase(path, inner);
}
