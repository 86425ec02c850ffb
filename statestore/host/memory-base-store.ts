import { MillraceError } from '../../base/index.js';
import { compareBytes } from '../../checkpoint/index.js';
import type {
  BaseScan,
  BaseSnapshot,
  BaseStats,
  BaseStore,
  BaseStores,
  BaseTransaction,
  WritableBaseStore,
} from './base-store.js';

interface MemoryEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** One state of a store: entries sorted by key. Never changed, only replaced. */
type Entries = readonly MemoryEntry[];

interface MemoryFile {
  committed: Entries;
  synced: Entries;
  writable: boolean;
}

/**
 * Bases in memory, for tests and the simulator. What was not synced is lost by `powerCut`; `kill` lets go of the writer as
 * the death of its process does.
 */
export class MemoryBaseStores implements BaseStores {
  readonly #files = new Map<string, MemoryFile>();

  async openWritable(path: string): Promise<WritableBaseStore> {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = { committed: [], synced: [], writable: false };
      this.#files.set(path, file);
    }
    if (file.writable) throw new MillraceError('unavailable', 'BASE_UNAVAILABLE', `${path} has a writer`);
    file.writable = true;
    return new MemoryBaseStore(path, file, true);
  }

  async openReader(path: string): Promise<BaseStore> {
    const file = this.#files.get(path);
    if (file !== undefined) return new MemoryBaseStore(path, file, false);
    throw new MillraceError('unavailable', 'BASE_UNAVAILABLE', `${path} does not exist`);
  }

  /** There is no file. */
  async fileBytes(): Promise<number> {
    return 0;
  }

  async destroy(path: string): Promise<void> {
    this.#files.delete(path);
  }

  kill(path: string): void {
    const file = this.#files.get(path);
    if (file !== undefined) file.writable = false;
  }

  /** `stays`: of a base that reached the disk in part, asked for each entry that was committed, but not synced. */
  powerCut(path: string, stays: () => boolean = () => false): void {
    this.kill(path);
    const file = this.#files.get(path);
    if (file === undefined) return;
    const synced = new Map(file.synced.map((entry) => [nameOf(entry.key), entry]));
    for (const entry of file.committed) {
      if (synced.get(nameOf(entry.key)) !== entry && stays()) synced.set(nameOf(entry.key), entry);
    }
    file.committed = [...synced.values()].sort((a, b) => compareBytes(a.key, b.key));
    file.synced = file.committed;
  }
}

class MemoryBaseStore implements WritableBaseStore {
  readonly #path: string;
  readonly #file: MemoryFile;
  readonly #writable: boolean;
  #closed = false;

  constructor(path: string, file: MemoryFile, writable: boolean) {
    this.#path = path;
    this.#file = file;
    this.#writable = writable;
  }

  snapshot(): BaseSnapshot {
    this.#check();
    return new MemorySnapshot(this.#path, this.#file.committed, () => this.#closed);
  }

  write(changes: (transaction: BaseTransaction) => void): void {
    this.#check();
    const { committed } = this.#file;
    // Undefined: removed.
    const changed = new Map<string, MemoryEntry | undefined>();
    changes({
      put(key, value) {
        const entry = { key: copyOf(key), value: copyOf(value) };
        changed.set(nameOf(key), entry);
      },
      remove: (key) => void changed.set(nameOf(key), undefined),
      get(key) {
        const name = nameOf(key);
        return (changed.has(name) ? changed.get(name) : at(committed, key))?.value.slice();
      },
    });
    const kept = committed.filter(({ key }) => !changed.has(nameOf(key)));
    const added = [...changed.values()].filter((entry) => entry !== undefined);
    this.#file.committed = [...kept, ...added].sort((a, b) => compareBytes(a.key, b.key));
  }

  async sync(): Promise<void> {
    this.#check();
    this.#file.synced = this.#file.committed;
  }

  checkReaders(): number {
    return 0;
  }

  stats(): BaseStats {
    const { committed } = this.#file;
    const bytes = committed.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    return { entries: committed.length, bytes };
  }

  async close(): Promise<void> {
    if (this.#writable && !this.#closed) this.#file.writable = false;
    this.#closed = true;
  }

  #check(): void {
    if (this.#closed) throw new MillraceError('closed', 'BASE_CLOSED', `${this.#path} is closed`);
  }
}

class MemorySnapshot implements BaseSnapshot {
  value: Uint8Array = new Uint8Array(0);
  readonly #path: string;
  readonly #entries: Entries;
  readonly #storeClosed: () => boolean;
  #released = false;

  constructor(path: string, entries: Entries, storeClosed: () => boolean) {
    this.#path = path;
    this.#entries = entries;
    this.#storeClosed = storeClosed;
  }

  find(key: Uint8Array): number {
    this.#check();
    const found = at(this.#entries, key);
    if (found === undefined) return -1;
    // As careless as lmdb: the next find overwrites it.
    this.value.fill(0xee);
    this.value = found.value.slice();
    return found.value.length;
  }

  scan(from: Uint8Array, to: Uint8Array): BaseScan {
    this.#check();
    return new MemoryScan(this.#entries, lowerBound(this.#entries, from), lowerBound(this.#entries, to));
  }

  release(): void {
    this.#released = true;
  }

  #check(): void {
    if (!this.#released && !this.#storeClosed()) return;
    throw new MillraceError('closed', 'BASE_CLOSED', `a snapshot of ${this.#path} was released`);
  }
}

class MemoryScan implements BaseScan {
  key: Uint8Array = new Uint8Array(0);
  value: Uint8Array = new Uint8Array(0);
  readonly #entries: Entries;
  readonly #to: number;
  #at: number;

  constructor(entries: Entries, from: number, to: number) {
    this.#entries = entries;
    this.#at = from;
    this.#to = to;
  }

  next(): boolean {
    if (this.#at >= this.#to) return false;
    const { key, value } = this.#entries[this.#at++] as MemoryEntry;
    this.key = key.slice();
    this.value = value.slice();
    return true;
  }

  close(): void {}
}

/** Not `slice`: that of a Buffer is no copy. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1');
}

function at(entries: Entries, key: Uint8Array): MemoryEntry | undefined {
  const found = entries[lowerBound(entries, key)];
  return found !== undefined && compareBytes(found.key, key) === 0 ? found : undefined;
}

/** Position of the first entry that is not below `key`. */
function lowerBound(entries: Entries, key: Uint8Array): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareBytes((entries[middle] as MemoryEntry).key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
