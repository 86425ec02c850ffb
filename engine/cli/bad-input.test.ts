import { deepEqual, equal, match } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { after, describe, it } from 'node:test';
import { writeCountingJob } from './counting-job.test.support.js';
import type { RunResult } from './run-job.js';
import { TestPlace } from './spawned-run.test.support.js';

const JOB_HEAD = "import { job, jsonLines, parquet, rows } from 'millrace';\n";
const PARQUET_JOB = `${JOB_HEAD}export default job('p', (j) => {
  j.from(parquet(j.param('file', ''), { date: 'timestamp', delay: 'int32' })).to(jsonLines(j.param('out', 'out')));
});`;
/** In the first row group: where the pages of its second column begin. */
const SECOND_COLUMN_AT = 132_282;

describe('millrace run: what is wrong is said in one line', () => {
  const place = new TestPlace();
  after(() => place.remove());

  async function refused(code: 1 | 2, line: RegExp, job: string, ...args: readonly string[]): Promise<void> {
    const run = place.run(job, ...args);
    const ended = await run.ended;
    const what = `${job} ${args.join(' ')}: ${run.stderr}${run.stdout}`;
    equal(ended, code, what);
    match(run.stderr, line, what);
    match(run.stderr, /^millrace: .+ \[[A-Z_]+\]\n$/, what);
    deepEqual([run.result<RunResult>().ok, run.result<RunResult>().error], [false, run.stderr.trimEnd()], what);
    deepEqual(place.processes(), [], what);
    deepEqual(place.leftovers(), [], what);
  }

  function jobFile(name: string, text: string): string {
    writeFileSync(place.path(name), text);
    return place.path(name);
  }

  it('a job file that is not there, is broken, throws, or exports no job', async () => {
    await refused(2, /there is no job file .*missing\.ts \[JOB_NOT_FOUND\]/, 'missing.ts');
    await refused(2, /there is no job file .*\[JOB_NOT_FOUND\]/, place.folder);
    await refused(2, /no default export made with job.*\[JOB_MISSING\]/, jobFile('nothing.ts', 'export const x = 1;'));
    const syntax = jobFile('syntax.ts', `${JOB_HEAD}export default job('x', (j) => { const = 5; });`);
    await refused(1, /syntax\.ts:2: Expected identifier.*\[JOB_BROKEN\]/, syntax);
    const unknown = jobFile('unknown.ts', "import { x } from 'no-such-package-here'; export default x;");
    await refused(1, /unknown\.ts:1: Could not resolve "no-such-package-here" \[JOB_BROKEN\]/, unknown);
    const throws = jobFile('throws.ts', "throw new Error('boom\\nand more');");
    await refused(1, /the job file failed: boom \[JOB_FAILED\]/, throws);
    const describes = jobFile(
      'describes.ts',
      `${JOB_HEAD}export default job('x', () => { throw new TypeError('no luck'); });`,
    );
    await refused(1, /the job file failed: no luck \[JOB_FAILED\]/, describes);
    const empty = jobFile('empty.ts', `${JOB_HEAD}export default job('nothing', () => {});`);
    await refused(1, /job 'nothing' has no sink.*\[JOB_WITHOUT_SINK\]/, empty);
  });

  it('a parameter the job does not have, or of the wrong kind', async () => {
    const job = writeCountingJob(place.path('job.ts'));
    await refused(2, /no parameter 'row' \(it has: keys, out, rate, rows\) \[PARAM\]/, job, '--param', 'row=5');
    await refused(2, /parameter rows must be a number, not 'many' \[PARAM\]/, job, '--param', 'rows=many');
  });

  it('a parquet file that is missing, cut off, or damaged inside', async () => {
    const job = jobFile('parquet.ts', PARQUET_JOB);
    const datasets = createRequire(import.meta.url).resolve('vega-datasets');
    const bytes = readFileSync(resolve(datasets, '../../data/flights-3m.parquet'));
    const file = place.path('damaged.parquet');
    const params = ['--param', `file=${file}`, '--param', `out=${place.path('out-p')}`];
    await refused(1, /damaged\.parquet does not exist \[FILE_NOT_FOUND\]/, job, ...params);
    writeFileSync(file, bytes.subarray(0, 100_000));
    await refused(1, /damaged\.parquet is damaged or not a parquet file: the footer.*\[FILE_CORRUPT\]/, job, ...params);
    writeFileSync(file, bytes.fill(0xff, SECOND_COLUMN_AT, SECOND_COLUMN_AT + 100));
    await refused(1, /damaged\.parquet .* column delay of row group 0.*\[FILE_CORRUPT\]/, job, ...params);
    rmSync(file);
  });

  it('a folder that cannot be used: for state, output or memory', async () => {
    const job = writeCountingJob(place.path('job.ts'));
    const file = jobFile('a-file', '');
    await refused(1, /state directory .*a-file: .*\[STATE_DIR_UNUSABLE\]/, job, '--state-dir', file);
    await refused(1, /a-file is a file; the output needs a folder \[SINK_FOLDER\]/, job, '--param', `out=${file}`);
    mkdirSync(place.path('foreign/checkpoints'), { recursive: true });
    await refused(
      2,
      /foreign is no state directory of Millrace's and is not empty \(it has 'checkpoints'\).*\[STATE_DIR_FOREIGN\]/,
      job,
      '--state-dir',
      place.path('foreign'),
    );
    const nowhere = place.path('nowhere');
    await refused(1, new RegExp(`${nowhere} is not memory-backed .*--shm-dir`), job, '--shm-dir', nowhere);
  });

  it('memory-backed storage that is too small', async (t) => {
    const small = place.path('small');
    mkdirSync(small);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', small]).status !== 0) {
      t.diagnostic('NOT TESTED: this user cannot mount a small tmpfs');
      return;
    }
    try {
      const job = writeCountingJob(place.path('job.ts'));
      const line = new RegExp(`${small}/\\S+ has \\d+ bytes free, .*--shm-dir.*\\[MEMORY_FULL\\]`);
      await refused(1, line, job, '--shm-dir', small);
    } finally {
      spawnSync('umount', [small]);
    }
  });

  it('wrong options and commands: exit code 2', async () => {
    const bad: [args: string[], line: RegExp][] = [
      [['walk'], /unknown command 'walk'/],
      [['run'], /missing required argument 'file'/],
      [['run', 'a.ts', 'b.ts'], /too many arguments/],
      [['run', 'a.ts', '--wokers', '1'], /unknown option '--wokers' \(Did you mean --workers\?\)/],
      [['run', 'a.ts', '--slots', '0'], /--slots <n>.*'0'.*1 to 64/],
      [['run', 'a.ts', '--param', 'rows'], /--param <name=value>.*'rows'.*name=value/],
      [['run', 'a.ts', '--checkpoint-interval-ms', '1'], /--checkpoint-interval-ms <n>.*'1'/],
      [['run', 'a.ts', '--state-memory-bytes', '70000'], /--state-memory-bytes: only with --state-store tiered/],
      [['daemon', '--port', '70000'], /--port <n>.*'70000'.*0 to 65535/],
      [['daemon', '--listen', 'tcp:5'], /--listen <address>.*'tcp:5'.*unix:\/path/],
      [['daemon', '--shuffle', 'memory'], /--shuffle <kind>.*'memory'.*mapped, wire/],
    ];
    for (const [args, line] of bad) {
      const run = place.start('millrace', args);
      equal(await run.ended, 2, `${args.join(' ')}: ${run.stderr}`);
      match(run.stderr, line);
      match(run.stderr, /^millrace: .+\n$/);
      equal(run.stdout, '');
    }
  });
});
