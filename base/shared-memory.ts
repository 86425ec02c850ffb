/**
 * Named regions of memory that several threads or processes see: files mapped from a memory-backed folder,
 * SharedArrayBuffers, or plain ArrayBuffers of one thread. A region starts zeroed, has a fixed size, and lives until
 * `remove`, whoever created it. Names are any string of 1 to 150 characters. One object belongs to one thread; each
 * thread that shares a memory has an object of its own. `shared-memory-contract.ts` says the same as runnable cases.
 */
export interface SharedMemory {
  /**
   * `byteLength`: a positive multiple of 8, at most 4 GiB (`MEMORY_SIZE_INVALID`). The region is complete before others can open it.
   * @throws MillraceError `MEMORY_EXISTS` (invalid), `MEMORY_FULL` (unavailable, naming the folder and its free bytes).
   */
  create(name: string, byteLength: number): Promise<SharedRegion>;
  /**
   * `read`: the views must not be written to (where the memory is mapped they are private: a stray write changes nothing
   * for others, but hides their later writes to that page). `write` is shared both ways. The same name and access
   * give the same region object again, for as long as the region exists and is not retired here.
   * @throws MillraceError `MEMORY_NOT_FOUND` (unavailable).
   */
  open(name: string, access: 'read' | 'write'): Promise<SharedRegion>;
  /** Removes the name; views that exist stay valid. A missing one is not an error. */
  remove(name: string): Promise<void>;
  /**
   * Gives back the memory behind a region that this object handed out; the caller promises not to use its views again.
   * Views used all the same never fault; what they then show is undefined. Others' views, and the name, are untouched.
   */
  retire(region: SharedRegion): void;
  /** Names of all regions, sorted. */
  list(): Promise<string[]>;
}

export interface SharedRegion {
  readonly name: string;
  /** Views over the whole region. All words that are shared between writers are accessed with Atomics only. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly longs: BigUint64Array;
}

/** The views of a region over one buffer; for implementations of SharedMemory. */
export function regionOver(name: string, buffer: ArrayBufferLike): SharedRegion {
  return {
    name,
    bytes: new Uint8Array(buffer),
    words: new Int32Array(buffer),
    longs: new BigUint64Array(buffer),
  };
}
