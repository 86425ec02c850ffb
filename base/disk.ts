/**
 * The file operations Millrace needs, behind one interface so that the simulator can tear, fill and lose them.
 * Paths are absolute, '/'-separated. Every failure is a MillraceError that names the path:
 * `DISK_NOT_FOUND` (unavailable), `DISK_EXISTS` (invalid), `DISK_FULL` (unavailable), `DISK_FAILED` (unavailable).
 */
export interface Disk {
  /** The whole file, or `length` bytes from `offset`; fewer when the file ends before. */
  read(path: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array>;
  /**
   * Creates the file with these bytes, or replaces its contents, and fdatasyncs it. `exclusive`: DISK_EXISTS when it is
   * there, and the name is durable too; without it the name of a new file is durable only after a `rename` or `link`.
   * A failed write leaves no file.
   */
  write(path: string, bytes: Uint8Array, options?: { readonly exclusive?: boolean }): Promise<void>;
  /** Opens for appending, creating the file when it is not there. */
  append(path: string): Promise<DiskFile>;
  /** Atomically replaces `to`, then syncs the parent folder of `to`. */
  rename(from: string, to: string): Promise<void>;
  /** Hard-links `from` to `to` and syncs the parent folder; DISK_EXISTS when `to` is there (a compare-and-create). */
  link(from: string, to: string): Promise<void>;
  /** Removes a file or an empty folder; a missing one is not an error. */
  remove(path: string): Promise<void>;
  /** Creates the folder and its parents. */
  makeFolder(path: string): Promise<void>;
  /** Names (not paths) in a folder, sorted; a missing folder is empty. */
  list(path: string): Promise<string[]>;
  /** Size in bytes and kind, or undefined when there is nothing. */
  stat(path: string): Promise<{ readonly bytes: number; readonly folder: boolean } | undefined>;
}

/** An open file. Calls must not overlap. */
export interface DiskFile {
  readonly path: string;
  append(bytes: Uint8Array): Promise<void>;
  /**
   * Resolves when the file and all appended bytes would survive a power cut (fdatasync). A failed append or sync is
   * final: the file is bad, and every later call fails with the same error.
   */
  sync(): Promise<void>;
  close(): Promise<void>;
}
