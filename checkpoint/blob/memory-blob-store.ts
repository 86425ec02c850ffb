import { MillraceError } from '../../base/index.js';
import { validateBlobName } from './blob-name.js';
import type { BlobStore } from './blob-store.js';

/**
 * A BlobStore that lives as long as the object. Bytes are copied in and out, as with any other store (`slice` of a Buffer
 * would not copy: what is kept here is none).
 */
export class MemoryBlobStore implements BlobStore {
  readonly location = 'memory';
  readonly #objects = new Map<string, Uint8Array>();
  readonly #values = new Map<string, { readonly bytes: Uint8Array; readonly version: string }>();

  async put(name: string, bytes: Uint8Array): Promise<void> {
    validateBlobName(name);
    if (this.#objects.has(name)) throw new MillraceError('invalid', 'BLOB_EXISTS', `memory: ${name} exists`);
    this.#objects.set(name, new Uint8Array(bytes));
  }

  async get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    validateBlobName(name);
    const bytes = this.#objects.get(name);
    if (bytes === undefined) throw new MillraceError('unavailable', 'BLOB_NOT_FOUND', `memory: no object ${name}`);
    return range === undefined ? bytes.slice() : bytes.slice(range.offset, range.offset + range.length);
  }

  async stat(name: string): Promise<{ readonly bytes: number } | undefined> {
    validateBlobName(name);
    const bytes = this.#objects.get(name)?.byteLength;
    return bytes === undefined ? undefined : { bytes };
  }

  async delete(name: string): Promise<void> {
    validateBlobName(name);
    this.#objects.delete(name);
  }

  async list(prefix: string): Promise<string[]> {
    return [...this.#objects.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  async read(name: string): Promise<{ readonly bytes: Uint8Array; readonly version: string } | undefined> {
    validateBlobName(name);
    const value = this.#values.get(name);
    return value === undefined ? undefined : { bytes: value.bytes.slice(), version: value.version };
  }

  async compareAndSet(name: string, expected: string | undefined, bytes: Uint8Array): Promise<string> {
    validateBlobName(name);
    const current = this.#values.get(name)?.version;
    if (current !== expected) {
      throw new MillraceError(
        'fenced',
        'CAS_CONFLICT',
        `memory: ${name} is at version ${current ?? 'none'}, not ${expected ?? 'none'}`,
      );
    }
    const version = String(Number(current ?? '0') + 1);
    this.#values.set(name, { bytes: new Uint8Array(bytes), version });
    return version;
  }
}
