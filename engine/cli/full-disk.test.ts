import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { RunResult } from './run-job.js';
import { TestPlace, until } from './spawned-run.test.support.js';

const ROWS = 300_000;
/** Ten seconds: the disk is full before the end. */
const RATE = 30_000;
const COMMIT_MS_MAX = 60_000;

describe('a full disk under the state directory', () => {
  const place = new TestPlace();
  const disk = place.path('disk');
  after(() => {
    spawnSync('umount', [disk]);
    place.remove();
  });

  it('ends the run with the reason; once there is room the same command goes on, and nothing is lost or there twice', async (t) => {
    mkdirSync(disk);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk]).status !== 0) {
      t.diagnostic('NOT TESTED: this user cannot mount a small tmpfs');
      return;
    }
    const job = writeCountingJob(place.path('job.ts'));
    const out = place.path('out');
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `out=${out}`].flatMap((param) => ['--param', param]);
    const start = () =>
      place.run(
        job,
        '--workers',
        '1',
        '--state-dir',
        join(disk, 'state'),
        '--checkpoint-interval-ms',
        '100',
        ...params,
      );

    const full = start();
    const committed = () => existsSync(out) && readdirSync(out).some((name) => name.startsWith('part-'));
    await until(
      () => committed() || !full.running,
      COMMIT_MS_MAX,
      () => `nothing committed: ${full.stderr}`,
    );
    ok(full.running, full.stderr);
    const ballast = join(disk, 'ballast');
    fill(ballast);
    equal(await full.ended, 1, full.stderr);
    match(
      full.stderr,
      /^millrace: .*\/state\/checkpoints.*no room for .+ \[[A-Z_]+\]; the same command resumes from checkpoint \d+/m,
    );
    equal(full.stderr.trimEnd().split('\n').length, 1, full.stderr);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);

    rmSync(ballast);
    const again = start();
    equal(await again.ended, 0, again.stderr);
    const result = again.result<RunResult>();
    ok(result.ok && result.rows === ROWS && Number(result.resumedFrom) > 0, again.stdout);
    const { duplicates, missing, unexpected } = compareLines(
      await readJsonLines(nodeDisk(), out),
      expectedCounts(ROWS),
    );
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
  });
});

function fill(path: string): void {
  const fd = openSync(path, 'a');
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096));
  } catch (e) {
    equal((e as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    closeSync(fd);
  }
}
