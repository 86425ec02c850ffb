import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk, systemRandom } from '../../base/index.js';
import { DirectoryBlobStore, type Manifest, readHead, type SegmentRef } from '../../checkpoint/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { RunResult } from './run-job.js';
import { type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

const ROWS = 320_000;
/** So many that their state is not inside HEAD. */
const KEYS = 3000;
const RATE = 40_000;
const COMMIT_MS_MAX = 60_000;

describe('a run whose newest checkpoint is damaged', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const job = writeCountingJob(place.path('job.ts'));
  const [stateDir, out] = [place.path('state'), place.path('out')];
  const checkpoints = join(stateDir, 'checkpoints');

  function start(...more: readonly string[]): SpawnedRun {
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `keys=${KEYS}`, `out=${out}`].flatMap((p) => ['--param', p]);
    const settings = ['--workers', '1', '--state-dir', stateDir, '--checkpoint-interval-ms', '250'];
    return place.run(job, ...settings, ...params, ...more);
  }

  function partsOf(id: number): string[] {
    return readdirSync(out).filter((name) => name.endsWith(`-${id}.jsonl`));
  }

  async function newest(): Promise<{ readonly latest: Manifest; readonly before: Manifest }> {
    const store = await DirectoryBlobStore.open({ disk: nodeDisk(), root: checkpoints, random: systemRandom() });
    const read = await readHead(store);
    return { latest: read?.head.latest as Manifest, before: read?.head.retained[0] as Manifest };
  }

  /** A segment that the newest checkpoint has, and the one before has not; a large one, of a task that keeps state. */
  function ownSegment({ latest, before }: { readonly latest: Manifest; readonly before: Manifest }): SegmentRef {
    const old = new Set(before.tasks.flatMap((t) => t.segments.map((s) => s.object)));
    const own = latest.tasks.flatMap((t) => t.segments.filter((s) => s.inline === undefined && !old.has(s.object)));
    return own.sort((a, b) => b.length - a.length)[0] as SegmentRef;
  }

  async function refused(run: SpawnedRun, line: RegExp): Promise<void> {
    equal(await run.ended, 1, run.stderr + run.stdout);
    match(run.stderr.trimEnd().split('\n').at(-1) ?? '', line);
    deepEqual(
      [run.result<RunResult>().ok, run.result<RunResult>().error?.includes('CHECKPOINT_DAMAGED')],
      [false, true],
    );
  }

  it('stops with what is damaged and what is not; --fallback goes on from there, and says what comes twice', async () => {
    const first = start();
    const parts = () => (readdirSync(place.folder).includes('out') ? readdirSync(out) : []);
    await until(
      () => parts().filter((name) => name.startsWith('part-')).length >= 8 || !first.running,
      COMMIT_MS_MAX,
      () => first.stderr,
    );
    first.signal('SIGINT');
    equal(await first.ended, 130, first.stderr + first.stdout);
    const found = await newest();
    const [id, older] = [found.latest.checkpointId, found.before.checkpointId];
    const segment = ownSegment(found);
    const file = join(checkpoints, 'objects', segment.object);
    const whole = readFileSync(file);

    // Gone: seen before anything starts.
    rmSync(file);
    const line = new RegExp(
      `checkpoint ${id} is damaged: .*${segment.object}.* is missing.*; checkpoint ${older} is not: --fallback .*\\[CHECKPOINT_DAMAGED\\]`,
    );
    await refused(start(), line);
    equal((await newest()).latest.checkpointId, id, 'nothing was changed');

    // A byte inside a block: seen when it is restored, and told the same way.
    const altered = Buffer.from(whole);
    const at = segment.offset + 100;
    altered[at] = (altered[at] as number) ^ 16;
    writeFileSync(file, altered);
    await refused(
      start(),
      new RegExp(`checkpoint ${id} is damaged: .*checksum of the block.*checkpoint ${older} is not: --fallback`),
    );

    const [savedState, savedOut] = [place.path('saved-state'), place.path('saved-out')];
    cpSync(stateDir, savedState, { recursive: true });
    cpSync(out, savedOut, { recursive: true });
    const again = partsOf(id).flatMap((name) => readFileSync(join(out, name), 'utf8').trimEnd().split('\n'));

    // As it is: what the damaged checkpoint had made visible is there twice, and nothing else is wrong.
    const second = start('--fallback');
    equal(await second.ended, 0, second.stderr + second.stdout);
    const result = second.result<RunResult>();
    deepEqual([result.ok, result.rows, result.resumedFrom, result.damaged], [true, ROWS, id + 1, [id]]);
    const twice = compareLines(await readJsonLines(nodeDisk(), out), expectedCounts(ROWS, KEYS));
    deepEqual([twice.duplicates, twice.missing, twice.unexpected], [again.length, 0, 0]);

    // With those files removed first, as the help says: exactly once.
    for (const [saved, folder] of [
      [savedState, stateDir],
      [savedOut, out],
    ] as const) {
      rmSync(folder, { recursive: true });
      cpSync(saved, folder, { recursive: true });
    }
    for (const name of partsOf(id)) rmSync(join(out, name));
    const third = start('--fallback');
    equal(await third.ended, 0, third.stderr + third.stdout);
    const once = compareLines(await readJsonLines(nodeDisk(), out), expectedCounts(ROWS, KEYS));
    deepEqual([once.duplicates, once.missing, once.unexpected], [0, 0, 0]);

    // Where nothing is damaged, it changes nothing.
    const fourth = start('--fallback');
    equal(await fourth.ended, 0, fourth.stderr);
    deepEqual([fourth.result<RunResult>().finishedBefore, fourth.result<RunResult>().damaged], [true, []]);
    ok(again.length > 0, 'the damaged checkpoint had made something visible');
  });

  it('where HEAD is gone, but not its segments, nothing begins anew', async () => {
    rmSync(join(checkpoints, 'values'), { recursive: true });
    const run = start('--fallback');
    equal(await run.ended, 1, run.stdout);
    match(run.stderr, /HEAD is gone, though there are segments.*\[HEAD_MISSING\]/);
    equal(run.stderr.trimEnd().split('\n').length, 1, run.stderr);
  });
});
