import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { nodeDisk, systemClock, systemRandom } from '../../base/index.js';
import { DirectoryBlobStore, headName, S3BlobStore } from '../../checkpoint/index.js';
import { onS3 } from '../../checkpoint/s3/s3-ground.test.support.js';
import { type StateAnswer, StateClient } from '../../statestore/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import { pause, type SpawnedRun, TestPlace, until } from './spawned-run.test.support.js';

/** More than are read until it is stopped. */
const ROWS = 9_600_000;
const RATE = 40_000;
const KEYS = 97;
const WINDOW_MS = 60_000;
/** Of a row, by its index. */
const STEP_MS = 10;
const WAIT_MS_MAX = 60_000;

interface Count {
  readonly key: number;
  readonly windowStart: string;
  readonly windowEnd: string;
  readonly n: number;
  readonly total: number;
}

describe('millrace state', () => {
  const place = new TestPlace();
  const job = writeCountingJob(place.path('job.ts'));
  const [stateDir, out, tokenFile] = [place.path('state'), place.path('out'), place.path('token')];
  const token = 'ef'.repeat(16);
  let run: SpawnedRun;
  let address = '';

  /** Runs the command to its end. */
  async function ask(...args: readonly string[]) {
    const asked = place.start('millrace', ['state', ...args]);
    const code = await asked.ended;
    return { code, stdout: asked.stdout, stderr: asked.stderr, json: () => asked.result() };
  }

  async function refused(line: RegExp, code: 1 | 2, ...args: readonly string[]): Promise<void> {
    const asked = await ask(...args, '--json');
    equal(asked.code, code, asked.stderr);
    match(asked.stderr, line);
    equal(asked.stderr.trimEnd().split('\n').length, 1, asked.stderr);
    deepEqual(asked.json(), { ok: false, error: asked.stderr.trimEnd() });
  }

  /**
   * State at a checkpoint and output committed up to it are together the counts of all rows that were read until then. Each of
   * two sources reads its half in order, the second one from a window's start: how far each was, the counts say themselves.
   * Returns how many rows that were.
   */
  function checkAgainstOutput({ checkpoint, state, entries, next }: StateAnswer): number {
    deepEqual([state, next], ['n2/windows', undefined]);
    const open = entries.map(({ key, namespace, value }) => {
      const [n, total] = value as [number, number];
      const start = namespace as number;
      const windowStart = new Date(start).toISOString();
      const windowEnd = new Date(start + WINDOW_MS).toISOString();
      return { key: (key as [number])[0], windowStart, windowEnd, n, total };
    });
    const committed = readdirSync(out)
      .filter((name) => Number(/^part-\d+-(\d+)\.jsonl$/.exec(name)?.[1] ?? Number.NaN) <= checkpoint)
      .flatMap((name) => readFileSync(join(out, name), 'utf8').trimEnd().split('\n'))
      .map((line) => JSON.parse(line) as Count);
    const all = [...open, ...committed];
    const half = new Date((ROWS / 2) * STEP_MS).toISOString();
    const rowsOf = (counts: readonly Count[]) => counts.reduce((sum, { n }) => sum + n, 0);
    const first = rowsOf(all.filter(({ windowStart }) => windowStart < half));
    const second = rowsOf(all) - first;
    const expected = expectedCounts(ROWS, KEYS, (i) => i < first || (i >= ROWS / 2 && i < ROWS / 2 + second));
    const found = all.map((line) => JSON.stringify(line));
    const { duplicates, missing, unexpected } = compareLines(found, expected);
    const context = `checkpoint ${checkpoint}, ${open.length} open, ${committed.length} committed`;
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 }, context);
    return first + second;
  }

  before(async () => {
    writeFileSync(tokenFile, `${token}\n`);
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `keys=${KEYS}`, `out=${out}`].flatMap((p) => ['--param', p]);
    const door = ['--http-port', '0', '--token-file', tokenFile];
    const more = ['--workers', '1', '--state-dir', stateDir, '--checkpoint-interval-ms', '250'];
    run = place.run(job, ...more, ...door, ...params);
    await until(
      () => /^http: /m.test(run.stderr) || !run.running,
      WAIT_MS_MAX,
      () => run.stderr,
    );
    address = /^http: (\S+), its token in /m.exec(run.stderr)?.[1] ?? '';
    ok(address !== '', run.stderr);
  });
  after(() => place.remove());

  it('while the job runs: state and committed output are together what was read until the checkpoint', async () => {
    const client = new StateClient({ address, token });
    const seen: number[] = [];
    const checkpoints = new Set<number>();
    await until(
      () => existsSync(out) && readdirSync(out).some((name) => name.endsWith('.jsonl')),
      WAIT_MS_MAX,
      () => run.stderr,
    );
    while (run.running && checkpoints.size < 5) {
      const answer = await client.query({ state: 'windows', limit: 10_000 });
      // Files of a checkpoint are there when the next one is complete.
      while (run.running && (await client.states()).checkpoint < answer.checkpoint + 2) await pause(20);
      if (!run.running) break;
      if (checkpoints.has(answer.checkpoint)) continue;
      checkpoints.add(answer.checkpoint);
      seen.push(checkAgainstOutput(answer));
    }
    ok(checkpoints.size >= 3, `${checkpoints.size} checkpoints only: ${run.stderr}`);
    ok((seen.at(-1) as number) > (seen[0] as number) && (seen[0] as number) > 0, seen.join());
  });

  it('the command asks the daemon, or the folder of the running job, and says of which checkpoint it is', async () => {
    const daemon = [address, '--token-file', tokenFile];
    const listed = await ask(...daemon);
    deepEqual([listed.code, listed.stderr], [0, '']);
    match(listed.stdout, /^state at checkpoint \d+ in http:.*\nstate +kind +key +tasks +entries\n/);
    match(listed.stdout, /^n2\/windows +lanes +int32 +2 +[\d,]+$/m);
    const one = await ask(...daemon, 'windows', '--key', '5', '--json');
    const { ok: fine, entries, checkpoint } = one.json() as unknown as StateAnswer & { readonly ok: boolean };
    ok(fine && checkpoint > 0 && entries.length > 0);
    for (const { key } of entries) deepEqual(key, [5]);
    const [byRange, offline] = await Promise.all([
      ask(...daemon, 'n2/windows', '--from', '5', '--to', '20', '--limit', '3'),
      ask(stateDir, 'windows', '--limit', '10000', '--json'),
    ]);
    match(byRange.stdout, /^n2\/windows \(lanes\) at checkpoint \d+ in http:.*\nkey +namespace +value\n\[5\] +\d+ /);
    match(byRange.stdout, /\nthere are more keys: go on with --from '\[8\]'\n$/);
    equal(offline.code, 0, offline.stderr);
    ok((offline.json() as unknown as StateAnswer).entries.length > KEYS);
    ok(run.running, `the job ended too early: ${run.stderr}`);
  });

  it('what cannot be asked is refused in one line', async () => {
    const daemon = [address, '--token-file', tokenFile];
    await refused(
      /there is none; there are: n1\/max-time, n2\/window-ends, n2\/windows \[STATE_UNKNOWN\]/,
      2,
      ...daemon,
      'window',
    );
    await refused(
      /a key of 2 values was given: the key is \(int32\) \[QUERY_KEY\]/,
      2,
      ...daemon,
      'windows',
      '--key',
      '[1,2]',
    );
    await refused(/--token-file: a daemon gives its state only to/, 2, address);
    await refused(/--key: of which state\?/, 2, ...daemon, '--key', '5');
    await refused(/--limit: not with --key/, 2, stateDir, 'windows', '--key', '5', '--limit', '5');
    await refused(/--checkpoint: a daemon answers of the newest alone/, 2, ...daemon, 'windows', '--checkpoint', '1');
    await refused(/--s3-region: not with a daemon/, 2, ...daemon, '--s3-region', 'x');
    await refused(/--token-file: only with a daemon/, 2, stateDir, '--token-file', tokenFile);
    await refused(/there are no checkpoints in .*nowhere/, 2, place.path('nowhere'), 'windows');
    await refused(/no checkpoint 424242 \(there are: /, 2, stateDir, 'windows', '--checkpoint', '424242');
    await refused(
      /no daemon answers at http:\/\/127\.0\.0\.1:1: .*\[DAEMON_UNREACHABLE\]/,
      1,
      'http://127.0.0.1:1',
      '--token-file',
      tokenFile,
    );
    writeFileSync(place.path('other-token'), 'ab'.repeat(16));
    await refused(/needs this job's token \[UNAUTHORIZED\]/, 2, address, '--token-file', place.path('other-token'));
    const { code, stdout } = await ask('--help');
    equal(code, 0);
    match(stdout, /Usage: millrace state .*<where> \[name\]/);
    match(stdout, /state at the last completed checkpoint/);
    const limit = await ask(stateDir, 'windows', '--limit', '0');
    deepEqual([limit.code, /--limit <n>.*'0'.*1 to 10000/.test(limit.stderr)], [2, true], limit.stderr);
  });

  it('when the job has been stopped its state is read from its folder, also of an older checkpoint', async () => {
    ok(run.running, `the job ended too early: ${run.stderr}`);
    run.signal('SIGINT');
    equal(await run.ended, 130, run.stderr);
    await refused(/no daemon answers/, 1, address, '--token-file', tokenFile);
    const { json, code, stderr } = await ask(stateDir, 'windows', '--limit', '10000', '--json');
    equal(code, 0, stderr);
    const newest = json() as unknown as StateAnswer;
    const ls = place.start('millrace', ['checkpoints', 'ls', stateDir, '--json']);
    equal(await ls.ended, 0, ls.stderr);
    const ids = (ls.result() as { checkpoints: { id: number }[] }).checkpoints.map(({ id }) => id);
    equal(newest.checkpoint, ids[0]);
    const older = (await ask(stateDir, 'windows', '--checkpoint', String(ids[1]), '--limit', '10000', '--json')).json();
    const before = older as unknown as StateAnswer;
    equal(before.checkpoint, ids[1]);
    ok(checkAgainstOutput(before) > 0);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  it('a daemon on its own, a savepoint and S3 answer as the folder does', async () => {
    const asked = ['windows', '--from', '5', '--to', '9', '--json'];
    const expected = (await ask(stateDir, ...asked)).json();
    equal((expected.entries as unknown[]).length > 4, true);

    const savepoint = place.path('savepoint');
    const written = place.start('millrace', ['checkpoints', 'savepoint', stateDir, savepoint]);
    equal(await written.ended, 0, written.stderr);
    deepEqual((await ask(savepoint, ...asked)).json(), expected);

    const data = join(stateDir, 'checkpoints');
    const daemon = place.start('millrace', ['daemon', '--port', '0', '--data-dir', data, '--token-file', tokenFile]);
    await until(
      () => daemon.stdout.includes('ready') || !daemon.running,
      WAIT_MS_MAX,
      () => daemon.stderr,
    );
    const http = /^http: (\S+)$/m.exec(daemon.stdout)?.[1] ?? '';
    deepEqual((await ask(http, '--token-file', tokenFile, ...asked)).json(), expected);
    daemon.signal('SIGTERM');
    equal(await daemon.ended, 0, daemon.stderr);

    await onS3(async ({ s3 }) => {
      process.env.AWS_ACCESS_KEY_ID ??= 'test';
      process.env.AWS_SECRET_ACCESS_KEY ??= 'test';
      const folder = await DirectoryBlobStore.open({ disk: nodeDisk(), root: data, random: systemRandom() });
      const clock = systemClock();
      const bucket = await S3BlobStore.open({ bucket: 'test-bucket', prefix: 'a/job', server: s3.server, clock });
      for (const name of await folder.list('')) await bucket.put(name, await folder.get(name));
      await bucket.compareAndSet(headName, undefined, (await folder.read(headName))?.bytes as Uint8Array);
      bucket.close();
      const where = ['s3://test-bucket/a/job', '--s3-endpoint', s3.url, '--s3-region', 'us-east-1'];
      const { json, stderr } = await ask(...where, ...asked);
      deepEqual(json(), expected, stderr);
    });
  });
});
