import fc from 'fast-check';
import type { BlobStore } from '../blob/blob-store.js';
import type { SegmentRef } from '../manifest.js';
import { SegmentBuilder } from './segment-builder.js';
import { compareBytes } from './segment-bytes.js';
import { SegmentCursor } from './segment-cursor.js';
import type { KeyGroups, SegmentIndex } from './segment-format.js';
import { describeSegment, LoadedSegment, StoredSegment } from './stored-segment.js';

/** Entries in terms of state names, so that segments with different states can be compared. */
export interface NamedEntry {
  readonly keyGroup: number;
  readonly state: string;
  readonly key: Uint8Array;
  readonly sub: Uint8Array;
  /** Undefined: a tombstone. */
  readonly value: Uint8Array | undefined;
}

/** What a segment is to hold. */
export interface SegmentContent {
  readonly full: boolean;
  readonly range: KeyGroups;
  /** Names, each with a value that is not keyed, or undefined. */
  readonly states: ReadonlyMap<string, Uint8Array | undefined>;
  readonly entries: readonly NamedEntry[];
}

/** Some sort otherwise as UTF-16 than as UTF-8. */
const stateNames = ['a', 'counts', 'ü', '\u{1F600}', '\uFFFD'] as const;
export const keyGroupsMax = 12;

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
/** Few distinct ones, with prefixes of each other. */
const keyBytes = fc.array(fc.constantFrom(0, 1, 255), { maxLength: 3 }).map((list) => Uint8Array.from(list));
const payload = fc.oneof(
  { weight: 30, arbitrary: bytes(12) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 90_000 }).map((n) => new Uint8Array(n).fill(n % 251)) },
);

export const keyGroups: fc.Arbitrary<KeyGroups> = fc
  .tuple(fc.nat(keyGroupsMax - 1), fc.nat(keyGroupsMax - 1))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

export function segmentContent(
  options: { readonly range?: KeyGroups; readonly full?: boolean } = {},
): fc.Arbitrary<SegmentContent> {
  return fc
    .record({
      range: options.range === undefined ? keyGroups : fc.constant(options.range),
      full: options.full === undefined ? fc.boolean() : fc.constant(options.full),
      names: fc.uniqueArray(fc.constantFrom(...stateNames), { minLength: 1 }),
      values: fc.array(fc.option(bytes(5), { nil: undefined }), { minLength: 5, maxLength: 5 }),
      drafts: fc.array(
        fc.record({
          group: fc.nat(),
          state: fc.nat(),
          key: keyBytes,
          sub: keyBytes,
          value: fc.option(payload, { freq: 4, nil: undefined }),
        }),
        { maxLength: 60 },
      ),
    })
    .map(({ range, full, names, values, drafts }) => {
      const entries = drafts.map(({ group, state, key, sub, value }) => ({
        keyGroup: range.first + (group % (range.last - range.first + 1)),
        state: names[state % names.length] as string,
        key,
        sub,
        // What is full has nothing to hide.
        value: full ? (value ?? Uint8Array.of(1)) : value,
      }));
      const unique = new Map(entries.map((entry) => [identityOf(entry), entry]));
      const states = new Map(names.map((name, i) => [name as string, values[i]]));
      return { range, full, states, entries: [...unique.values()].sort(compareEntries) };
    });
}

/** Says how a state is stored: the same for all segments that have it. */
export const metaOf = (state: string) => Buffer.from(`meta of ${state}`);

export function built(content: SegmentContent, checkpointId = 1): Uint8Array {
  const names = sortedNames([...content.states.keys()]);
  const builder = new SegmentBuilder({
    checkpointId,
    full: content.full,
    range: content.range,
    states: names.map((name) => ({ name, meta: metaOf(name), value: content.states.get(name) })),
  });
  const { entries } = content;
  for (const { keyGroup, state, key, sub, value } of entries) {
    builder.add(keyGroup, names.indexOf(state), key, sub, value ?? new Uint8Array(0), value === undefined);
  }
  return builder.finish().bytes;
}

