import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MillraceError, xxh64 } from '../../base/index.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import type { SegmentRef } from '../manifest.js';
import {
  built,
  entriesIn,
  keyGroups,
  loadedContent,
  type NamedEntry,
  segmentContent,
  stored,
  storedContent,
  within,
} from './random-segments.test.support.js';
import { SegmentBuilder } from './segment-builder.js';
import { SegmentWriter } from './segment-bytes.js';
import { SegmentCursor } from './segment-cursor.js';
import { blockBytesTarget, blocksOf, decodeIndex, trailerBytes } from './segment-format.js';
import { describeSegment, LoadedSegment, readSegment, StoredSegment } from './stored-segment.js';

const plain = (entries: readonly NamedEntry[]) =>
  entries.map(({ keyGroup, state, key, sub, value }) => [keyGroup, state, [...key], [...sub], value && [...value]]);

/** Looks at all of a segment, as a restore does. */
function walk(bytes: Uint8Array): void {
  const segment = new LoadedSegment(bytes);
  entriesIn(
    segment.index,
    segment.index.blocks.map((_, i) => segment.block(i)),
  );
}

function codeOf(fn: () => void): string {
  try {
    fn();
    return 'none';
  } catch (thrown) {
    ok(thrown instanceof MillraceError, `not a MillraceError: ${thrown}`);
    return thrown.code;
  }
}

describe('a segment', () => {
  it('is read as it was built, whole and by ranges, from an object and from HEAD', async () => {
    await fc.assert(
      fc.asyncProperty(segmentContent(), async (content) => {
        const bytes = built(content, 77);
        for (const found of [loadedContent(bytes), await storedContent(...(await inObject(bytes)))]) {
          deepEqual(plain(found.entries), plain(content.entries));
          deepEqual({ full: found.full, range: found.range }, { full: content.full, range: content.range });
          deepEqual([...found.states].sort(), [...content.states].sort());
        }
        const inline = { ...describeSegment(bytes), object: '', offset: 0, deltas: 1 };
        const ref: SegmentRef = { ...inline, inline: Buffer.from(bytes).toString('base64') };
        const store = new MemoryBlobStore();
        deepEqual(plain((await storedContent(store, ref)).entries), plain(content.entries));
        deepEqual(await readSegment(store, ref), bytes);
      }),
    );
  });

  it('says of itself what it holds', () => {
    fc.assert(
      fc.property(segmentContent(), fc.nat(2 ** 50), (content, checkpointId) => {
        const bytes = built(content, checkpointId);
        const { index } = new LoadedSegment(bytes);
        equal(index.checkpointId, checkpointId);
        equal(index.entries, content.entries.length);
        equal(index.tombstones, content.entries.filter(({ value }) => value === undefined).length);
        index.states.forEach(({ name }, i) => {
          equal(index.sizes[i]?.entries, content.entries.filter(({ state }) => state === name).length, name);
        });
        const inBlocks = index.blocks.reduce((sum, { length }) => sum + length, 0);
        equal(
          index.sizes.reduce((sum, { bytes: size }) => sum + size, 0),
          inBlocks,
        );
        equal(
          index.blocks.reduce((sum, { entries }) => sum + entries, 0),
          index.entries,
        );
        for (const { length, entries } of index.blocks)
          ok(length < 2 * blockBytesTarget || entries === 1 || length < 130_000);
      }),
    );
  });

  it('has all entries of some key groups in the blocks that are told for them', async () => {
    await fc.assert(
      fc.asyncProperty(segmentContent(), keyGroups, async (content, range) => {
        const segment = await StoredSegment.open(...(await inObject(built(content))));
        const { from, to } = blocksOf(segment.index, range);
        const found = entriesIn(segment.index, await segment.blocks(from, to));
        const wanted = (entries: readonly NamedEntry[]) => plain(entries.filter((e) => within(range, e.keyGroup)));
        deepEqual(wanted(found), wanted(content.entries));
      }),
    );
  });

  it('is written in order only', () => {
    fc.assert(
      fc.property(segmentContent(), fc.nat(), (content, at) => {
        const { entries } = content;
        fc.pre(entries.length > 1);
        const i = at % (entries.length - 1);
        const swapped = [...entries];
        [swapped[i], swapped[i + 1]] = [entries[i + 1] as NamedEntry, entries[i] as NamedEntry];
        throws(() => built({ ...content, entries: swapped }), { code: 'SEGMENT_ORDER', kind: 'invalid' });
        const doubled = [...entries.slice(0, i + 1), ...entries.slice(i)];
        throws(() => built({ ...content, entries: doubled }), { code: 'SEGMENT_ORDER' });
      }),
    );
  });

  it('with no entry, no state and no key is one all the same', () => {
    const range = { first: 0, last: 0 };
    const bytes = new SegmentBuilder({ checkpointId: 0, full: true, range, states: [] }).finish().bytes;
    equal(new LoadedSegment(bytes).index.entries, 0);
    const single = new SegmentBuilder({
      checkpointId: 0,
      full: false,
      range,
      states: [{ name: '', meta: new Uint8Array(0), value: undefined }],
    });
    single.add(0, 0, new Uint8Array(0), new Uint8Array(0), new Uint8Array(0), false);
    const found = loadedContent(single.finish().bytes);
    deepEqual(plain(found.entries), [[0, '', [], [], []]]);
  });
});

