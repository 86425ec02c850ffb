import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom, xxh64 } from '../base/index.js';
import { DyingStore } from './blob/dying-store.test.support.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { breathe, CheckpointedJob } from './checkpointed-job.test.support.js';
import type { Manifest, SegmentRef } from './manifest.js';
import { decodeIndex, encodeIndex, type SegmentIndex } from './segment/segment-format.js';
import { segmentOf } from './segment/segment-of.test.support.js';
import { describeSegment } from './segment/stored-segment.js';
import { verifySegment } from './segment/verify-segment.js';
import { verifyCheckpoint } from './verify.js';

const quick = { deep: false, breathe };
const deep = { deep: true, breathe };

async function jobWith(checkpoints: number, options: { readonly inline?: boolean } = {}) {
  const store = new MemoryBlobStore();
  // Segments of several blocks.
  const job = await CheckpointedJob.start(store, { random: seededRandom(11), valueBytes: 2000 });
  let manifest = await job.checkpoint({ changes: 100, ...options });
  for (let i = 1; i < checkpoints; i++) manifest = await job.checkpoint({ changes: 60, ...options });
  return { store, manifest };
}

/** Replaces an object's bytes. */
async function rewrite(store: MemoryBlobStore, name: string, change: (bytes: Uint8Array) => Uint8Array): Promise<void> {
  const bytes = await store.get(name);
  await store.delete(name);
  await store.put(name, change(bytes));
}

const flipped = (at: number) => (bytes: Uint8Array) => {
  const copy = bytes.slice();
  copy[at] = (copy[at] as number) ^ 4;
  return copy;
};

function segmentsOf(manifest: Manifest): readonly SegmentRef[] {
  return manifest.tasks.flatMap((task) => task.segments);
}

describe('verifying a checkpoint', () => {
  it('finds nothing wrong where nothing is, whatever is inline', async () => {
    for (const inline of [false, true]) {
      const { store, manifest } = await jobWith(3, { inline });
      for (const options of [quick, deep]) {
        const found = await verifyCheckpoint(store, manifest, options);
        deepEqual([found.problems, found.segments], [[], 6]);
      }
      const total = segmentsOf(manifest).reduce((sum, ref) => sum + ref.length, 0);
      equal((await verifyCheckpoint(store, manifest, deep)).bytes, total, 'every byte was looked at');
    }
  });

  it('names each thing that is missing, cut short or altered, and its task, all at once', async () => {
    const { store, manifest } = await jobWith(3);
    const [missing, cut, altered] = segmentsOf(manifest).map((ref) => ref.object) as [string, string, string];
    await store.delete(missing);
    await rewrite(store, cut, (bytes) => bytes.subarray(0, bytes.length - 1));
    await rewrite(store, altered, (bytes) => flipped(bytes.length - 20)(bytes));
    for (const options of [quick, deep]) {
      const { problems } = await verifyCheckpoint(store, manifest, options);
      deepEqual(
        problems.map(({ code, task, object }) => [code, task, object]),
        [missing, cut, altered].map((object) => ['SEGMENT_CORRUPT', 'task-0', object]),
      );
      match(problems[0]?.what ?? '', /segments\/1-1-host-.* is missing/);
      match(problems[1]?.what ?? '', /has \d+ bytes, not \d+|not the one referred to|does not end/);
      match(problems[2]?.what ?? '', /checksum of its index differs/);
      ok(problems.every(({ what }) => !what.includes('\n')));
    }
  });

  it('any altered byte is found by a deep look; one inside a block is not by a quick one', async () => {
    const { store, manifest } = await jobWith(1);
    const ref = segmentsOf(manifest)[0] as SegmentRef;
    ok(ref.length > 3 * 32 * 1024, 'several blocks');
    const random = seededRandom(5);
    for (let i = 0; i < 40; i++) {
      const at = i < 20 ? random.below(ref.length - ref.indexBytes) : random.below(ref.length);
      await rewrite(store, ref.object, flipped(at));
      const { problems } = await verifyCheckpoint(store, manifest, deep);
      equal(problems.length, 1, `byte ${at} of ${ref.length}`);
      const seen = (await verifyCheckpoint(store, manifest, quick)).problems.length;
      equal(seen, at >= ref.length - ref.indexBytes ? 1 : 0, `byte ${at} of ${ref.length}, quick`);
      await rewrite(store, ref.object, flipped(at));
    }
    deepEqual((await verifyCheckpoint(store, manifest, deep)).problems, []);
  });

  it('a segment that is a good one, but another, is found', async () => {
    const { store, manifest } = await jobWith(1);
    const [one, other] = segmentsOf(manifest) as [SegmentRef, SegmentRef];
    const bytes = await store.get(other.object);
    await rewrite(store, one.object, () => bytes);
    const { problems } = await verifyCheckpoint(store, manifest, quick);
    deepEqual(
      problems.map((p) => p.object),
      [one.object],
    );
    const wrongRange = { ...other, first: other.first + 1 };
    match((await verifySegment(store, wrongRange, quick)).damage?.what ?? '', /other key groups than the manifest/);
    match((await verifySegment(store, { ...other, full: !other.full }, quick)).damage?.what ?? '', /than the manifest/);
  });

  it('a store that gives no answer is not damage', async () => {
    const { store, manifest } = await jobWith(2);
    for (let at = 1; at < 4; at++) {
      await rejects(verifyCheckpoint(new DyingStore(store, at), manifest, deep), { code: 'STORE_UNAVAILABLE' });
    }
  });

  it('a stop is obeyed', async () => {
    const { store, manifest } = await jobWith(2);
    const signal = AbortSignal.abort();
    await rejects(verifyCheckpoint(store, manifest, { ...deep, signal }), { code: 'STOPPED', kind: 'closed' });
  });

  it('shared segments are read once', async () => {
    const { store, manifest } = await jobWith(3);
    const counted = new DyingStore(store);
    const known = new Map();
    await verifyCheckpoint(counted, manifest, { ...deep, known });
    const { calls } = counted;
    await verifyCheckpoint(counted, manifest, { ...deep, known });
    equal(counted.calls, calls);
  });
});

