import { open as openFile, rm, stat } from 'node:fs/promises';
import { MillraceError } from '../../base/index.js';
import type {
  BaseScan,
  BaseSnapshot,
  BaseStats,
  BaseStores,
  BaseTransaction,
  WritableBaseStore,
} from './base-store.js';

/** What is used of lmdb, which its own declarations leave out in part. */
interface LmdbTransaction {
  done(): void;
}
interface LmdbDatabase {
  getBinaryFast(key: Uint8Array, options?: { readonly transaction: LmdbTransaction }): Uint8Array | undefined;
  readonly lastSize: number;
  getRange(options: {
    readonly start: Uint8Array;
    readonly end: Uint8Array;
    readonly transaction: LmdbTransaction;
  }): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>;
  putSync(key: Uint8Array, value: Uint8Array): void;
  removeSync(key: Uint8Array): boolean;
  transactionSync<T>(callback: () => T): T;
  resetReadTxn(): void;
  useReadTransaction(): LmdbTransaction;
  readerCheck(): number;
  getStats(): { readonly entryCount: number; readonly pageSize: number; readonly lastPageNumber: number };
  sync(callback: (error?: unknown) => void): void;
  close(): Promise<void>;
}

export interface LmdbSettings {
  /**
   * Address space that is reserved, and the most a base can hold. Never grown: readers have it mapped. Default 256 GiB, so that a
   * process has room for hundreds of bases.
   */
  readonly mapBytes: number;
  /** Snapshots of all processes at a time. Default 1024. */
  readonly readersMax: number;
}

const defaults: LmdbSettings = Object.freeze({ mapBytes: 2 ** 38, readersMax: 1024 });

/** Loads the library, which takes longer than opening a base: for those who have time before they need one. */
export async function loadLmdb(): Promise<void> {
  await import('lmdb');
}

/**
 * Bases in LMDB files: a B+tree of 4 KiB pages, mapped; copy on write, so readers wait for nobody.
 *
 * Habits, each learned from somebody's loss:
 * - The map is reserved once, large: growing it moves it under other processes' feet.
 * - Nothing is written by asynchronous transactions: there a callback that throws still commits (lmdb-js#115).
 * - No sync at commits. The file is a cache: after a power cut its owner throws it away unless it was synced after its last
 *   write (`state-folder.ts` keeps count). After the death of a process the kernel still has every page.
 * - lmdb gives the same buffer out for every value: what is kept longer than until the next call is copied.
 * - The environment is never used across a fork, and each snapshot belongs to one thread.
 * - A dead reader pins every page replaced since: `checkReaders` after the death of a process. A thread that ends lets go.
 * - Only the unnamed database: named ones cannot be opened safely by several threads at a time.
 */
export function lmdbBaseStores(settings: Partial<LmdbSettings> = {}): BaseStores {
  const open = async (path: string, readOnly: boolean): Promise<LmdbDatabase> => {
    await checkMetaPages(path, readOnly);
    // Loaded when first needed: a native library.
    return openDatabase(await import('lmdb'), path, readOnly, settings);
  };
  return {
    openWritable: async (path) => new LmdbBaseStore(path, await open(path, false)),
    openReader: async (path) => new LmdbBaseStore(path, await open(path, true)),
    async fileBytes(path) {
      const found = await stat(path).catch((thrown: NodeJS.ErrnoException) => {
        if (thrown.code !== 'ENOENT') throw baseError(path, thrown);
      });
      return found?.size ?? 0;
    },
    async destroy(path) {
      await rm(path, { force: true });
      await rm(`${path}-lock`, { force: true });
    },
  };
}

/**
 * For bases that are made, used and removed by one thread: what it returns opens one at once, at a path where nothing is.
 * @throws whatever keeps the library from loading.
 */
