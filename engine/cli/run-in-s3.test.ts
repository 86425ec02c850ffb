import { equal, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { seededRandom, silentLogger, systemClock } from '../../base/index.js';
import { CheckpointStore, S3BlobStore, type S3Credentials } from '../../checkpoint/index.js';
import { S3Front } from '../../checkpoint/s3/s3-front.test.support.js';
import { realS3OrStandIn } from '../../checkpoint/s3/s3-gateway.test.support.js';

const START = fileURLToPath(new URL('./start.js', import.meta.url));
const ROWS = 400_000;
const OUTAGE_MS = 4000;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('the main job with its checkpoints in S3', () => {
  it('gives the same output, past a killed worker and an outage of the store in which it runs on', async (t) => {
    const s3 = await realS3OrStandIn();
    t.diagnostic(s3.says);
    const front = await S3Front.listen(s3.url);
    const requests = () => front.requests.length;
    try {
      const { bucket, server } = s3;
      const { accessKeyId, secretAccessKey } = server.credentials as S3Credentials;
      const url = `s3://${bucket}/flights`;
      const flags = ['--checkpoint-store', url, '--s3-endpoint', front.url, '--checkpoint-interval-ms', '400'];
      const run = spawn(process.execPath, [START, '--json', '--rows', `${ROWS}`, '--rate', '40000', ...flags], {
        env: { ...process.env, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const exited = once(run, 'exit');
      let out = '';
      let err = '';
      run.stdout.on('data', (text) => {
        out += text;
      });
      run.stderr.on('data', (text) => {
        err += text;
      });
      // Some checkpoints are complete, and others are to come: the worker dies half way, at five seconds.
      while (requests() < 20 && run.exitCode === null) await pause(50);
      await pause(1500);
      const restore = front.outage();
      await pause(OUTAGE_MS);
      // What was tried in vain meanwhile does not count.
      const before = requests();
      restore();
      const [code] = await exited;
      equal(code, 0, err);
      const result = JSON.parse(out.trim().split('\n').at(-1) as string);
      equal(result.ok, true, out);
      equal(result.sha256, result.expectedSha256);
      equal(result.kills, 1);
      ok(requests() > before, 'nothing was asked of the store after the outage');
      const store = await S3BlobStore.open({
        bucket,
        prefix: 'flights',
        server,
        clock: systemClock(),
      });
      const random = seededRandom(1);
      const reader = await CheckpointStore.open({ store, random, logger: silentLogger() });
      equal(reader.latest?.final, true);
      const marked = new Set(
        (await Promise.all(reader.checkpointIds.map((id) => reader.manifest(id)))).flatMap(({ tasks }) =>
          tasks.flatMap(({ segments }) => segments.map(({ object }) => object)),
        ),
      );
      for (const name of await store.list('')) ok(marked.has(name), `${name} is left over`);
      store.close();
    } finally {
      await front.close();
      await s3.close();
    }
  });
});
