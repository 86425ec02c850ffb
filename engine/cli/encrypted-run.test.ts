import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeDisk } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { RunResult } from './run-job.js';
import { TestPlace, until } from './spawned-run.test.support.js';

const ROWS = 200_000;
const KEYS = 3000;
const RATE = 40_000;
const COMMIT_MS_MAX = 60_000;

describe('a run with --checkpoint-key-file', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const job = writeCountingJob(place.path('job.ts'));
  const [stateDir, out] = [place.path('state'), place.path('out')];

  function start(...keys: readonly string[]) {
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `keys=${KEYS}`, `out=${out}`].flatMap((p) => ['--param', p]);
    const keyFile = keys.length === 0 ? [] : ['--checkpoint-key-file', keyFileOf(keys)];
    const settings = ['--workers', '1', '--state-dir', stateDir, '--checkpoint-interval-ms', '250'];
    return place.run(job, ...settings, ...params, ...keyFile);
  }

  function keyFileOf(keys: readonly string[]): string {
    const path = place.path(`key-${keys.map((key) => key.slice(0, 2)).join('-')}`);
    writeFileSync(path, keys.map((key) => `${key}\n`).join(''));
    return path;
  }

  it('keeps no plain byte, resumes with its key or a newer one, and with no other', async () => {
    const [old, young, other] = ['0a'.repeat(32), '1b'.repeat(32), '2c'.repeat(32)];
    const first = start(old);
    const parts = () => (readdirSync(place.folder).includes('out') ? readdirSync(out) : []);
    await until(
      () => parts().filter((name) => name.endsWith('.jsonl')).length > 2 || !first.running,
      COMMIT_MS_MAX,
      () => first.stderr,
    );
    ok(first.running, `the job ended too early: ${first.stderr}${first.stdout}`);
    first.signal('SIGINT');
    equal(await first.ended, 130, first.stderr);
    const files = readdirSync(join(stateDir, 'checkpoints'), { recursive: true, encoding: 'utf8' })
      .map((name) => join(stateDir, 'checkpoints', name))
      .filter((path) => statSync(path).isFile());
    deepEqual([...new Set(files.map((path) => readFileSync(path).toString('latin1', 0, 4)))], ['MRES']);

    const without = start();
    equal(await without.ended, 2, without.stderr);
    match(without.stderr, /is encrypted, and no key was given \(--checkpoint-key-file\) \[BLOB_KEY_UNKNOWN\]/);
    const wrong = start(other);
    equal(await wrong.ended, 2, wrong.stderr);
    match(wrong.stderr, /is encrypted with the key "[0-9a-f]{16}"; known are [0-9a-f]{16} \[BLOB_KEY_UNKNOWN\]/);

    // The newer key seals from now on, the old one still opens.
    const second = start(young, old);
    equal(await second.ended, 0, second.stderr + second.stdout);
    deepEqual([second.result<RunResult>().resumedFrom !== null, second.result<RunResult>().rows], [true, ROWS]);
    const { duplicates, missing, unexpected } = compareLines(
      await readJsonLines(nodeDisk(), out),
      expectedCounts(ROWS, KEYS),
    );
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
    const { code, stderr } = await listed(young);
    equal(code, 0, stderr);
  });

  async function listed(key: string) {
    const run = place.start('millrace', ['checkpoints', 'ls', stateDir, '--checkpoint-key-file', keyFileOf([key])]);
    return { code: await run.ended, stderr: run.stderr };
  }
});
