import { type DiskFile, xxh64 } from '../base/index.js';
import {
  encodeRegionFooter,
  encodeRegionHeader,
  type RegionHeader,
  RegionIndex,
  type RegionPart,
} from './region-file.js';
import type { SpillDisk } from './spill-disk.js';

/**
 * Buffers are copied to staging memory and written from there, in pieces of this size: a disk that hangs may read what it
 * was given long after the write was given up and the arena's slots hold something else.
 */
const STAGE_BYTES = 1 << 20;

/** A region laid out: everything but the file. */
export interface RegionLayout {
  readonly header: RegionHeader;
  readonly parts: readonly RegionPart[];
  readonly index: RegionIndex;
  readonly headerBytes: Uint8Array;
  readonly fileBytes: number;
}

/** @param parts sorted, each with a buffer at least. */
export function layOutRegion(bootId: string, writer: string, parts: readonly RegionPart[]): RegionLayout {
  const header = { bootId, writer, objectName: '' };
  const headerBytes = encodeRegionHeader(header);
  const index = RegionIndex.of(parts, headerBytes.length);
  return { header, parts, index, headerBytes, fileBytes: index.fileBytes };
}

/**
 * Writes the file; the footer by itself, when all else was taken by the kernel. A file that cannot be finished because
 * the disk is full is removed. @throws as `SpillDisk.call`
 */
export async function writeRegionFile(
  disk: SpillDisk,
  name: string,
  layout: RegionLayout,
  durable: boolean,
): Promise<void> {
  const path = disk.path(name);
  const file = await disk.call(`opening ${path}`, (on) => on.append(path));
  try {
    const stage = new Stage(disk, file);
    await stage.add(layout.headerBytes);
    let record = 0;
    for (const { buffers } of layout.parts) {
      for (const { bytes } of buffers) {
        layout.index.setStoredChecksum(record++, xxh64(bytes));
        const waiting = stage.add(bytes);
        if (waiting !== undefined) await waiting;
      }
    }
    await stage.add(layout.index.bytes);
    await stage.flush();
    const footer = encodeRegionFooter(layout.headerBytes.length + layout.index.dataBytes, layout.index.bytes);
    await disk.call(`writing ${path}`, () => file.append(footer));
    if (durable) await disk.call(`syncing ${path}`, () => file.sync());
    await disk.call(`closing ${path}`, () => file.close());
  } catch (e) {
    // Without waiting for long: the disk may hang. What is left is torn, and cut when the folder is opened again.
    if (disk.setAside !== undefined) file.close().catch(() => {});
    else await removeUnfinished(disk, file, path).catch(() => {});
    throw e;
  }
}

async function removeUnfinished(disk: SpillDisk, file: DiskFile, path: string): Promise<void> {
  await disk.call(`closing ${path}`, () => file.close());
  await disk.call(`removing ${path}`, (on) => on.remove(path));
}

/** Two pieces of memory: one is filled while the other is written. */
class Stage {
  readonly #disk: SpillDisk;
  readonly #file: DiskFile;
  #filling = new Uint8Array(STAGE_BYTES);
  #spare = new Uint8Array(STAGE_BYTES);
  #filled = 0;
  #writing: Promise<void> | undefined;

  constructor(disk: SpillDisk, file: DiskFile) {
    this.#disk = disk;
    this.#file = file;
  }

  /** The bytes are copied before it returns, or, when there is something to wait for, before that resolves. */
  add(bytes: Uint8Array): Promise<void> | undefined {
    if (bytes.length <= STAGE_BYTES - this.#filled) {
      this.#filling.set(bytes, this.#filled);
      this.#filled += bytes.length;
      return undefined;
    }
    return this.#addInPieces(bytes);
  }

  async #addInPieces(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#filled === STAGE_BYTES) await this.#swap();
      const piece = bytes.subarray(at, at + STAGE_BYTES - this.#filled);
      this.#filling.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
    }
  }

  async flush(): Promise<void> {
    await this.#swap();
    await this.#writing;
  }

  async #swap(): Promise<void> {
    await this.#writing;
    const full = this.#filling.subarray(0, this.#filled);
    [this.#filling, this.#spare] = [this.#spare, this.#filling];
    this.#filled = 0;
    this.#writing = this.#disk.call(`writing ${this.#file.path}`, () => this.#file.append(full));
    // It is awaited at the next piece; until then nobody hears of a failure.
    this.#writing.catch(() => {});
  }
}
