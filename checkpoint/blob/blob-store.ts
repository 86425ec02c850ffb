/**
 * Named immutable bytes, and one mutable kind: values moved by compare-and-set. The two kinds have name spaces of their
 * own: `list` and `get` never see values. Memory, a directory, S3 and wrappers around them implement it.
 * Names are '/'-separated parts of [A-Za-z0-9._-] that do not begin with a dot (`BLOB_NAME`, invalid); none may be
 * a folder of another (`a` and `a/b`). Errors: `BLOB_NOT_FOUND` (unavailable),
 * `BLOB_EXISTS` (invalid), `CAS_CONFLICT` (fenced), `STORE_UNAVAILABLE` (unavailable; also when the outcome is unknown).
 */
export interface BlobStore {
  /** Where this is, for messages: `directory /data/x`, `s3://bucket/prefix`, `memory`. */
  readonly location: string;
  /**
   * Stores immutable bytes, durable when it resolves; the caller leaves them alone until then.
   * @throws `BLOB_EXISTS` when the name is taken.
   */
  put(name: string, bytes: Uint8Array): Promise<void>;
  /** Fewer bytes when the object ends before the range does. */
  get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array>;
  /** Size of an object in bytes, or undefined when there is none of this name. */
  stat(name: string): Promise<{ readonly bytes: number } | undefined>;
  /** A missing one is not an error. */
  delete(name: string): Promise<void>;
  /** Names with this prefix, sorted. */
  list(prefix: string): Promise<string[]>;
  /** A mutable value with its version, or undefined when it was never set. */
  read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined>;
  /**
   * Moves a mutable value only if its version is still `expected` (undefined: only if it was never set). Durable when it
   * resolves, with the new version. @throws `CAS_CONFLICT`; `STORE_UNAVAILABLE` when the outcome is unknown: then read it.
   */
  compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string>;
  /** Drops copies that are kept on the way, for a reader who found them wrong. Stores that keep none do without. */
  forget?(name: string): Promise<void>;
  /**
   * All versions of a value that are still there, newest first, for repairs; no bytes where they cannot be opened. Stores that
   * keep the newest alone do without.
   */
  versions?(name: string): Promise<readonly BlobVersion[]>;
}

/** Whoever only reads objects of which it knows the names. */
export type BlobReader = Pick<BlobStore, 'location' | 'get' | 'forget'>;

export interface BlobVersion {
  readonly version: string;
  readonly bytes: Uint8Array | undefined;
}