describe('verifying a segment whose checksums are right', () => {
  const entries = [
    { keyGroup: 1, key: 'a', value: '1' },
    { keyGroup: 1, key: 'b', value: undefined },
    { keyGroup: 2, key: 'a', value: '2', state: 1 },
  ];

  async function damageOf(change: (index: SegmentIndex) => SegmentIndex, blocks?: Uint8Array): Promise<string> {
    const bytes = segmentOf(entries);
    const { indexBytes } = describeSegment(bytes);
    const index = decodeIndex(bytes.subarray(bytes.length - indexBytes), bytes.length);
    const body = blocks ?? bytes.subarray(0, bytes.length - indexBytes);
    const changed = Buffer.concat([body, encodeIndex(change(index))]);
    const store = new MemoryBlobStore();
    await store.put('segments/x', changed);
    const ref = { ...describeSegment(changed), object: 'segments/x', offset: 0, deltas: 1 };
    return (await verifySegment(store, ref, deep)).damage?.what ?? 'nothing';
  }

  it('counts that are wrong are found', async () => {
    equal(await damageOf((index) => index), 'nothing');
    match(await damageOf((index) => ({ ...index, entries: 4 })), /it has 3 entries, not 4/);
    match(await damageOf((index) => ({ ...index, tombstones: 0 })), /1 tombstones, not 0/);
    match(
      await damageOf((index) => ({ ...index, sizes: [...index.sizes].reverse() })),
      /its states have other numbers/,
    );
    const block = (change: object) => (index: SegmentIndex) => ({
      ...index,
      blocks: index.blocks.map((b) => ({ ...b, ...change })),
    });
    match(await damageOf(block({ entries: 2 })), /a block has 3 entries, not 2/);
    match(await damageOf(block({ key: Buffer.from('0') })), /begins with another key/);
  });

  it('entries out of order, of no state, or of foreign key groups are found', async () => {
    // tag (2: section), key group u16, state, key length, payload length, key, payload
    const entry = (group: number, state: number, key: string) => [2, group, 0, state, 1, 1, key.charCodeAt(0), 49];
    const withBlock = (...parts: number[][]) => {
      const block = Uint8Array.from(parts.flat());
      const change = (index: SegmentIndex): SegmentIndex => ({
        ...index,
        range: { first: 1, last: 2 },
        entries: parts.length,
        tombstones: 0,
        blocks: [
          {
            offset: 0,
            length: block.length,
            entries: parts.length,
            checksum: xxh64(block),
            keyGroup: 1,
            state: 0,
            key: Buffer.from('a'),
          },
        ],
      });
      return damageOf(change, block);
    };
    match(await withBlock(entry(1, 0, 'a'), entry(2, 1, 'a'), entry(2, 0, 'b')), /entries are not in order/);
    match(await withBlock(entry(1, 0, 'a'), entry(1, 0, 'a')), /entries are not in order/);
    match(await withBlock(entry(1, 0, 'a'), entry(1, 2, 'a')), /belongs to no state/);
    match(await withBlock(entry(1, 0, 'a'), entry(3, 0, 'a')), /of key group 3/);
    equal(await withBlock(entry(1, 0, 'a'), entry(1, 0, 'b'), entry(2, 1, 'a')), 'nothing');
  });
});
