/**
 * Ordered bytes to bytes in one file: what lies beneath all overlays (`lmdb-base-store.ts`; in memory for tests and the
 * simulator). One writer at a time, in the daemon; any number of readers, in any thread or process, who never wait. Keys
 * have 1 to `baseKeyBytesMax` bytes and are ordered bytewise, a prefix first. Errors: `BASE_FULL`, `BASE_UNAVAILABLE`
 * (unavailable), `BASE_CLOSED` (closed), `BASE_DAMAGED` (corrupt).
 */
export interface BaseStore {
  /** What is committed now, and stays so until `release`. */
  snapshot(): BaseSnapshot;
  /** Snapshots are gone with it. */
  close(): Promise<void>;
}

export const baseKeyBytesMax = 1024;

/**
 * One committed state. It pins the pages of what was replaced since: release it soon, or move on to a newer one.
 * Not to be used across a fork, nor by two threads.
 */
export interface BaseSnapshot {
  /** @returns the length of the value, which then stands in `value`, or -1. */
  find(key: Uint8Array): number;
  /** Its first bytes are the value last found. Valid until the next call of this store in this thread: copy before that. */
  readonly value: Uint8Array;
  /** Entries with `from` <= key < `to`, ascending. */
  scan(from: Uint8Array, to: Uint8Array): BaseScan;
  release(): void;
}

/** Stands before the first entry. */
export interface BaseScan {
  next(): boolean;
  /** Copies. */
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  close(): void;
}

export interface WritableBaseStore extends BaseStore {
  /**
   * Runs `changes` and commits them, all of them and visible at once, before it returns; nothing when it throws. Survives
   * the process, not a power cut: for that, `sync`. Not nested.
   */
  write(changes: (transaction: BaseTransaction) => void): void;
  /** What was written before survives a power cut when it resolves. */
  sync(): Promise<void>;
  /** Lets go of what readers of dead processes pinned. @returns how many there were. */
  checkReaders(): number;
  stats(): BaseStats;
}

export interface BaseTransaction {
  /** Key and value are copied before it returns. */
  put(key: Uint8Array, value: Uint8Array): void;
  /** Of a missing key: nothing. */
  remove(key: Uint8Array): void;
  /** Sees this transaction's own changes; a copy. */
  get(key: Uint8Array): Uint8Array | undefined;
}

export interface BaseStats {
  readonly entries: number;
  /** Of the file, free pages included. */
  readonly bytes: number;
}

/** Opens stores by path; the simulator brings its own. */
export interface BaseStores {
  /** Creates it when there is none. */
  openWritable(path: string): Promise<WritableBaseStore>;
  /** @throws MillraceError `BASE_UNAVAILABLE` when there is none. */
  openReader(path: string): Promise<BaseStore>;
  /** Length of its file, 0 when there is none: a file that is shorter than it was must not be opened. */
  fileBytes(path: string): Promise<number>;
  /** Removes it; a missing one is no error. Nobody may have it open for writing. */
  destroy(path: string): Promise<void>;
}
