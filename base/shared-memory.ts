/**
 * Named regions of memory that several threads or processes see: files mapped from a memory-backed folder, or
 * SharedArrayBuffers. A region starts zeroed, has a fixed size, and lives until `remove`, whoever created it.
 */
export interface SharedMemory {
  /** @throws MillraceError `MEMORY_EXISTS` (invalid), `MEMORY_FULL` (unavailable, naming the folder and its free bytes). */
  create(name: string, byteLength: number): Promise<SharedRegion>;
  /**
   * `read` maps privately: a stray write through the views changes nothing for others. `write` maps shared.
   * @throws MillraceError `MEMORY_NOT_FOUND` (unavailable).
   */
  open(name: string, access: 'read' | 'write'): Promise<SharedRegion>;
  /** Removes the name; views that exist stay valid. A missing one is not an error. */
  remove(name: string): Promise<void>;
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
