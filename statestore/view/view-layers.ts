import type { ByteFiles } from '../../base/index.js';
import type { KeyGroups } from '../../checkpoint/index.js';
import { within } from '../host/base-record.js';
import { openOverlaySegment } from '../host/overlay-files.js';
import type { OverlaySegment } from '../host/overlay-segment.js';
import type { OverlayEntry, ViewDescription } from './view-description.js';

/** One overlay segment as a view uses it. */
export interface Layer {
  readonly entry: OverlayEntry;
  readonly segment: OverlaySegment;
}

/** The segments of a view, oldest first; each is opened once and taken over from one view to the next. */
export class ViewLayers {
  readonly #layers: readonly Layer[];
  readonly #indexBytesMax: number;
  /** Of each layer, for loops that look for key groups. */
  readonly firsts: Int32Array;
  readonly lasts: Int32Array;

  private constructor(layers: readonly Layer[], indexBytesMax: number) {
    this.#layers = layers;
    this.#indexBytesMax = indexBytesMax;
    this.firsts = Int32Array.from(layers, ({ entry }) => entry.first);
    this.lasts = Int32Array.from(layers, ({ entry }) => entry.last);
  }

  static empty(indexBytesMax: number): ViewLayers {
    return new ViewLayers([], indexBytesMax);
  }

  /** Those of a description that have some of these key groups. @throws MillraceError `DISK_NOT_FOUND`, `SEGMENT_CORRUPT`. */
  next(files: ByteFiles, { root, segments }: ViewDescription, range: KeyGroups): ViewLayers {
    const open = new Map(this.#layers.map((layer) => [layer.entry.checksum, layer]));
    const opened: Layer[] = [];
    try {
      const layers = segments
        .filter((entry) => within(entry, range) !== undefined)
        .map((entry) => {
          const known = open.get(entry.checksum);
          if (known !== undefined) return known;
          const layer = { entry, segment: openOverlaySegment(files, root, entry.checksum) };
          opened.push(layer);
          return layer;
        });
      return new ViewLayers(layers, this.#indexBytesMax);
    } catch (thrown) {
      for (const { segment } of opened) segment.close();
      throw thrown;
    }
  }

  get length(): number {
    return this.#layers.length;
  }

  get all(): readonly Layer[] {
    return this.#layers;
  }

  segment(at: number): OverlaySegment {
    return (this.#layers[at] as Layer).segment;
  }

  /** Position of the oldest one that is of a later checkpoint. */
  above(checkpointId: number): number {
    const at = this.#layers.findIndex(({ entry }) => entry.line.checkpointId > checkpointId);
    return at < 0 ? this.#layers.length : at;
  }

  get indexBytes(): number {
    return this.#layers.reduce((sum, { segment }) => sum + segment.loadedBytes, 0);
  }

  /** See `StateView.warm`. */
  warm(): boolean {
    let room = this.#indexBytesMax;
    for (const { segment } of [...this.#layers].reverse()) {
      room -= segment.pagesBytes;
      if (room < 0) {
        if (segment.loadedBytes > 0) segment.unload();
      } else if (segment.loadedBytes === 0 && segment.pagesBytes > 0) {
        segment.load();
        return true;
      }
    }
    return false;
  }

  /** Closes those that `kept` does not have. */
  close(kept?: ViewLayers): void {
    const others = new Set(kept?.all);
    for (const layer of this.#layers) if (!others.has(layer)) layer.segment.close();
  }
}
