import type { BlobReader, KeyGroups, SegmentIndex, SegmentRef } from '../../checkpoint/index.js';
import { StoredSegment } from '../../checkpoint/index.js';
import type { SegmentBlocks } from './segment-source.js';

/** Read ahead when blocks are asked for one after the other. */
const readAheadBytes = 2 ** 20;

/** Blocks in memory, of all segments of one store; the longest unused go first. */
export class BlockCache {
  readonly #bytesMax: number;
  readonly #blocks = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get(name: string): Uint8Array | undefined {
    const block = this.#blocks.get(name);
    if (block === undefined) return undefined;
    this.#blocks.delete(name);
    this.#blocks.set(name, block);
    return block;
  }

  set(name: string, block: Uint8Array): void {
    if (this.#blocks.has(name)) return;
    this.#blocks.set(name, block);
    this.#bytes += block.length;
    for (const [oldest, bytes] of this.#blocks) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#blocks.delete(oldest);
      this.#bytes -= bytes.length;
    }
  }
}

/**
 * A segment in a BlobStore. Opened, and its index read, when it is first needed; blocks are fetched one by one, or ahead by
 * whoever walks. Two who want the same block wait for one request.
 */
export class RemoteSegment {
  readonly ref: SegmentRef;
  readonly #store: BlobReader;
  readonly #cache: BlockCache;
  readonly #name: string;
  #opening: Promise<StoredSegment> | undefined;
  readonly #fetching = new Map<number, Promise<Uint8Array[]>>();

  constructor(store: BlobReader, ref: SegmentRef, cache: BlockCache, name: string) {
    this.#store = store;
    this.ref = ref;
    this.#cache = cache;
    this.#name = name;
  }

  overlaps({ first, last }: KeyGroups): boolean {
    return this.ref.first <= last && this.ref.last >= first;
  }

  /** @throws MillraceError `SEGMENT_CORRUPT` (corrupt), `STORE_UNAVAILABLE`: ask again later. */
  async open(readAhead: boolean): Promise<SegmentBlocks> {
    this.#opening ??= StoredSegment.open(this.#store, this.ref);
    try {
      const segment = await this.#opening;
      return { index: segment.index, block: (at, to) => this.#block(segment, at, readAhead ? to : at + 1) };
    } catch (thrown) {
      this.#opening = undefined;
      throw thrown;
    }
  }

  #block(segment: StoredSegment, at: number, to: number): Uint8Array | Promise<Uint8Array> {
    const known = this.#cache.get(`${this.#name}/${at}`);
    if (known !== undefined) return known;
    return this.#fetched(segment, at, this.#endOfRun(segment.index, at, to));
  }

  async #fetched(segment: StoredSegment, at: number, to: number): Promise<Uint8Array> {
    let fetching = this.#fetching.get(at);
    if (fetching === undefined) {
      fetching = segment.blocks(at, to);
      this.#fetching.set(at, fetching);
      const done = () => void this.#fetching.delete(at);
      fetching.then((blocks) => {
        done();
        blocks.forEach((block, i) => {
          this.#cache.set(`${this.#name}/${at + i}`, block);
        });
      }, done);
    }
    return (await fetching)[0] as Uint8Array;
  }

  #endOfRun(index: SegmentIndex, at: number, to: number): number {
    let end = at;
    for (let bytes = 0; end < to && (bytes < readAheadBytes || end === at); end++)
      bytes += index.blocks[end]?.length ?? 0;
    return end;
  }
}
