import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { type MergeOptions, mergeSegments } from './merge-segments.js';
import {
  Amount,
  built,
  compareEntries,
  keyGroups,
  keyGroupsMax,
  loadedContent,
  type SegmentContent,
  segmentContent,
  stored,
  within,
} from './random-segments.test.support.js';
import { SegmentBuilder } from './segment-builder.js';
import type { KeyGroups } from './segment-format.js';
import { describeSegment, StoredSegment } from './stored-segment.js';

const whole: KeyGroups = { first: 0, last: keyGroupsMax - 1 };

/** What a merge gives, with its outputs as they came. */
async function merged(contents: readonly SegmentContent[], options: Partial<MergeOptions>) {
  const store = new MemoryBlobStore();
  const segments: StoredSegment[] = [];
  for (const [i, content] of contents.entries()) {
    segments.push(await StoredSegment.open(store, await stored(store, `s${i}`, built(content))));
  }
  const outputs: SegmentContent[] = [];
  const all = { checkpointId: 7, range: whole, full: false, bytesTarget: 500, breathe: async () => {}, ...options };
  for await (const { bytes, range, full } of mergeSegments(segments, all)) {
    const content = loadedContent(bytes);
    deepEqual([content.range, content.full], [range, full], 'an output is what it says');
    deepEqual([...content.entries].sort(compareEntries), content.entries, 'an output is sorted');
    outputs.push(content);
  }
  return outputs;
}

/** Deltas: what a full segment hides is planned around, never merged over. */
const deltas = fc.array(segmentContent({ full: false }), { minLength: 1, maxLength: 8 });
const sizes = fc.constantFrom(1, 100, 1000, 1e6);
const boundaries = fc.uniqueArray(fc.nat(keyGroupsMax), { maxLength: 6 });

/** What older segments leave to be hidden, and newer ones to hide it. */
function isSame(older: SegmentContent, merges: readonly SegmentContent[], contents: readonly SegmentContent[]): void {
  deepEqual(Amount.of([older, ...merges]).plain, Amount.of([older, ...contents]).plain);
}

