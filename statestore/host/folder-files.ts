import { type ByteFiles, checksumHex, type Disk, type Random, xxh64 } from '../../base/index.js';
import { hasCode } from '../../checkpoint/index.js';
import type { OverlayEntry } from '../view/view-description.js';
import type { FolderList } from './folder-list.js';
import { openOverlaySegment, overlayIndexPath, segmentPath } from './overlay-files.js';
import type { OverlaySegment } from './overlay-segment.js';

const listKind = 'millrace-overlay 1';

/** The files of a state folder, but for its base: see `StateFolder`. `Disk` errors pass through. */
export class FolderFiles {
  readonly root: string;
  readonly #disk: Disk;
  readonly #files: ByteFiles;
  readonly #random: Random;

  constructor(options: {
    readonly root: string;
    readonly disk: Disk;
    readonly files: ByteFiles;
    readonly random: Random;
  }) {
    this.root = options.root;
    this.#disk = options.disk;
    this.#files = options.files;
    this.#random = options.random;
  }

  /** Undefined when there is none, or it is damaged. */
  async readList(): Promise<FolderList | undefined> {
    const text = await this.#readText('list');
    if (text === undefined) return undefined;
    const split = text.indexOf('\n');
    const json = text.slice(split + 1);
    if (split < 0 || text.slice(0, split) !== headOf(json)) return undefined;
    const { observed, segments, floors } = JSON.parse(json) as Omit<FolderList, 'observed'> & {
      readonly observed: FolderList['observed'] | null;
    };
    return { observed: observed ?? undefined, segments, floors };
  }

  /** Replaced at once. */
  async writeList({ observed, segments, floors }: FolderList): Promise<void> {
    const json = JSON.stringify({ observed: observed ?? null, segments, floors });
    await this.#replace('list', `${headOf(json)}\n${json}`);
  }

  readMark(): Promise<string | undefined> {
    return this.#readText('mark');
  }

  writeMark(text: string): Promise<void> {
    return this.#replace('mark', text);
  }

  async writeSegment(checksum: string, segment: Uint8Array, index: Uint8Array): Promise<void> {
    await this.#disk.write(segmentPath(this.root, checksum), segment);
    await this.#disk.write(overlayIndexPath(this.root, checksum), index);
  }

  async removeSegment(checksum: string): Promise<void> {
    await this.#disk.remove(overlayIndexPath(this.root, checksum));
    await this.#disk.remove(segmentPath(this.root, checksum));
  }

  /** Checksums of the segments of which both files are there; what is left over of others is removed. */
  async segments(): Promise<Set<string>> {
    const names = new Set(await this.#disk.list(`${this.root}/segments`));
    const whole = new Set<string>();
    for (const name of names) {
      const checksum = name.replace(/\.index$/, '');
      if (names.has(checksum) && names.has(`${checksum}.index`)) whole.add(checksum);
      else await this.#disk.remove(`${this.root}/segments/${name}`);
    }
    return whole;
  }

  /** @throws MillraceError `DISK_NOT_FOUND`, `SEGMENT_CORRUPT`. */
  openSegment(checksum: string): OverlaySegment {
    return openOverlaySegment(this.#files, this.root, checksum);
  }

  /** What a segment says of itself, verified; undefined when it was not written to its end. `epoch` is not known here. */
  describeSegment(checksum: string): OverlayEntry | undefined {
    let open: OverlaySegment | undefined;
    try {
      open = this.openSegment(checksum);
      const { range, full, entries, segmentBytes: bytes } = open.head;
      const line = { checkpointId: open.index.checkpointId, epoch: 0 };
      return { first: range.first, last: range.last, checksum, line, full, entries, bytes };
    } catch (thrown) {
      if (hasCode(thrown, 'SEGMENT_CORRUPT') || hasCode(thrown, 'DISK_FAILED')) return undefined;
      throw thrown;
    } finally {
      open?.close();
    }
  }

  /** Makes the folder, or empties it of segments, list and mark. */
  async clear(): Promise<void> {
    await this.#disk.remove(`${this.root}/list`);
    await this.#disk.remove(`${this.root}/mark`);
    await this.#disk.makeFolder(`${this.root}/segments`);
    for (const name of await this.#disk.list(`${this.root}/segments`)) {
      await this.#disk.remove(`${this.root}/segments/${name}`);
    }
  }

  async #readText(name: string): Promise<string | undefined> {
    try {
      return Buffer.from(await this.#disk.read(`${this.root}/${name}`)).toString('utf8');
    } catch (thrown) {
      if (hasCode(thrown, 'DISK_NOT_FOUND')) return undefined;
      throw thrown;
    }
  }

  async #replace(name: string, text: string): Promise<void> {
    const temp = `${this.root}/${name}.${this.#random.nonce()}`;
    await this.#disk.write(temp, Buffer.from(text, 'utf8'));
    await this.#disk.rename(temp, `${this.root}/${name}`);
  }
}

function headOf(json: string): string {
  return `${listKind} ${checksumHex(xxh64(Buffer.from(json, 'utf8')))}`;
}