export async function lmdbScratchBases(
  settings: Partial<LmdbSettings> = {},
): Promise<(path: string) => WritableBaseStore> {
  const lmdb = await import('lmdb');
  return (path) => new LmdbBaseStore(path, openDatabase(lmdb, path, false, settings));
}

function openDatabase(
  lmdb: typeof import('lmdb'),
  path: string,
  readOnly: boolean,
  settings: Partial<LmdbSettings>,
): LmdbDatabase {
  const { mapBytes, readersMax } = { ...defaults, ...settings };
  return guarded(path, () =>
    lmdb.open({
      path,
      readOnly,
      noSubdir: true,
      mapSize: mapBytes,
      maxReaders: readersMax,
      maxDbs: 1,
      encoding: 'binary',
      keyEncoding: 'binary',
      noSync: true,
      noMemInit: true,
      // Reads are of single pages, all over.
      noReadAhead: true,
    } as never),
  ) as unknown as LmdbDatabase;
}

class LmdbBaseStore implements WritableBaseStore {
  readonly #path: string;
  #database: LmdbDatabase | undefined;
  readonly #snapshots = new Set<LmdbSnapshot>();

  constructor(path: string, database: LmdbDatabase) {
    this.#path = path;
    this.#database = database;
  }

  snapshot(): BaseSnapshot {
    const database = this.#open();
    const snapshot = guarded(this.#path, () => {
      // Otherwise it may give out one that is as old as this turn of the event loop.
      database.resetReadTxn();
      return new LmdbSnapshot(this.#path, database, database.useReadTransaction(), this.#snapshots);
    });
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  write(changes: (transaction: BaseTransaction) => void): void {
    const database = this.#open();
    const path = this.#path;
    // Each call is guarded on its own: what `changes` throws itself is no error of the base.
    const transaction: BaseTransaction = {
      put: (key, value) => guarded(path, () => database.putSync(key, value)),
      remove: (key) => void guarded(path, () => database.removeSync(key)),
      get(key) {
        const found = guarded(path, () => database.getBinaryFast(key));
        // Not `found.slice`: it is a Buffer, whose slices are no copies.
        return found && Uint8Array.prototype.slice.call(found, 0, database.lastSize);
      },
    };
    let failure: { readonly thrown: unknown } | undefined;
    try {
      database.transactionSync(() => {
        try {
          changes(transaction);
        } catch (thrown) {
          failure = { thrown };
          throw thrown;
        }
      });
    } catch (thrown) {
      throw failure === undefined ? baseError(path, thrown) : failure.thrown;
    }
  }

  sync(): Promise<void> {
    const database = this.#open();
    return new Promise((resolve, reject) => {
      database.sync((error) => (error ? reject(baseError(this.#path, error)) : resolve()));
    });
  }

  checkReaders(): number {
    const database = this.#open();
    return guarded(this.#path, () => database.readerCheck());
  }

  stats(): BaseStats {
    const stats = this.#open().getStats();
    return { entries: stats.entryCount, bytes: (stats.lastPageNumber + 1) * stats.pageSize };
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    for (const snapshot of [...this.#snapshots]) snapshot.release();
    await database?.close();
  }

  #open(): LmdbDatabase {
    if (this.#database !== undefined) return this.#database;
    throw new MillraceError('closed', 'BASE_CLOSED', `${this.#path} is closed`);
  }
}

class LmdbSnapshot implements BaseSnapshot {
  value: Uint8Array = new Uint8Array(0);
  readonly #path: string;
  readonly #database: LmdbDatabase;
  readonly #options: { readonly transaction: LmdbTransaction };
  readonly #all: Set<LmdbSnapshot>;
  #released = false;

  constructor(path: string, database: LmdbDatabase, transaction: LmdbTransaction, all: Set<LmdbSnapshot>) {
    this.#path = path;
    this.#database = database;
    this.#options = { transaction };
    this.#all = all;
  }

  find(key: Uint8Array): number {
    if (this.#released) throw released(this.#path);
    try {
      const found = this.#database.getBinaryFast(key, this.#options);
      if (found === undefined) return -1;
      this.value = found;
      return this.#database.lastSize;
    } catch (thrown) {
      throw baseError(this.#path, thrown);
    }
  }

  scan(from: Uint8Array, to: Uint8Array): BaseScan {
    if (this.#released) throw released(this.#path);
    const range = this.#database.getRange({ start: from, end: to, ...this.#options });
    return new LmdbScan(this.#path, range[Symbol.iterator]());
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#all.delete(this);
    this.#options.transaction.done();
  }
}

class LmdbScan implements BaseScan {
  key: Uint8Array = new Uint8Array(0);
  value: Uint8Array = new Uint8Array(0);
  readonly #path: string;
  readonly #entries: Iterator<{ readonly key: Uint8Array; readonly value: Uint8Array }>;

  constructor(path: string, entries: Iterator<{ readonly key: Uint8Array; readonly value: Uint8Array }>) {
    this.#path = path;
    this.#entries = entries;
  }

  next(): boolean {
    const { done, value } = guarded(this.#path, () => this.#entries.next());
    if (done === true) return false;
    this.key = value.key;
    this.value = value.value;
    return true;
  }

  close(): void {
    this.#entries.return?.();
  }
}

const metaPageBytes = 4096;
const metaOffset = 24;
const magic = 0xbeefc0de;
const dataVersion = 2;

/**
 * What is no LMDB file must not be opened as one: lmdb refuses it, and then dies of a double free.
 * @throws MillraceError `BASE_DAMAGED`; `BASE_UNAVAILABLE` when a reader's is missing.
 */
async function checkMetaPages(path: string, readOnly: boolean): Promise<void> {
  const file = await openFile(path, 'r').catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT' && !readOnly) return undefined;
    throw baseError(path, thrown);
  });
  if (file === undefined) return;
  try {
    const pages = Buffer.alloc(2 * metaPageBytes);
    const { bytesRead } = await file.read(pages, 0, pages.length, 0);
    // Its creator died before the first page was written.
    if (bytesRead === 0 && !readOnly) return;
    for (let at = metaOffset; at < pages.length; at += metaPageBytes) {
      const whole = bytesRead === pages.length;
      if (whole && pages.readUInt32LE(at) === magic && (pages.readUInt32LE(at + 4) & 0xffff) === dataVersion) continue;
      throw new MillraceError('corrupt', 'BASE_DAMAGED', `${path} is no base of this version`, { context: { path } });
    }
  } finally {
    await file.close();
  }
}

function released(path: string): MillraceError {
  return new MillraceError('closed', 'BASE_CLOSED', `a snapshot of ${path} was released`);
}

/** Errors of lmdb, which come with LMDB's codes, as ours; ours pass through. */
function guarded<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw baseError(path, thrown);
  }
}

// lmdb.h.
const MDB_MAP_FULL = -30792;
/** MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_INVALID, MDB_CURSOR_FULL, MDB_PAGE_FULL: a tree that is none; MDB_BAD_TXN comes after one of these. */
const MDB_DAMAGED: readonly unknown[] = [-30797, -30796, -30793, -30787, -30786, -30782];
const ENOSPC = 28;

function baseError(path: string, cause: unknown): MillraceError {
  if (cause instanceof MillraceError) return cause;
  const code = (cause as { readonly code?: unknown } | undefined)?.code;
  const why = `${path}: ${cause instanceof Error ? cause.message : String(cause)}`;
  const details = { cause, context: { path } };
  if (code === MDB_MAP_FULL || code === ENOSPC) return new MillraceError('unavailable', 'BASE_FULL', why, details);
  if (MDB_DAMAGED.includes(code)) return new MillraceError('corrupt', 'BASE_DAMAGED', why, details);
  return new MillraceError('unavailable', 'BASE_UNAVAILABLE', why, details);
}
