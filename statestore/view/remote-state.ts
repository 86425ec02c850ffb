import type { BlobReader, KeyGroups, SegmentRef } from '../../checkpoint/index.js';
import type { Line } from '../host/base-record.js';
import { ABSENT, AWAY, type ColdAnswer, FOUND } from './cold-state.js';
import type { EntrySelection, EntrySource } from './entry-source.js';
import { EntryMerge } from './merge-entries.js';
import { BlockCache, RemoteSegment } from './remote-blocks.js';
import { type SegmentBlocks, SegmentSource } from './segment-source.js';
import { StateRanks } from './state-ranks.js';

export interface RemoteStateOptions {
  readonly store: BlobReader;
  /** The checkpoint these segments are of. It must be kept from the collector (pinned) until all of it is on this host. */
  readonly line: Line;
  /**
   * Of a manifest: what each task has of its own key groups, oldest first. Tasks are kept apart: after a rescale a segment may
   * also hold key groups that its task does not own any more, at states that their owners have since left behind.
   */
  readonly parts: readonly RemotePart[];
  /** Blocks in memory. Default 64 MiB. */
  readonly blockBytesMax?: number;
  /** Fetched entries in memory, besides those that are waited for. Default 64 MiB. */
  readonly entryBytesMax?: number;
}

export interface RemotePart {
  readonly range: KeyGroups;
  readonly segments: readonly SegmentRef[];
}

const blockBytesMaxDefault = 64 * 2 ** 20;
const entryBytesMaxDefault = 64 * 2 ** 20;
const entryOverheadBytes = 200;

export interface FetchedEntry {
  readonly state: string;
  readonly sub: Uint8Array;
  readonly payload: Uint8Array;
  readonly meta: Uint8Array;
}

/** What is known of one key: all its entries, by state and sub key. */
type FetchedKey = ReadonlyMap<string, FetchedEntry>;

/**
 * State of a completed checkpoint where it is stored, for a host that does not have it yet. A key is fetched when it is first
 * needed: from each segment that covers its key group, in one round trip for their indexes, the first time, and one for
 * the blocks that may hold the key. All is verified, nothing else is read, and nobody waits for more than the own key.
 */
export class RemoteState {
  readonly line: Line;
  /** What was found last. */
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  meta: Uint8Array = new Uint8Array(0);
  readonly #parts: readonly { readonly range: KeyGroups; readonly segments: readonly RemoteSegment[] }[];
  readonly #entryBytesMax: number;
  /**
   * Fetched keys. When the young ones fill half the room they become the old ones, and the old ones go (`letGo`): so a key stays
   * for at least half the room of keys fetched after it.
   */
  #young = new Map<string, FetchedKey>();
  #old = new Map<string, FetchedKey>();
  #youngBytes = 0;
  readonly #fetching = new Map<string, Promise<void>>();
  readonly #heat = new Map<number, number>();

