import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MillraceError, memoryByteFiles, seededRandom } from '../../base/index.js';
import { compareBytes, LoadedSegment, SegmentBuilder } from '../../checkpoint/index.js';
import { hashEntry, hashState } from '../tables/entry-hash.js';
import { buildOverlayIndex, pageBytes } from './overlay-index-format.js';
import { ENTRY, NOTHING, OverlaySegment, REMOVED } from './overlay-segment.js';

interface Entry {
  readonly keyGroup: number;
  readonly state: number;
  readonly key: string;
  readonly sub: string;
  /** Undefined: a tombstone. */
  readonly payload: string | undefined;
}

const names = ['alpha', 'beta'];
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** Sorted, each once. */
function segmentOf(entries: readonly Entry[]): Uint8Array {
  const sorted = [...new Map(entries.map((e) => [`${e.keyGroup}/${e.state}/${e.key}/${e.sub}`, e])).values()].sort(
    (a, b) =>
      a.keyGroup - b.keyGroup ||
      a.state - b.state ||
      compareBytes(bytes(a.key), bytes(b.key)) ||
      compareBytes(bytes(a.sub), bytes(b.sub)),
  );
  const builder = new SegmentBuilder({
    checkpointId: 1,
    full: false,
    range: { first: 0, last: 127 },
    states: names.map((name, i) => ({ name, meta: Uint8Array.of(i), value: undefined })),
  });
  for (const { keyGroup, state, key, sub, payload } of sorted) {
    builder.add(keyGroup, state, bytes(key), bytes(sub), bytes(payload ?? ''), payload === undefined);
  }
  return builder.finish().bytes;
}

function open(segment: Uint8Array, index: Uint8Array, before = 0, checksum?: bigint): OverlaySegment {
  const padded = new Uint8Array(before + segment.length);
  padded.set(segment, before);
  const files = memoryByteFiles((path) => (path === 'segment' ? padded : index));
  return new OverlaySegment({ segment: files.open('segment'), offset: before, index: files.open('index') }, checksum);
}

/** The payload, `removed` or undefined. */
function look(overlay: OverlaySegment, { keyGroup, state, key, sub }: Omit<Entry, 'payload'>): string | undefined {
  const hash = hashEntry(hashState(names[state] as string), bytes(key), bytes(sub));
  const answer = overlay.find(keyGroup, state, bytes(key), bytes(sub), hash);
  if (answer === NOTHING) return undefined;
  if (answer === REMOVED) return 'removed';
  equal(answer, ENTRY);
  return `payload ${Buffer.from(overlay.bytes.slice(overlay.start, overlay.end)).toString()}`;
}

const text = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom('', 'a', 'b', 'ab', 'abc', '\0') },
  { weight: 1, arbitrary: fc.constantFrom(200, 260, 5000).map((n) => 'x'.repeat(n)) },
);
const entry: fc.Arbitrary<Entry> = fc.record({
  keyGroup: fc.constantFrom(0, 1, 127),
  state: fc.constantFrom(0, 1),
  key: text,
  sub: text,
  payload: fc.option(text, { nil: undefined }),
});

test('every entry is found, and nothing else; pages in memory or not', () => {
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 40 }),
      fc.array(entry, { maxLength: 40 }),
      fc.constantFrom(0, 999),
      (entries, others, before) => {
        const segment = segmentOf(entries);
        const overlay = open(segment, buildOverlayIndex(segment), before);
        const model = new Map(entries.map((e) => [`${e.keyGroup}/${e.state}/${e.key}/${e.sub}`, e.payload]));
        const check = () => {
          for (const e of [...entries, ...others]) {
            const name = `${e.keyGroup}/${e.state}/${e.key}/${e.sub}`;
            const payload = model.get(name);
            const expected = payload === undefined ? (model.has(name) ? 'removed' : undefined) : `payload ${payload}`;
            equal(look(overlay, e), expected);
          }
        };
        check();
        const shared = overlay.load();
        equal(overlay.loadedBytes, overlay.pagesBytes);
        check();
        overlay.unload();
        equal(overlay.loadedBytes, 0);
        check();
        overlay.load(shared);
        check();
        deepEqual(overlay.index, new LoadedSegment(segment).index);
      },
    ),
  );
});

const many = 30_000;

test('fingerprints that happen to be the same mislead nobody', () => {
  const random = seededRandom(7);
  const numbers = Array.from({ length: many }, () => random.u32());
  // Half of them differ in the key alone, half in the sub key alone.
  const entries = numbers.map((n, i) => {
    const parts = i % 2 === 0 ? { key: `${n}`, sub: 'same' } : { key: 'same', sub: `${n}` };
    return { keyGroup: 5, state: 0, ...parts, payload: `${n}` };
  });
  const segment = segmentOf(entries);
  const overlay = open(segment, buildOverlayIndex(segment));
  overlay.load();
  ok(overlay.pagesBytes < many * 9, `${overlay.pagesBytes / many} bytes an entry`);
  for (const e of entries) {
    equal(look(overlay, e), `payload ${e.payload}`);
    // The same key of another state; another key, or another sub key, of the same.
    equal(look(overlay, { ...e, state: 1 }), undefined);
    for (const other of 'uvwxyz') {
      equal(look(overlay, { ...e, key: other + e.key.slice(1) }), undefined);
      equal(look(overlay, { ...e, sub: other + e.sub.slice(1) }), undefined);
    }
  }
});

test('damage anywhere is noticed before it is believed', () => {
  const entries = Array.from({ length: 3000 }, (_, i) => ({
    keyGroup: i % 8,
    state: i % 2,
    key: `${i}`,
    sub: '',
    payload: i % 5 === 0 ? undefined : `value ${i}`,
  }));
  const segment = segmentOf(entries);
  const index = buildOverlayIndex(segment);
  const { indexBytes } = {
    indexBytes: segment.length - new LoadedSegment(segment).index.blocks.reduce((n, b) => n + b.length, 0),
  };
  const random = seededRandom(3);
  let noticed = 0;
  for (let i = 0; i < 400; i++) {
    const ofIndex = i % 2 === 0;
    const damaged = (ofIndex ? index : segment).slice();
    const at = random.below(ofIndex ? damaged.length : damaged.length - indexBytes);
    damaged[at] = (damaged[at] as number) ^ (1 << random.below(8));
    try {
      const overlay = ofIndex ? open(segment, damaged) : open(damaged, index);
      if (random.chance(0.5)) overlay.load();
      for (const e of entries) {
        equal(look(overlay, e), e.payload === undefined ? 'removed' : `payload ${e.payload}`, `byte ${at}`);
      }
    } catch (thrown) {
      if (!(thrown instanceof MillraceError)) throw thrown;
      equal(thrown.code, 'SEGMENT_CORRUPT', thrown.message);
      noticed++;
    }
  }
  // What is left stands in padding.
  ok(noticed > 300, `${noticed}`);
  for (const length of [0, 100, pageBytes, index.length - pageBytes, index.length - 1]) {
    throws(() => open(segment, index.slice(0, length)), { code: 'SEGMENT_CORRUPT' });
  }
  throws(() => open(segment, index, 0, 5n), { code: 'SEGMENT_CORRUPT' });
  throws(() => buildOverlayIndex(segment.map((byte, i) => (i === 100 ? byte ^ 1 : byte))), { code: 'SEGMENT_CORRUPT' });
});
