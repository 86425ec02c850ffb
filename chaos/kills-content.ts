import { MillraceError, type Random } from '../base/index.js';
import {
  type BlobStore,
  LoadedSegment,
  mergeSegments,
  SegmentBuilder,
  SegmentCursor,
  type SegmentIndex,
  type SegmentRef,
  type SegmentState,
  StoredSegment,
} from '../checkpoint/index.js';

/** The state of a task at one moment: a value for each key of its space, and last one that is not keyed. */
export type Content = readonly (string | undefined)[];

interface SpaceKey {
  readonly keyGroup: number;
  readonly state: number;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
}

/** What one segment says, in the terms of a key space. */
interface Change {
  readonly full: boolean;
  /** [position, value or undefined]. */
  readonly entries: readonly (readonly [number, string | undefined])[];
  readonly first: number;
  readonly last: number;
}

const NAMES = ['counts', 'lists'];
const META = Uint8Array.of(1, 2, 3);
const NOTHING = new Uint8Array(0);

/** All keys that a task can have, sorted as segments sort them: contents are arrays, and a segment is built in one pass. */
export class KeySpace {
  readonly #keys: readonly SpaceKey[];
  readonly #positions = new Map<string, number>();
  readonly #range: { readonly first: number; readonly last: number };

  constructor(random: Random, options: { readonly keys: number; readonly keyGroups: number }) {
    const keys = Array.from({ length: options.keys }, (_, i) => ({
      keyGroup: random.below(options.keyGroups),
      state: random.below(NAMES.length),
      // Some are prefixes of others, some differ in the sub key alone.
      key: Buffer.from('k'.repeat(1 + random.below(3)) + (random.chance(0.5) ? `${i}` : '')),
      sub: random.chance(0.5) ? Buffer.from(`s${i}`) : NOTHING,
    }));
    const unique = new Map(keys.map((key) => [nameOf(key.keyGroup, key.state, key.key, key.sub), key]));
    this.#keys = [...unique.values()].sort(
      (a, b) =>
        a.keyGroup - b.keyGroup || a.state - b.state || Buffer.compare(a.key, b.key) || Buffer.compare(a.sub, b.sub),
    );
    this.#keys.forEach((k, i) => {
      this.#positions.set(nameOf(k.keyGroup, k.state, k.key, k.sub), i);
    });
    this.#range = { first: 0, last: options.keyGroups - 1 };
  }

  /** Positions of a content; the last is the value that is not keyed. */
  get size(): number {
    return this.#keys.length + 1;
  }

  get empty(): Content {
    return new Array<undefined>(this.size).fill(undefined);
  }

  /** A segment with the content of these positions (sorted), or with all of it (`full`). */
  build(checkpointId: number, content: Content, positions: readonly number[], full: boolean): Uint8Array {
    const last = this.#keys.length;
    const value = full || positions.at(-1) === last ? content[last] : undefined;
    const states: SegmentState[] = NAMES.map((name, i) => ({
      name,
      meta: META,
      value: i === 0 && value !== undefined ? bytesOf(value) : undefined,
    }));
    const builder = new SegmentBuilder({ checkpointId, full, range: this.#range, states, capacity: 1024 });
    for (const position of full ? content.keys() : positions) {
      const key = this.#keys[position];
      const payload = content[position];
      if (key === undefined || (full && payload === undefined)) continue;
      const bytes = payload === undefined ? NOTHING : bytesOf(payload);
      builder.add(key.keyGroup, key.state, key.key, key.sub, bytes, payload === undefined);
    }
    return builder.finish().bytes;
  }

  /** What a segment in memory says; verified as it is read. */
  changeOf(bytes: Uint8Array): Change {
    const segment = new LoadedSegment(bytes);
    const blocks = segment.index.blocks.map((_, i) => segment.block(i));
    return this.#changeOf(segment.index, blocks);
  }

  /** The content that these segments, oldest first, amount to. */
  overlaid(changes: readonly Change[]): Content {
    const content: (string | undefined)[] = [...this.empty];
    for (const { full, entries, first, last } of changes) {
      if (full) {
        this.#keys.forEach(({ keyGroup }, i) => {
          if (keyGroup >= first && keyGroup <= last) content[i] = undefined;
        });
      }
      for (const [position, value] of entries) content[position] = value;
    }
    return content;
  }

  /** Restores as a task does: every segment where it is stored, by ranged reads. */
  async restored(store: BlobStore, refs: readonly SegmentRef[]): Promise<Content> {
    const changes: Change[] = [];
    for (const ref of refs) {
      const segment = await StoredSegment.open(store, ref);
      const blocks = await segment.blocks(0, segment.index.blocks.length);
      changes.push(this.#changeOf(segment.index, blocks));
    }
    return this.overlaid(changes);
  }

  /** The same by merging them all into one. */
  async merged(store: BlobStore, refs: readonly SegmentRef[], breathe: () => Promise<void>): Promise<Content> {
    const segments = await Promise.all(refs.map((ref) => StoredSegment.open(store, ref)));
    const outputs = mergeSegments(segments, {
      checkpointId: 0,
      range: this.#range,
      full: true,
      bytesTarget: 500,
      breathe,
    });
    const changes: Change[] = [];
    for await (const { bytes } of outputs) changes.push(this.changeOf(bytes));
    return this.overlaid(changes);
  }

  #changeOf(index: SegmentIndex, blocks: readonly Uint8Array[]): Change {
    const states = index.states.map(({ name }) => NAMES.indexOf(name));
    const entries: [number, string | undefined][] = [];
    const value = index.states[states.indexOf(0)]?.value;
    if (value !== undefined) entries.push([this.#keys.length, textOf(value)]);
    const cursor = new SegmentCursor();
    for (const block of blocks) {
      cursor.load(block);
      while (cursor.next()) {
        const name = nameOf(cursor.keyGroup, states[cursor.state] ?? -1, cursor.key, cursor.sub);
        const position = this.#positions.get(name);
        if (position === undefined) throw new MillraceError('corrupt', 'KEY_UNKNOWN', `nobody wrote the key ${name}`);
        entries.push([position, cursor.tombstone ? undefined : textOf(cursor.payload)]);
      }
    }
    return { full: index.full, entries, first: index.range.first, last: index.range.last };
  }
}

/** Undefined when they are the same. */
export function differenceOf(found: Content, expected: Content): string | undefined {
  const at = expected.findIndex((value, i) => found[i] !== value);
  if (at === -1 && found.length === expected.length) return undefined;
  return `position ${at} of ${expected.length} is ${brief(found[at])}, not ${brief(expected[at])}`;
}

function brief(value: string | undefined): string {
  return value === undefined ? 'nothing' : JSON.stringify(value.slice(0, 12));
}

function nameOf(keyGroup: number, state: number, key: Uint8Array, sub: Uint8Array): string {
  return `${keyGroup}/${state}/${textOf(key)}/${textOf(sub)}`;
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