  constructor(options: RemoteStateOptions) {
    const { store, parts, line } = options;
    this.line = line;
    this.#entryBytesMax = options.entryBytesMax ?? entryBytesMaxDefault;
    const cache = new BlockCache(options.blockBytesMax ?? blockBytesMaxDefault);
    let count = 0;
    this.#parts = parts.map(({ range, segments }) => ({
      range,
      segments: segments.map((ref) => new RemoteSegment(store, ref, cache, String(count++))),
    }));
  }

  /** The key groups of one part that begin with this one; undefined when it is in none. */
  runFrom(keyGroup: number): KeyGroups | undefined {
    const part = this.#parts.find(({ range }) => range.first <= keyGroup && keyGroup <= range.last);
    return part && { first: keyGroup, last: part.range.last };
  }

  /** Looks up what was fetched; `AWAY` when the key was not. */
  find(state: string, keyGroup: number, key: Uint8Array, sub: Uint8Array): ColdAnswer {
    const name = nameOf(keyGroup, key);
    const fetched = this.#young.get(name) ?? this.#old.get(name);
    if (fetched === undefined) return AWAY;
    const entry = fetched.get(entryName(state, sub));
    if (entry === undefined) return ABSENT;
    this.bytes = entry.payload;
    this.start = 0;
    this.end = entry.payload.length;
    this.meta = entry.meta;
    return FOUND;
  }

  /**
   * Resolves when `find` can answer for a key; undefined: it can.
   * @throws MillraceError `SEGMENT_CORRUPT` (corrupt), `STORE_UNAVAILABLE`.
   */
  fetch(keyGroup: number, key: Uint8Array): Promise<void> | undefined {
    this.#heat.set(keyGroup, (this.#heat.get(keyGroup) ?? 0) + 1);
    const name = nameOf(keyGroup, key);
    if (this.#young.has(name)) return undefined;
    const old = this.#old.get(name);
    if (old !== undefined) {
      this.#keep(name, old);
      return undefined;
    }
    let fetching = this.#fetching.get(name);
    if (fetching === undefined) {
      fetching = this.#fetch(name, keyGroup, key.slice()).finally(() => this.#fetching.delete(name));
      this.#fetching.set(name, fetching);
    }
    return fetching;
  }

  /** How often keys of each key group were asked for since the last call. */
  takeHeat(): [keyGroup: number, count: number][] {
    const heat = [...this.#heat];
    this.#heat.clear();
    return heat;
  }

  /** Nobody needs what was fetched so far: it may make room. Nothing goes at any other time. */
  letGo(): void {
    if (this.#youngBytes <= this.#entryBytesMax / 2) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  /** Lets go of fetched keys that are no longer needed: their key groups are on this host. */
  forget(isHere: (keyGroup: number) => boolean): void {
    for (const keyGroup of this.#heat.keys()) if (isHere(keyGroup)) this.#heat.delete(keyGroup);
    for (const keys of [this.#young, this.#old]) {
      for (const name of keys.keys()) if (isHere(Number(name.slice(0, name.indexOf('/'))))) keys.delete(name);
    }
  }

  /** All entries of a fetched key of one state, by sub key; undefined: it is away. */
  entriesOf(state: string, keyGroup: number, key: Uint8Array): FetchedEntry[] | undefined {
    const name = nameOf(keyGroup, key);
    const fetched = this.#young.get(name) ?? this.#old.get(name);
    // They were put in in the order of the sub keys.
    return fetched && [...fetched.values()].filter((entry) => entry.state === state);
  }

  /** Indexes of the segments that cover some of these key groups, of one part, oldest first. */
  async open(range: KeyGroups): Promise<{ readonly blocks: SegmentBlocks; readonly checksum: string }[]> {
    return Promise.all(
      this.#covering(range).map(async (segment) => ({
        blocks: await segment.open(true),
        checksum: segment.ref.checksum,
      })),
    );
  }

  #covering(range: KeyGroups): RemoteSegment[] {
    const part = this.#parts.find(({ range: of }) => of.first <= range.first && range.last <= of.last);
    return part?.segments.filter((segment) => segment.overlaps(range)) ?? [];
  }

  async #fetch(name: string, keyGroup: number, key: Uint8Array): Promise<void> {
    const range = { first: keyGroup, last: keyGroup };
    const all = await Promise.all(this.#covering(range).map((segment) => segment.open(false)));
    const ranks = new StateRanks(all.flatMap(({ index }) => index.states.map((state) => state.name)));
    const found = await Promise.all(
      ranks.names.map(async (state, rank): Promise<[string, FetchedEntry][]> => {
        const entries: [string, FetchedEntry][] = [];
        for await (const entry of newest(all, ranks, { range, rank, key })) {
          const { bytes, keyEnd, subEnd, payloadEnd, meta } = entry;
          const sub = bytes.slice(keyEnd, subEnd);
          entries.push([entryName(state, sub), { state, sub, payload: bytes.slice(subEnd, payloadEnd), meta }]);
        }
        return entries;
      }),
    );
    this.#keep(name, new Map(found.flat()));
  }

  #keep(name: string, key: FetchedKey): void {
    this.#young.set(name, key);
    this.#youngBytes += entryOverheadBytes;
    for (const { payload } of key.values()) this.#youngBytes += payload.length + entryOverheadBytes;
  }
}

/** What counts of the selected entries of segments, oldest first. */
export async function* newest(
  segments: readonly SegmentBlocks[],
  ranks: StateRanks,
  selection: EntrySelection,
): AsyncGenerator<EntrySource> {
  const merge = new EntryMerge(segments.map((blocks, age) => new SegmentSource(blocks, age, ranks, selection)));
  for (;;) {
    const found = merge.next();
    if (!(typeof found === 'boolean' ? found : await found)) return;
    if (!merge.isRemoved) yield merge.entry;
  }
}

function nameOf(keyGroup: number, key: Uint8Array): string {
  return `${keyGroup}/${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')}`;
}

function entryName(state: string, sub: Uint8Array): string {
  return `${state}/${Buffer.from(sub.buffer, sub.byteOffset, sub.byteLength).toString('latin1')}`;
}