describe('a damaged segment', () => {
  it('is refused wherever a byte of it is altered', async () => {
    await fc.assert(
      fc.asyncProperty(segmentContent(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (content, where, flip) => {
        const bytes = built(content);
        const damaged = bytes.slice();
        const at = where % bytes.length;
        damaged[at] = (damaged[at] as number) ^ flip;
        equal(
          codeOf(() => walk(damaged)),
          'SEGMENT_CORRUPT',
          `at ${at} of ${bytes.length}`,
        );
        await refused(bytes, damaged);
      }),
      { numRuns: 300 },
    );
  });

  it('is refused at every single byte and cut of a small one', () => {
    const content = fc.sample(segmentContent(), { numRuns: 50, seed: 5 }).find(({ entries }) => entries.length > 3);
    ok(content);
    const bytes = built({ ...content, entries: content.entries.slice(0, 4) });
    for (let at = 0; at < bytes.length; at++) {
      equal(
        codeOf(() => walk(bytes.subarray(0, at))),
        'SEGMENT_CORRUPT',
        `cut at ${at}`,
      );
      const damaged = bytes.slice();
      damaged[at] = (damaged[at] as number) ^ 0x40;
      equal(
        codeOf(() => walk(damaged)),
        'SEGMENT_CORRUPT',
        `altered at ${at}`,
      );
    }
  });

  it('is refused wherever it is cut, on either side, or has bytes too many', async () => {
    await fc.assert(
      fc.asyncProperty(segmentContent(), fc.nat(), async (content, where) => {
        const bytes = built(content);
        const at = where % bytes.length;
        for (const damaged of [
          bytes.subarray(0, at),
          bytes.subarray(at + 1),
          Buffer.concat([bytes.subarray(0, at), Uint8Array.of(0), bytes.subarray(at)]),
        ]) {
          equal(
            codeOf(() => walk(damaged)),
            'SEGMENT_CORRUPT',
            `at ${at} of ${bytes.length}`,
          );
          await refused(bytes, damaged);
        }
      }),
    );
  });

  it('is refused when another whole one stands in its place', async () => {
    await fc.assert(
      fc.asyncProperty(segmentContent(), segmentContent(), async (content, other) => {
        const [bytes, otherBytes] = [built(content), built(other)];
        fc.pre(Buffer.compare(bytes, otherBytes) !== 0);
        await refused(bytes, otherBytes);
      }),
    );
  });

  it('is refused in words, not by a crash, even when its checksums are right', () => {
    fc.assert(
      fc.property(segmentContent(), fc.nat(), fc.uint8Array({ maxLength: 8 }), (content, where, noise) => {
        const bytes = built(content);
        const { indexBytes } = describeSegment(bytes);
        const index = bytes.slice(bytes.length - indexBytes, bytes.length - trailerBytes);
        index.set(
          noise.subarray(0, index.length),
          where % index.length > index.length - noise.length ? 0 : where % index.length,
        );
        const writer = new SegmentWriter(index.length + trailerBytes);
        writer.bytes(index, 0, index.length);
        writer.u64(xxh64(index));
        writer.bytes(bytes, bytes.length - 8, bytes.length);
        const code = codeOf(() => decodeIndex(writer.written(), bytes.length));
        ok(['none', 'SEGMENT_CORRUPT', 'SEGMENT_VERSION'].includes(code), code);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (block) => {
        const cursor = new SegmentCursor();
        cursor.load(block);
        const code = codeOf(() => {
          for (let entries = 0; cursor.next(); entries++) ok(entries < 100, 'it walks on for ever');
        });
        ok(['none', 'SEGMENT_CORRUPT'].includes(code), code);
      }),
      { numRuns: 1000 },
    );
  });
});

async function inObject(bytes: Uint8Array): Promise<[MemoryBlobStore, SegmentRef]> {
  const store = new MemoryBlobStore();
  return [store, await stored(store, 'segments/1-1-h-0', bytes)];
}

/** What a store gives instead of the segment that was referred to: it is refused in every way of reading it. */
async function refused(bytes: Uint8Array, instead: Uint8Array): Promise<void> {
  const store = new MemoryBlobStore();
  await store.put('x', instead);
  const ref = { ...describeSegment(bytes), object: 'x', offset: 0, deltas: 1 };
  const corrupt = { code: 'SEGMENT_CORRUPT', kind: 'corrupt', message: /segment in x at 0/ };
  await rejects(readSegment(store, ref), corrupt);
  await rejects(async () => {
    const segment = await StoredSegment.open(store, ref);
    await segment.blocks(0, segment.index.blocks.length);
  }, corrupt);
}
