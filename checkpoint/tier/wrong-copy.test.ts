import { deepEqual, equal, rejects } from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { nodeDisk, seededRandom, silentLogger, systemClock } from '../../base/index.js';
import type { BlobStore } from '../blob/blob-store.js';
import { EncryptedBlobStore } from '../blob/encrypted-blob-store.js';
import { MemoryBlobStore } from '../blob/memory-blob-store.js';
import { assertHolds, CheckpointedJob } from '../checkpointed-job.test.support.js';
import type { Manifest } from '../manifest.js';
import { readSegment } from '../segment/stored-segment.js';
import { TieredBlobStore } from './tiered-blob-store.js';

/** A remote whose first answers are altered: whole in length, wrong in content. */
class LyingRemote extends MemoryBlobStore {
  lies = Number.POSITIVE_INFINITY;

  override async get(name: string, range?: { readonly offset: number; readonly length: number }): Promise<Uint8Array> {
    const bytes = new Uint8Array(await super.get(name, range));
    if (this.lies-- > 0) bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    return bytes;
  }
}

for (const sealed of [false, true]) {
  it(`a copy that the remote delivered wrong does not stay in the tier${sealed ? ', encrypted' : ''}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-wrong-copy-'));
    const remote = new LyingRemote();
    const [random, clock] = [seededRandom(3), systemClock()];
    const around = (inner: BlobStore) =>
      sealed
        ? new EncryptedBlobStore({ inner, random, clock, keys: new Map([['k', Buffer.alloc(32, 1)]]), current: 'k' })
        : inner;
    const tier = await TieredBlobStore.open({
      disk: nodeDisk(),
      root: join(folder, 'tier'),
      remote,
      clock,
      random,
      logger: silentLogger(),
      settings: { authority: 'remote' },
    });
    try {
      const job = await CheckpointedJob.start(around(remote), { random: seededRandom(4) });
      remote.lies = 0;
      const manifest: Manifest = await job.checkpoint();
      const ref = manifest.tasks[0]?.segments[0] as Manifest['tasks'][0]['segments'][0];
      const store = around(tier);
      // As long as the remote lies, nothing helps.
      remote.lies = Number.POSITIVE_INFINITY;
      await rejects(readSegment(store, ref), { kind: 'corrupt' });
      remote.lies = 1;
      await store.forget?.(ref.object);
      equal((await readSegment(store, ref)).length, ref.length);
      remote.lies = 0;
      await assertHolds(store, manifest, job.contents.get(1));
      deepEqual(await readSegment(store, ref), await readSegment(around(remote), ref));
    } finally {
      await tier.close();
      rmSync(folder, { recursive: true });
    }
  });
}
