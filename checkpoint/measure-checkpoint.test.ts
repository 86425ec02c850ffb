import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../base/index.js';
import { MemoryBlobStore } from './blob/memory-blob-store.js';
import { CheckpointedJob } from './checkpointed-job.test.support.js';
import { measureCheckpoint } from './measure-checkpoint.js';
import { SegmentBuilder } from './segment/segment-builder.js';
import { segmentOf } from './segment/segment-of.test.support.js';
import { describeSegment } from './segment/stored-segment.js';

describe('sizes of a checkpoint', () => {
  it('are those of its segments, by task and state', async () => {
    const store = new MemoryBlobStore();
    const job = await CheckpointedJob.start(store, { random: seededRandom(9) });
    await job.checkpoint();
    await job.checkpoint({ inline: true });
    const manifest = await job.checkpoint();
    const sizes = await measureCheckpoint(store, manifest);
    for (const [at, { task, segments }] of manifest.tasks.entries()) {
      const size = sizes[at];
      equal(size?.task, task);
      equal(size?.segments, 3);
      equal(
        size?.bytes,
        segments.reduce((sum, ref) => sum + ref.length, 0),
      );
      deepEqual(
        size?.states.map((s) => s.state.name),
        ['counts', 'names'],
      );
      equal(
        size?.states.reduce((sum, s) => sum + s.entries, 0),
        size?.entries,
      );
      // Entries, without indexes; a value is counted too.
      const values = 3;
      const stored = segments.reduce((sum, ref) => sum + ref.length - ref.indexBytes, 0);
      equal(
        size?.states.reduce((sum, s) => sum + s.bytes, 0),
        stored + values,
      );
      const grouped = (size?.keyGroupBytes ?? []).reduce((sum, bytes) => sum + bytes, 0);
      ok(Math.abs(grouped - stored) < 1e-6, `${grouped} ${stored}`);
    }
  });

  it('by key group are exact where blocks are small enough, and shared out evenly where they are not', async () => {
    const range = { first: 4, last: 9 };
    const builder = new SegmentBuilder({
      checkpointId: 1,
      full: true,
      range,
      states: [{ name: 's', meta: new Uint8Array(1), value: undefined }],
    });
    // Two blocks of key group 5 alone, then one that holds the rest.
    const none = new Uint8Array(0);
    for (const key of ['a', 'b']) builder.add(5, 0, Buffer.from(key), none, new Uint8Array(40_000), false);
    builder.add(6, 0, Buffer.from('a'), none, new Uint8Array(400), false);
    const { bytes } = builder.finish();
    const store = new MemoryBlobStore();
    await store.put('segments/a', bytes);
    const task = (segments: Uint8Array[]) => ({
      task: 't',
      finished: false,
      position: '{}',
      segments: segments.map((s) => ({ ...describeSegment(s), object: 'segments/a', offset: 0, deltas: 1 })),
    });
    const manifest = { format: 2, checkpointId: 1, epoch: 1, meta: '', final: false } as const;
    const [size] = await measureCheckpoint(store, { ...manifest, tasks: [task([bytes])] });
    equal(size?.firstKeyGroup, 4);
    const groups = [...(size?.keyGroupBytes ?? [])].map((n) => Math.round(n / 100) * 100);
    deepEqual(groups, [0, 80_000, 100, 100, 100, 100]);
  });

  it('of tasks without segments are nothing', async () => {
    const tasks = [{ task: 't', finished: true, position: '{}', segments: [] }];
    const manifest = { format: 2, checkpointId: 1, epoch: 1, meta: '', final: true, tasks } as const;
    const [size] = await measureCheckpoint(new MemoryBlobStore(), manifest);
    deepEqual([size?.bytes, size?.keyGroupBytes.length, size?.states], [0, 0, []]);
    ok(segmentOf([]).length > 0);
  });
});
