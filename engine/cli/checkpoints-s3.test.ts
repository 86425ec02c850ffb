import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { nodeDisk, seededRandom, systemClock, systemRandom } from '../../base/index.js';
import { assertHolds, CheckpointedJob } from '../../checkpoint/checkpointed-job.test.support.js';
import { DirectoryBlobStore, listKept, type Manifest, S3BlobStore } from '../../checkpoint/index.js';
import { onS3 } from '../../checkpoint/s3/s3-ground.test.support.js';
import { TestPlace } from './spawned-run.test.support.js';

describe('millrace checkpoints on S3', () => {
  const place = new TestPlace();
  after(() => place.remove());

  it('reads a job there, takes a savepoint to a folder, and restores it to another prefix', async () => {
    await onS3(async ({ s3 }) => {
      const tool = async (...args: readonly string[]) => {
        const run = place.start('millrace', [
          'checkpoints',
          ...args,
          '--s3-endpoint',
          s3.url,
          '--s3-region',
          'us-east-1',
        ]);
        return { code: await run.ended, stdout: run.stdout, stderr: run.stderr, json: () => run.result() };
      };
      process.env.AWS_ACCESS_KEY_ID ??= 'test';
      process.env.AWS_SECRET_ACCESS_KEY ??= 'test';
      const open = (prefix: string) =>
        S3BlobStore.open({ bucket: 'test-bucket', prefix, server: s3.server, clock: systemClock() });
      const [here, there] = [await open('jobs/one'), await open('jobs/two')];
      const job = await CheckpointedJob.start(here, { random: seededRandom(17) });
      for (let i = 0; i < 4; i++) await job.checkpoint();
      const url = 's3://test-bucket/jobs/one';

      const ls = await tool('ls', url, '--json');
      equal(ls.code, 0, ls.stderr);
      deepEqual(
        (ls.json() as { checkpoints: { id: number }[] }).checkpoints.map((c) => c.id),
        [4, 3, 2],
      );
      const fsck = await tool('fsck', url, '--deep');
      equal(fsck.code, 0, fsck.stdout + fsck.stderr);
      deepEqual(await here.list('pins/'), []);

      const savepoint = place.path('savepoint');
      const written = await tool('savepoint', url, savepoint, '--checkpoint', '3');
      equal(written.code, 0, written.stderr);
      const restored = await tool('restore', savepoint, 's3://test-bucket/jobs/two');
      equal(restored.code, 0, restored.stderr);
      match(restored.stdout, /millrace run JOB --checkpoint-store s3:\/\/test-bucket\/jobs\/two goes on from it/);
      const { checkpoints } = await listKept(there);
      deepEqual(
        checkpoints.map((c) => c.checkpointId),
        [3],
      );
      await assertHolds(there, checkpoints[0]?.manifest as Manifest, job.contents.get(3));

      const gone = job.checkpoints.latest?.tasks[0]?.segments.at(-1)?.object as string;
      await here.delete(gone);
      const damaged = await tool('fsck', url);
      deepEqual([damaged.code, damaged.stdout.includes(`${gone}`)], [1, true], damaged.stdout);
      const nothing = await tool('ls', 's3://test-bucket/jobs/none');
      deepEqual([nothing.code, /CHECKPOINTS_NOT_FOUND/.test(nothing.stderr)], [2, true], nothing.stderr);
      for (const store of [here, there]) store.close();
    });
    // A folder that somebody's own store made is no state directory, and is read all the same.
    const root = place.path('plain');
    const plain = await DirectoryBlobStore.open({ disk: nodeDisk(), root, random: systemRandom() });
    const job = await CheckpointedJob.start(plain, { random: seededRandom(18) });
    await job.checkpoint();
    const run = place.start('millrace', ['checkpoints', 'show', root]);
    equal(await run.ended, 0, run.stderr);
    match(run.stdout, /\ncounts +\? +\d+/);
    match(run.stdout, /\ntask-0 +unknown\n/);
    ok(!run.stdout.includes('undefined'));
  });
});
