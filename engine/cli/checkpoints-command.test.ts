import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { nodeDisk, systemClock, systemRandom, yieldTurn } from '../../base/index.js';
import {
  DirectoryBlobStore,
  EncryptedBlobStore,
  headName,
  LiveEntries,
  listKept,
  type Manifest,
  pin,
} from '../../checkpoint/index.js';
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

interface Row {
  readonly id: number;
  readonly segments: number;
  readonly bytes: number;
  readonly addedBytes: number | null;
  readonly pins: readonly string[];
}

describe('millrace checkpoints', () => {
  const place = new TestPlace();
  const job = writeCountingJob(place.path('job.ts'));
  const [stateDir, out] = [place.path('state'), place.path('out')];
  let stopped: readonly Manifest[] = [];
  let copies = 0;

  function startJob(state: string): SpawnedRun {
    const params = [`rows=${ROWS}`, `rate=${RATE}`, `keys=${KEYS}`, `out=${out}`].flatMap((p) => ['--param', p]);
    // The tools are what is tested: one worker makes checkpoints of as many kinds as two, and starts in half the time.
    return place.run(job, '--workers', '1', '--state-dir', state, '--checkpoint-interval-ms', '250', ...params);
  }

  /** Runs a tool to its end. */
  async function tool(...args: readonly string[]) {
    const run = place.start('millrace', ['checkpoints', ...args]);
    const code = await run.ended;
    return { code, stdout: run.stdout, stderr: run.stderr, json: () => run.result() };
  }

  async function refused(args: readonly string[], line: RegExp): Promise<void> {
    const { code, stderr, json } = await tool(...args, '--json');
    equal(code, 2, stderr);
    match(stderr, line);
    equal(stderr.trimEnd().split('\n').length, 1, stderr);
    deepEqual(json(), { ok: false, error: stderr.trimEnd() });
  }

  /** The state directory as it was when the job was stopped, to be damaged. */
  function copy(): { readonly dir: string; readonly objects: string } {
    const dir = place.path(`copy-${++copies}`);
    cpSync(stateDir, dir, { recursive: true });
    return { dir, objects: join(dir, 'checkpoints', 'objects') };
  }

  function openStore(root: string): Promise<DirectoryBlobStore> {
    return DirectoryBlobStore.open({ disk: nodeDisk(), root, random: systemRandom() });
  }

  async function manifestsIn(dir: string): Promise<Manifest[]> {
    const { checkpoints } = await listKept(await openStore(join(dir, 'checkpoints')));
    return checkpoints.map(({ manifest }) => manifest as Manifest);
  }

  /** An object that the newest checkpoint has and the others have not, and where in it the largest segment begins. */
  function newestObject(): { readonly object: string; readonly offset: number } {
    const [newest, ...older] = stopped;
    const known = new Set(older.flatMap((m) => m.tasks.flatMap((t) => t.segments.map((s) => s.object))));
    const own = (newest?.tasks ?? []).flatMap((t) =>
      t.segments.filter((s) => s.inline === undefined && !known.has(s.object)),
    );
    const [largest] = own.sort((a, b) => b.length - a.length);
    ok(largest !== undefined, 'the newest checkpoint has an object of its own');
    return largest;
  }

  before(async () => {
    const run = startJob(stateDir);
    const checkpoints = () =>
      new Set(
        (existsSync(out) ? readdirSync(out) : []).map((name) => name.split('-')[2]).filter((id) => id !== undefined),
      );
    const committed = (ids: number) =>
      until(
        () => checkpoints().size >= ids || !run.running,
        COMMIT_MS_MAX,
        () => run.stderr,
      );
    await committed(1);
    // While it runs: nothing that the job gives up and collects meanwhile is taken for damage.
    const found = Promise.all([tool('ls', stateDir), tool('fsck', stateDir, '--deep'), tool('show', stateDir)]);
    await committed(3);
    ok(run.running, `the job ended too early: ${run.stderr}${run.stdout}`);
    run.signal('SIGINT');
    equal(await run.ended, 130, run.stderr);
    for (const { code, stderr, stdout } of await found) equal(code, 0, stderr + stdout);
    deepEqual(await (await openStore(join(stateDir, 'checkpoints'))).list('pins/'), []);
    stopped = await manifestsIn(stateDir);
    ok(stopped.length >= 2, 'several checkpoints are kept');
  });
  after(() => place.remove());

  it('ls: what is kept, newest first, with sizes', async () => {
    const { code, json, stderr } = await tool('ls', stateDir, '--json');
    equal(code, 0, stderr);
    const { checkpoints, job: name, kind } = json() as { checkpoints: Row[]; job: string; kind: string };
    deepEqual([name, kind], ['counting', 'job']);
    deepEqual(
      checkpoints.map((c) => c.id),
      stopped.map((m) => m.checkpointId),
    );
    stopped.forEach((manifest, at) => {
      const refs = manifest.tasks.flatMap((t) => t.segments);
      const row = checkpoints[at];
      deepEqual([row?.segments, row?.bytes], [refs.length, refs.reduce((sum, ref) => sum + ref.length, 0)]);
      const before = stopped[at + 1];
      const old = new Set(before?.tasks.flatMap((t) => t.segments.map((s) => s.checksum)));
      const added = refs.filter((ref) => !old.has(ref.checksum)).reduce((sum, ref) => sum + ref.length, 0);
      equal(row?.addedBytes, before === undefined ? null : added);
    });
    // The store's own folder is as good as the state directory; for people, a table.
    const { stdout } = await tool('ls', join(stateDir, 'checkpoints'));
    match(stdout, /^checkpoints of job 'counting' in .*\ncheckpoint +epoch +tasks +segments +bytes +added\n/);
    for (const { checkpointId } of stopped) match(stdout, new RegExp(`^ *${checkpointId} +1 +4 `, 'm'));
  });

  it('show: sizes by task, state and key groups, drawn; and where the tasks were', async () => {
    const oldest = stopped.at(-1) as Manifest;
    const { code, json } = await tool('show', stateDir, String(oldest.checkpointId), '--json');
    equal(code, 0);
    type Size = { readonly bytes: number; readonly entries: number; readonly name?: string; readonly kind?: string };
    const shown = json() as {
      checkpoint: number;
      bytes: number;
      tasks: (Size & { states: Size[] })[];
      states: Size[];
      keyGroups: { first: number; last: number; bytes: number }[];
      positions: { position: { sourceRows: number; watermark: number } }[];
    };
    const sum = (sizes: readonly { bytes: number }[]) => sizes.reduce((total, { bytes }) => total + bytes, 0);
    deepEqual([shown.checkpoint, sum(shown.tasks)], [oldest.checkpointId, shown.bytes]);
    deepEqual(shown.states.map((s) => s.kind).sort(), ['lanes(2)', 'operator', 'timers']);
    equal(sum(shown.states), sum(shown.tasks.flatMap((task) => task.states)));
    deepEqual([shown.keyGroups.length, shown.keyGroups[0]?.first, shown.keyGroups.at(-1)?.last], [16, 0, 127]);
    ok(Math.abs(sum(shown.keyGroups) - sum(shown.states.filter((s) => s.kind !== 'operator'))) < 100);
    ok(shown.positions.some(({ position }) => position.sourceRows > 0));
    const { stdout } = await tool('show', stateDir);
    match(stdout, new RegExp(`^checkpoint ${stopped[0]?.checkpointId} in `));
    match(stdout, /\nkey groups +bytes\n +0-7 +\d+ kB +█+\n/);
    match(stdout, /approximate: a block of about 32 KiB/);
  });

  it('diff: what was added, changed and removed, with keys', async () => {
    const [after, before] = stopped as [Manifest, Manifest];
    const store = await openStore(join(stateDir, 'checkpoints'));
    const entriesOf = async (manifest: Manifest) => {
      const found = new Map<string, string>();
      for (const { task, segments } of manifest.tasks) {
        const entries = await LiveEntries.open(store, segments, { breathe: () => yieldTurn(systemClock()) });
        const { cursor } = entries;
        for await (const _ of entries.blocks()) {
          while (cursor.next()) {
            const identity = Buffer.concat([cursor.key, cursor.sub]).toString('hex');
            found.set(
              `${task} ${entries.state} ${cursor.keyGroup} ${identity}`,
              Buffer.from(cursor.payload).toString('hex'),
            );
          }
        }
      }
      return found;
    };
    const [old, now] = [await entriesOf(before), await entriesOf(after)];
    const expected = { added: 0, changed: 0, removed: 0 };
    for (const [key, value] of now) {
      if (!old.has(key)) expected.added++;
      else if (old.get(key) !== value) expected.changed++;
    }
    for (const key of old.keys()) if (!now.has(key)) expected.removed++;
    const ids = [String(before.checkpointId), String(after.checkpointId)] as const;
    const { code, json } = await tool('diff', stateDir, ...ids, '--keys', '2', '--json');
    equal(code, 0);
    type State = {
      kind: string;
      added: number;
      changed: number;
      removed: number;
      changes: { key: string; after: string }[];
    };
    const { states } = json() as { states: State[] };
    const keyed = states.filter((s) => s.kind !== 'operator');
    const total = (what: 'added' | 'changed' | 'removed') => keyed.reduce((sum, state) => sum + state[what], 0);
    deepEqual({ added: total('added'), changed: total('changed'), removed: total('removed') }, expected);
    ok(expected.added + expected.changed > 0, 'something changed');
    ok(keyed.every((s) => s.changes.length <= 2 && s.changes.length > 0));
    match(keyed.find((s) => s.kind === 'lanes(2)')?.changes[0]?.key ?? '', /^\d+ namespace \d+$/);
    match((await tool('diff', stateDir, ids[1], ids[1])).stdout, /no state differs/);
  });

  it('fsck: exit code 0 where nothing is damaged, 1 where anything is, and each thing by its name', async () => {
    const whole = await tool('fsck', stateDir, '--deep');
    deepEqual([whole.code, /nothing is damaged: every byte was read/.test(whole.stdout)], [0, true], whole.stdout);
    const { object, offset } = newestObject();
    const [id, older] = stopped.map((m) => m.checkpointId) as [number, number];

    const missing = copy();
    rmSync(join(missing.objects, object));
    const gone = await tool('fsck', missing.dir, '--json');
    equal(gone.code, 1);
    type Found = { checkpoints: { checkpointId: number; problems: { code: string; object: string }[] }[] };
    const { checkpoints } = gone.json() as unknown as Found;
    deepEqual(
      checkpoints.map((c) => [c.checkpointId, [...new Set(c.problems.map((p) => p.object))]]),
      stopped.map((m) => [m.checkpointId, m.checkpointId === id ? [object] : []]),
    );

    const altered = copy();
    const bytes = readFileSync(join(altered.objects, object));
    bytes[offset + 50] = (bytes[offset + 50] as number) ^ 1;
    writeFileSync(join(altered.objects, object), bytes);
    equal((await tool('fsck', altered.dir)).code, 0, 'indexes alone do not tell');
    const deep = await tool('fsck', altered.dir, '--deep');
    equal(deep.code, 1);
    match(deep.stdout, new RegExp(`checkpoint ${id}: DAMAGED, 1 problem\n.*${object}.*checksum of the block`));
    match(deep.stdout, new RegExp(`checkpoint ${older}: whole`));

    const head = copy();
    const values = join(head.dir, 'checkpoints', 'values', 'HEAD');
    const file = join(values, readdirSync(values).sort().at(-1) as string);
    writeFileSync(file, readFileSync(file, 'utf8').replace('"epoch":1', '"epoch":2'));
    const torn = await tool('fsck', head.dir);
    deepEqual(
      [torn.code, /the head is damaged \(checksum\);.* \[HEAD_CORRUPT\]/.test(torn.stdout)],
      [1, true],
      torn.stdout,
    );
    match(torn.stdout, /`millrace checkpoints repair` looks for what else there is/);
    ok(!torn.stdout.includes('--fallback'), torn.stdout);
    rmSync(values, { recursive: true });
    const lost = await tool('fsck', head.dir);
    deepEqual([lost.code, /HEAD is gone, .* \[HEAD_MISSING\]/.test(lost.stdout)], [1, true], lost.stdout);
    for (const name of ['ls', 'gc']) {
      const { code, stderr } = await tool(name, head.dir);
      deepEqual(
        [code, /HEAD is gone, .*`millrace checkpoints repair`.* \[HEAD_MISSING\]/.test(stderr)],
        [1, true],
        stderr,
      );
    }
    const nothing = await tool('repair', head.dir);
    deepEqual(
      [nothing.code, /restore a savepoint.* \[HEAD_UNREPAIRABLE\]/.test(nothing.stderr)],
      [1, true],
      nothing.stderr,
    );
  });

  it('repair: a damaged HEAD is made anew from the version before; the output of what is given up is met, not doubled', async () => {
    const { dir } = copy();
    const [id, older] = stopped.map((m) => m.checkpointId) as [number, number];
    await refused(['repair', dir], /HEAD is whole; there is nothing to repair \[HEAD_WHOLE\]/);
    const values = join(dir, 'checkpoints', 'values', 'HEAD');
    const file = () => join(values, readdirSync(values).sort().at(-1) as string);

    // Without the newest version, the one before looks whole: the sink knows better.
    const newest = readFileSync(file());
    const name = file();
    rmSync(name);
    const back = startJob(dir);
    equal(await back.ended, 2, back.stderr);
    match(
      back.stderr,
      new RegExp(`holds output of checkpoint ${id}, and the job goes on from ${older}: .*OUTPUT_AHEAD`),
    );

    writeFileSync(name, newest.subarray(0, 1000));
    const refusedRun = startJob(dir);
    equal(await refusedRun.ended, 1);
    match(refusedRun.stderr, /`millrace checkpoints repair` looks for what else there is \[HEAD_CORRUPT\]/);
    const dry = await tool('repair', dir, '--dry-run');
    match(dry.stdout, new RegExp(`checkpoint ${older} is whole, every byte .*\n.*nothing was changed`));
    equal((await tool('fsck', dir)).code, 1);
    const { code, json, stderr } = await tool('repair', dir, '--json');
    equal(code, 0, stderr);
    const repaired = json() as { was: number; checkpointId: number };
    deepEqual([repaired.was, repaired.checkpointId > id], [older, true]);
    equal((await tool('fsck', dir, '--deep')).code, 0);
  });

  it('gc: removes what is dead and nothing else; a pin is taken away by its name', async () => {
    const { dir, objects } = copy();
    const store = await openStore(join(dir, 'checkpoints'));
    await store.put('segments/0-1-host-dead', new Uint8Array(10));
    await store.put('segments/1-99999-host-pending', new Uint8Array(20));
    await store.put('notes/hello', new Uint8Array(30));
    const held = await pin(store, stopped[0] as Manifest, 'somebody', systemRandom());
    const fsck = await tool('fsck', dir);
    equal(fsck.code, 0, fsck.stdout);
    match(fsck.stdout, /1 object dead, 10 B.*\n1 object pending, 20 B.*\n1 object of another kind, 30 B/);
    match((await tool('ls', dir)).stdout, /pinned by somebody/);

    const dry = await tool('gc', dir, '--dry-run');
    match(dry.stdout, /^would remove 1 object, 10 B\n {2}segments\/0-1-host-dead\n/);
    ok(existsSync(join(objects, 'segments/0-1-host-dead')));
    const { code, json } = await tool('gc', dir, '--unpin', held.name, '--json');
    equal(code, 0);
    const { objects: removed, unpinned, pins } = json() as { objects: string[]; unpinned: string[]; pins: string[] };
    deepEqual([removed, unpinned, pins], [['segments/0-1-host-dead'], [held.name], []]);
    deepEqual(await store.list('segments/0-'), []);
    equal((await store.list('segments/1-99999')).length, 1);
    equal((await tool('fsck', dir, '--deep')).code, 0);
    await refused(['gc', dir, '--unpin', 'pins/1-x-y'], /no pin pins\/1-x-y in .*; there are none \[PIN_NOT_FOUND\]/);
  });

  it('savepoint and restore: the job goes on from a copy, and its output is exact', async () => {
    const [savepoint, restored] = [place.path('savepoint'), place.path('restored')];
    const id = stopped[0]?.checkpointId as number;
    const written = await tool('savepoint', stateDir, savepoint);
    equal(written.code, 0, written.stderr);
    match(written.stdout, new RegExp(`^checkpoint ${id} is in ${savepoint}: \\d+ object`));
    equal((await tool('fsck', savepoint, '--deep')).code, 0);
    match((await tool('ls', savepoint)).stdout, /^a savepoint of job 'counting'/);
    match((await tool('diff', stateDir, String(id), savepoint)).stdout, /no state differs/);
    match((await tool('gc', savepoint)).stdout, /a whole savepoint: nothing of it is garbage/);
    await refused(['savepoint', stateDir, savepoint], /is there already; name an empty place \[SAVEPOINT_EXISTS\]/);
    await refused(
      ['savepoint', stateDir, place.folder],
      /is no checkpoint store .*; name a new or empty folder, .*\[SAVEPOINT_TARGET\]/,
    );
    await refused(['restore', savepoint, stateDir], /\(--replace\) \[CHECKPOINTS_EXIST\]/);
    await refused(['restore', stateDir, restored], /not a savepoint \[SAVEPOINT_MISSING\]/);

    const { code, stderr } = await tool('restore', savepoint, restored);
    equal(code, 0, stderr);
    // As a claim leaves it that dies half way.
    rmSync(join(savepoint, 'objects', 'savepoint'));
    writeFileSync(join(savepoint, 'objects', 'removing'), 'x');
    await refused(['restore', savepoint, restored], /\[SAVEPOINT_INCOMPLETE\]/);
    const claimed = await tool('restore', savepoint, restored, '--claim');
    equal(claimed.code, 0, claimed.stderr);
    match(
      claimed.stdout,
      new RegExp(`^checkpoint ${id} is in ${restored} \\(since before\\); the savepoint is removed`),
    );
    await refused(['ls', savepoint], /there are no checkpoints in .*\[CHECKPOINTS_NOT_FOUND\]/);
    const savedOut = place.path('saved-out');
    cpSync(out, savedOut, { recursive: true });
    const run = startJob(restored);
    equal(await run.ended, 0, run.stderr + run.stdout);
    deepEqual([run.result<RunResult>().resumedFrom, run.result<RunResult>().rows], [id, ROWS]);
    const { duplicates, missing, unexpected } = compareLines(
      await readJsonLines(nodeDisk(), out),
      expectedCounts(ROWS, KEYS),
    );
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
    equal((await tool('fsck', restored, '--deep')).code, 0);
  });

  it('a savepoint that was not finished is refused, finished, and removed', async () => {
    const { dir, objects } = copy();
    const target = place.path('half');
    const { object } = newestObject();
    const bytes = readFileSync(join(objects, object));
    rmSync(join(objects, object));
    const failed = await tool('savepoint', dir, target);
    equal(failed.code, 1);
    match(
      failed.stderr,
      new RegExp(`${object}.*is missing; \`fsck\` tells which checkpoint is whole, --checkpoint takes it`),
    );
    for (const args of [
      ['ls', target],
      ['restore', target, place.path('from-half')],
      ['savepoint', dir, target],
    ]) {
      await refused(args, /finish it \(--finish\).*\[SAVEPOINT_INCOMPLETE\]/);
    }
    ok(!existsSync(place.path('from-half')), 'nothing was made');
    writeFileSync(join(objects, object), bytes);
    const finished = await tool('savepoint', dir, target, '--finish');
    equal(finished.code, 0, finished.stderr);
    equal((await tool('fsck', target, '--deep')).code, 0);

    const other = place.path('other-half');
    rmSync(join(objects, object));
    equal((await tool('savepoint', dir, other)).code, 1);
    match((await tool('gc', other, '--dry-run')).stdout, /would remove \d object/);
    match((await tool('gc', other)).stdout, /a half-written savepoint: removed \d object/);
    const older = stopped[1]?.checkpointId as number;
    equal((await tool('savepoint', dir, other, '--checkpoint', String(older))).code, 0);
  });

  it('encrypted checkpoints are read with their key, and said to be encrypted without', async () => {
    const plain = await openStore(join(stateDir, 'checkpoints'));
    const [root, keyFile] = [place.path('sealed'), place.path('key')];
    const key = Buffer.alloc(32, 7);
    writeFileSync(keyFile, `${key.toString('hex')}\n`);
    // As a run names its keys.
    const id = createHash('sha256').update(key).digest('hex').slice(0, 16);
    const sealed = new EncryptedBlobStore({
      inner: await openStore(root),
      random: systemRandom(),
      clock: systemClock(),
      keys: new Map([[id, key]]),
      current: id,
    });
    for (const name of await plain.list('')) await sealed.put(name, await plain.get(name));
    await sealed.compareAndSet(headName, undefined, (await plain.read(headName))?.bytes as Uint8Array);
    await refused(['ls', root], /is encrypted; name the file of its key with --checkpoint-key-file \[KEY_FILE\]/);
    const read = await tool('fsck', root, '--deep', '--checkpoint-key-file', keyFile);
    deepEqual([read.code, /every byte was read/.test(read.stdout)], [0, true], read.stdout + read.stderr);
    const other = place.path('other-key');
    writeFileSync(other, `${'ab'.repeat(32)}\n`);
    match((await tool('ls', root, '--checkpoint-key-file', other)).stderr, /\[BLOB_KEY_UNKNOWN\]/);
  });

  it('what is wrong on the command line is one line, and exit code 2', async () => {
    await refused(['ls', place.path('nowhere')], /there are no checkpoints in .*nowhere; name the --state-dir/);
    await refused(['ls', job], /job\.ts is a file; name/);
    await refused(['ls', out], /is no checkpoint store \(it has /);
    await refused(
      ['show', stateDir, '424242'],
      /there is no checkpoint 424242 \(there are: \d+.*\) \[CHECKPOINT_NOT_FOUND\]/,
    );
    await refused(['ls', 'ftp://x/y'], /\[STORE_URL\]/);
    for (const args of [['show', stateDir, 'newest'], ['nothing'], ['diff', stateDir, '1']]) {
      const { code, stderr } = await tool(...args);
      deepEqual([code, stderr.trimEnd().split('\n').length], [2, 1], stderr);
    }
    for (const name of ['gc', 'restore']) {
      const { code, stdout } = await tool(name, '--help');
      deepEqual(
        [code, stdout.includes(`Usage: millrace checkpoints ${name}`), stdout.includes('--json')],
        [0, true, true],
      );
    }
  });

  it('Ctrl-C ends a tool, also one whose store does not answer', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const asked = new Promise((resolve) => silent.once('connection', resolve));
    const { port } = silent.address() as { port: number };
    const endpoint = ['--s3-endpoint', `http://127.0.0.1:${port}`, '--s3-region', 'us-east-1'];
    process.env.AWS_ACCESS_KEY_ID ??= 'test';
    process.env.AWS_SECRET_ACCESS_KEY ??= 'test';
    const run = place.start('millrace', ['checkpoints', 'ls', 's3://some-bucket/prefix', ...endpoint]);
    await asked;
    run.signal('SIGINT');
    equal(await run.ended, 130, run.stderr);
    match(run.stderr, /SIGINT: stopped/);
    silent.close();
  });
});