describe('merging segments', () => {
  it('changes nothing for whatever lies below them', async () => {
    await fc.assert(
      fc.asyncProperty(segmentContent(), deltas, sizes, boundaries, async (older, contents, bytesTarget, ends) => {
        isSame(older, await merged(contents, { bytesTarget, boundaries: ends }), contents);
      }),
    );
  });

  it('in full says all there is, without tombstones', async () => {
    await fc.assert(
      fc.asyncProperty(deltas, sizes, boundaries, async (contents, bytesTarget, ends) => {
        const outputs = await merged(contents, { full: true, bytesTarget, boundaries: ends });
        for (const { full, entries } of outputs) {
          ok(full);
          ok(
            entries.every(({ value }) => value !== undefined),
            'a tombstone is left',
          );
        }
        deepEqual(Amount.of(outputs).plain, Amount.of(contents).plain);
      }),
    );
  });

  it('of some key groups says what there is in them', async () => {
    await fc.assert(
      fc.asyncProperty(deltas, keyGroups, sizes, fc.boolean(), async (contents, range, bytesTarget, full) => {
        const outputs = await merged(contents, { range, full, bytesTarget });
        const inside = contents.map((content) => ({
          ...content,
          entries: content.entries.filter(({ keyGroup }) => within(range, keyGroup)),
        }));
        deepEqual(Amount.of(outputs).plain, Amount.of(inside).plain);
        for (const output of outputs) ok(output.range.first >= range.first && output.range.last <= range.last);
      }),
    );
  });

  it('gives outputs that share no key group, of the size asked for, within the boundaries', async () => {
    await fc.assert(
      fc.asyncProperty(deltas, sizes, boundaries, fc.boolean(), async (contents, bytesTarget, ends, full) => {
        const outputs = await merged(contents, { bytesTarget, boundaries: ends, full });
        let next = 0;
        for (const { range, entries } of outputs) {
          ok(range.first >= next && range.last >= range.first, `${range.first} to ${range.last} after ${next}`);
          next = range.last + 1;
          ok(!ends.some((end) => end >= range.first && end < range.last), 'an output lies across a boundary');
          for (const { keyGroup } of entries) ok(within(range, keyGroup));
          // The last key group may make it as large as that is; no other one comes after it is large enough.
          const before = entries.filter(({ keyGroup }) => keyGroup < (entries.at(-1)?.keyGroup ?? 0));
          const bytesBefore = before.reduce((sum, e) => sum + e.key.length + e.sub.length + (e.value?.length ?? 0), 0);
          ok(bytesBefore < bytesTarget, `${bytesBefore} bytes, and then another key group`);
        }
        ok(next <= keyGroupsMax);
      }),
    );
  });

  it('hands on a key in one version only, the newest', async () => {
    await fc.assert(
      fc.asyncProperty(deltas, sizes, async (contents, bytesTarget) => {
        const [first] = await merged([...contents, ...contents, ...contents], { bytesTarget: 1e9 });
        const again = await merged(first === undefined ? [] : [first], { bytesTarget });
        // Merged once more nothing changes, so there was nothing left to merge.
        deepEqual(
          again.flatMap(({ entries }) => entries),
          first?.entries ?? [],
        );
      }),
    );
  });

  it('keeps the newest value that is not keyed, in one output, also where there is no entry at all', async () => {
    const value = (text: string | undefined) => new Map([['a', text === undefined ? undefined : Buffer.from(text)]]);
    const delta = (text: string | undefined): SegmentContent => ({
      full: false,
      range: whole,
      states: value(text),
      entries: [],
    });
    for (const full of [false, true]) {
      const outputs = await merged([delta('old'), delta('new'), delta(undefined)], { full, boundaries: [3, 6] });
      deepEqual(
        outputs.map(({ states }) => states.get('a')?.toString()).filter((text) => text !== undefined),
        ['new'].map((text) => new Uint8Array(Buffer.from(text)).toString()),
      );
      deepEqual(await merged([delta(undefined)], { full }), []);
    }
  });

  it('takes segments with other states than the others have', async () => {
    const only = (name: string, key: number): SegmentContent => ({
      full: false,
      range: whole,
      states: new Map([[name, undefined]]),
      entries: [
        { keyGroup: 1, state: name, key: Uint8Array.of(key), sub: new Uint8Array(0), value: Uint8Array.of(key) },
      ],
    });
    // By UTF-16 the first would come after the second.
    const contents = [only('\uFFFD', 1), only('\u{1F600}', 2), only('a', 3)];
    const [output] = await merged(contents, {});
    deepEqual(
      output?.entries.map(({ state }) => state),
      ['a', '\uFFFD', '\u{1F600}'],
    );
  });

  it('refuses segments that disagree about how a state is stored', async () => {
    const store = new MemoryBlobStore();
    const segments: StoredSegment[] = [];
    for (const meta of [1, 2]) {
      const states = [{ name: 'a', meta: Uint8Array.of(meta), value: undefined }];
      const { bytes } = new SegmentBuilder({ checkpointId: 1, full: false, range: whole, states }).finish();
      await store.put(`s${meta}`, bytes);
      segments.push(
        await StoredSegment.open(store, { ...describeSegment(bytes), object: `s${meta}`, offset: 0, deltas: 1 }),
      );
    }
    const options = { checkpointId: 1, range: whole, full: false, bytesTarget: 1, breathe: async () => {} };
    await rejects(async () => mergeSegments(segments, options).next(), { code: 'SEGMENT_STATES', message: /"a"/ });
  });

  it('lets others work, now and then', async () => {
    let breaths = 0;
    const range = { first: 0, last: 0 };
    const content: SegmentContent = {
      full: false,
      range,
      states: new Map([['a', undefined]]),
      entries: Array.from({ length: 10_000 }, (_, i) => ({
        keyGroup: 0,
        state: 'a',
        key: Uint8Array.of(i >> 8, i & 255),
        sub: new Uint8Array(0),
        value: Uint8Array.of(1),
      })),
    };
    const [output] = await merged([content], {
      range,
      bytesTarget: 1e6,
      breathe: async () => {
        breaths++;
      },
    });
    equal(output?.entries.length, 10_000);
    ok(breaths >= 2, `${breaths} times`);
  });
});