/** Stores a segment somewhere inside an object, and refers to it. */
export async function stored(store: BlobStore, name: string, segment: Uint8Array, deltas = 1): Promise<SegmentRef> {
  const before = Uint8Array.of(9, 9, 9);
  await store.put(name, Buffer.concat([before, segment, before]));
  return { ...describeSegment(segment), object: name, offset: before.length, deltas };
}

export function entriesIn(index: SegmentIndex, blocks: readonly Uint8Array[]): NamedEntry[] {
  const cursor = new SegmentCursor();
  const found: NamedEntry[] = [];
  for (const block of blocks) {
    cursor.load(block);
    while (cursor.next()) {
      found.push({
        keyGroup: cursor.keyGroup,
        state: index.states[cursor.state]?.name ?? 'unknown',
        key: cursor.key.slice(),
        sub: cursor.sub.slice(),
        value: cursor.tombstone ? undefined : cursor.payload.slice(),
      });
    }
  }
  return found;
}

export function loadedContent(segment: Uint8Array): SegmentContent {
  const { index, ...loaded } = { index: new LoadedSegment(segment).index, segment: new LoadedSegment(segment) };
  const blocks = index.blocks.map((_, i) => loaded.segment.block(i));
  return contentOf(index, blocks);
}

export async function storedContent(store: BlobStore, ref: SegmentRef): Promise<SegmentContent> {
  const segment = await StoredSegment.open(store, ref);
  return contentOf(segment.index, await segment.blocks(0, segment.index.blocks.length));
}

function contentOf(index: SegmentIndex, blocks: readonly Uint8Array[]): SegmentContent {
  const states = new Map(index.states.map(({ name, value }) => [name, value]));
  return { full: index.full, range: index.range, states, entries: entriesIn(index, blocks) };
}

/** What a task's list of segments amounts to, oldest first; the reference that merges are compared with. */
export class Amount {
  readonly live = new Map<string, NamedEntry>();
  readonly values = new Map<string, Uint8Array>();

  static of(segments: Iterable<SegmentContent>): Amount {
    const amount = new Amount();
    for (const segment of segments) amount.add(segment);
    return amount;
  }

  add({ full, range, states, entries }: SegmentContent): void {
    if (full) {
      for (const [id, { keyGroup }] of this.live) if (within(range, keyGroup)) this.live.delete(id);
    }
    for (const entry of entries) {
      if (entry.value === undefined) this.live.delete(identityOf(entry));
      else this.live.set(identityOf(entry), entry);
    }
    for (const [name, value] of states) if (value !== undefined) this.values.set(name, value);
  }

  /** Plain and sorted, to be compared. */
  get plain(): { readonly live: readonly string[]; readonly values: readonly string[] } {
    const text = (value: Uint8Array | undefined) => Buffer.from(value ?? []).toString('base64');
    const live = [...this.live].map(([id, { value }]) => `${id} = ${text(value)}`).sort();
    return { live, values: [...this.values].map(([name, value]) => `${name} = ${text(value)}`).sort() };
  }
}

export function within({ first, last }: KeyGroups, keyGroup: number): boolean {
  return keyGroup >= first && keyGroup <= last;
}

export function identityOf({ keyGroup, state, key, sub }: NamedEntry): string {
  return `${keyGroup}/${state}/${Buffer.from(key).toString('hex')}/${Buffer.from(sub).toString('hex')}`;
}

function sortedNames(names: readonly string[]): string[] {
  return [...names].sort((a, b) => compareBytes(Buffer.from(a), Buffer.from(b)));
}

export function compareEntries(a: NamedEntry, b: NamedEntry): number {
  return (
    a.keyGroup - b.keyGroup ||
    compareBytes(Buffer.from(a.state), Buffer.from(b.state)) ||
    compareBytes(a.key, b.key) ||
    compareBytes(a.sub, b.sub)
  );
}
