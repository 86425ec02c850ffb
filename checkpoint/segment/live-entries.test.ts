import { deepEqual, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import type { SegmentRef } from '../manifest.js';
import { LiveEntries } from './live-entries.js';
import { SegmentBuilder } from './segment-builder.js';
import { describeSegment } from './stored-segment.js';

const groups = 8;
const meta = Uint8Array.of(1);
const breathe = async () => {};

interface Written {
  readonly full: boolean;
  readonly range: readonly [number, number];
  readonly entries: readonly {
    readonly group: number;
    readonly state: number;
    readonly key: number;
    readonly value: number | null;
  }[];
}

const written: fc.Arbitrary<Written> = fc.record({
  full: fc.boolean(),
  range: fc.tuple(fc.nat(groups - 1), fc.nat(groups - 1)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
  entries: fc.array(
    fc.record({ group: fc.nat(groups - 1), state: fc.nat(1), key: fc.nat(3), value: fc.option(fc.nat(99)) }),
    { maxLength: 30 },
  ),
});

/** Of each identity the last one, in range; a full segment has no tombstones. */
function wanted({ full, range: [first, last], entries }: Written) {
  const byName = new Map(entries.map((e) => [`${e.group}/${e.state}/${e.key}`, e]));
  return [...byName.values()]
    .filter((e) => e.group >= first && e.group <= last && !(full && e.value === null))
    .sort((a, b) => a.group - b.group || a.state - b.state || a.key - b.key);
}

async function store(blobs: MemoryBlobStore, segments: readonly Written[]): Promise<SegmentRef[]> {
  const refs: SegmentRef[] = [];
  for (const [at, segment] of segments.entries()) {
    const [first, last] = segment.range;
    const value = Buffer.from(`value ${at}`);
    const builder = new SegmentBuilder({
      checkpointId: at,
      full: segment.full,
      range: { first, last },
      states: [
        { name: 'a', meta, value: undefined },
        { name: 'b', meta, value: at % 2 === 0 ? value : undefined },
      ],
    });
    for (const { group, state, key, value } of wanted(segment)) {
      const payload = Buffer.from(String(value ?? ''));
      builder.add(group, state, Buffer.from(`k${key}`), new Uint8Array(0), payload, value === null);
    }
    const { bytes } = builder.finish();
    await blobs.put(`segments/${at}`, bytes);
    refs.push({ ...describeSegment(bytes), object: `segments/${at}`, offset: 0, deltas: 1 });
  }
  return refs;
}

describe('live entries', () => {
  it('are what applying the segments one after another leaves, a full one first clearing its key groups', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(written, { maxLength: 6 }), async (segments) => {
        const model = new Map<string, string>();
        for (const segment of segments) {
          const [first, last] = segment.range;
          for (const name of [...model.keys()]) {
            const group = Number(name.split('/')[0]);
            if (segment.full && group >= first && group <= last) model.delete(name);
          }
          for (const { group, state, key, value } of wanted(segment)) {
            if (value === null) model.delete(`${group}/${state}/k${key}`);
            else model.set(`${group}/${state}/k${key}`, String(value));
          }
        }
        const blobs = new MemoryBlobStore();
        const entries = await LiveEntries.open(blobs, await store(blobs, segments), { breathe });
        const found: [string, string][] = [];
        let order = '';
        const { cursor } = entries;
        for await (const _ of entries.blocks()) {
          while (cursor.next()) {
            const key = Buffer.from(cursor.key).toString();
            const name = `${cursor.keyGroup}/${entries.state}/${key}`;
            ok(name > order, `${name} came after ${order}`);
            order = name;
            found.push([name, Buffer.from(cursor.payload).toString()]);
          }
        }
        deepEqual(
          found,
          [...model].sort(([a], [b]) => (a < b ? -1 : 1)),
        );
        if (segments.length === 0) return;
        const newest = segments.length - 1 - ((segments.length - 1) % 2);
        deepEqual(
          entries.states.map(({ name, value }) => [name, value && Buffer.from(value).toString()]),
          [
            ['a', undefined],
            ['b', `value ${newest}`],
          ],
        );
      }),
      { numRuns: 300 },
    );
  });
});
