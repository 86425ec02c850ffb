import { createHash } from 'node:crypto';
import type { Disk, DiskFile } from '../../base/index.js';

/**
 * A file that one attempt writes and nobody reads before it is sealed. Calls must not overlap, and none but `abandon`
 * may follow one that failed.
 */
export class PendingFile {
  readonly name: string;
  readonly #disk: Disk;
  readonly #path: string;
  readonly #hash = createHash('sha256');
  #file: DiskFile | undefined;
  #bytes = 0;

  constructor(disk: Disk, folder: string, name: string) {
    this.#disk = disk;
    this.#path = `${folder}/${name}`;
    this.name = name;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async append(chunk: Uint8Array): Promise<void> {
    this.#file ??= await this.#disk.append(this.#path);
    await this.#file.append(chunk);
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
  }

  /** Makes the bytes durable and closes the file for good. */
  async seal(): Promise<void> {
    await this.#file?.sync();
    await this.#file?.close();
    this.#file = undefined;
  }

  /** SHA-256 in hex; call once, after `seal`. */
  checksum(): string {
    return this.#hash.digest('hex');
  }

  /** Closes the file without a promise about its bytes. */
  async abandon(): Promise<void> {
    await this.#file?.close().catch(() => {});
    this.#file = undefined;
  }
}
