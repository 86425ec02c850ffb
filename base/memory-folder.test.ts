import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { claimRunFolder, memoryBackedFolder, releaseRunFolder, sweepDeadRuns } from './memory-folder.js';

const MODULE = JSON.stringify(new URL('./memory-folder.js', import.meta.url).href);

function parentFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-runs-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function rootOf(parent: string): string {
  return join(parent, readdirSync(parent)[0] as string);
}

/** Runs code in a process of its own and waits for its first line. */
async function processThat(body: string): Promise<{ child: ChildProcess; line: string }> {
  const code = `const { claimRunFolder, sweepDeadRuns } = await import(${MODULE}); ${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (chunk) => resolve(String(chunk).trim())),
  );
  return { child, line };
}

async function killed(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

/** A folder left by a process that was killed. */
async function leftBehind(parent: string, runId: string): Promise<string> {
  const claim = `console.log(claimRunFolder(${JSON.stringify(parent)}, ${JSON.stringify(runId)})); setInterval(() => {}, 1000);`;
  const { child, line } = await processThat(claim);
  writeFileSync(join(line, 'segment'), 'x');
  deepEqual(sweepDeadRuns(parent), [], 'its owner lives');
  await killed(child);
  return line;
}

describe('run folders', () => {
  it('are private, named after the run, and gone after release', (t) => {
    const parent = parentFor(t);
    const folder = claimRunFolder(parent, 'run-1');
    equal(statSync(folder).mode & 0o777, 0o700);
    equal(statSync(rootOf(parent)).mode & 0o777, 0o700);
    equal((JSON.parse(readFileSync(join(folder, 'owner.json'), 'utf8')) as { pid: number }).pid, process.pid);
    throws(() => claimRunFolder(parent, 'run-1'), { code: 'RUN_FOLDER_EXISTS' });
    deepEqual(readdirSync(rootOf(parent)), ['run-1']);
    releaseRunFolder(folder);
    releaseRunFolder(folder);
    deepEqual(readdirSync(rootOf(parent)), []);
  });

  it('of a killed process are swept, those of the living are not', async (t) => {
    const parent = parentFor(t);
    const mine = claimRunFolder(parent, 'mine');
    const dead = await leftBehind(parent, 'dead');
    deepEqual(sweepDeadRuns(parent), ['dead']);
    ok(!existsSync(dead) && existsSync(mine));
    deepEqual(readdirSync(rootOf(parent)), ['mine']);
  });

  it('of an earlier boot, or of a process whose id was given to another, are swept', (t) => {
    const parent = parentFor(t);
    for (const [runId, change] of [
      ['rebooted', { bootId: 'another' }],
      ['reused', { startTime: '1' }],
    ] as const) {
      const file = join(claimRunFolder(parent, runId), 'owner.json');
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
    }
    deepEqual(sweepDeadRuns(parent), ['rebooted', 'reused']);
  });

  it('that cannot be judged stay: another pid namespace, no owner, another mode', (t) => {
    const parent = parentFor(t);
    const foreign = join(claimRunFolder(parent, 'foreign'), 'owner.json');
    const owner = JSON.parse(readFileSync(foreign, 'utf8')) as object;
    writeFileSync(foreign, JSON.stringify({ ...owner, pid: 1, startTime: '', pidNamespace: 'pid:[1]' }));
    mkdirSync(join(rootOf(parent), 'unowned'), { mode: 0o700 });
    const open = claimRunFolder(parent, 'open');
    writeFileSync(join(open, 'owner.json'), JSON.stringify({ ...owner, startTime: '1' }));
    chmodSync(open, 0o755);
    deepEqual(sweepDeadRuns(parent), []);
    deepEqual(readdirSync(rootOf(parent)).sort(), ['foreign', 'open', 'unowned']);
  });

  it('a sweep follows no symlink', async (t) => {
    const parent = parentFor(t);
    const outside = parentFor(t);
    writeFileSync(join(outside, 'precious'), 'x');
    const dead = await leftBehind(parent, 'dead');
    symlinkSync(outside, join(dead, 'link'));
    symlinkSync(outside, join(rootOf(parent), 'linked-run'));
    writeFileSync(join(outside, 'owner.json'), readFileSync(join(dead, 'owner.json')));
    deepEqual(sweepDeadRuns(parent), ['dead']);
    ok(existsSync(join(outside, 'precious')));
  });

  it('a root that others could reach into is refused', (t) => {
    const parent = parentFor(t);
    releaseRunFolder(claimRunFolder(parent, 'a'));
    const root = rootOf(parent);
    chmodSync(root, 0o755);
    throws(() => claimRunFolder(parent, 'a'), { code: 'RUN_FOLDER_UNSAFE', kind: 'invalid' });
    throws(() => sweepDeadRuns(parent), { code: 'RUN_FOLDER_UNSAFE' });
    rmSync(root, { recursive: true });
    const elsewhere = join(parent, 'elsewhere');
    mkdirSync(elsewhere, { mode: 0o700 });
    symlinkSync(elsewhere, root);
    throws(() => claimRunFolder(parent, 'a'), { code: 'RUN_FOLDER_UNSAFE' });
    throws(() => sweepDeadRuns(parent), { code: 'RUN_FOLDER_UNSAFE' });
  });

  it('half-made and half-removed folders of the killed are swept, half-made ones of the living are not', async (t) => {
    const parent = parentFor(t);
    releaseRunFolder(claimRunFolder(parent, 'a'));
    const root = rootOf(parent);
    const { child } = await processThat("console.log('up'); setInterval(() => {}, 1000);");
    await killed(child);
    for (const name of [`.claim-${child.pid}-0`, `.claim-${process.pid}-0`, '.dead-0'])
      mkdirSync(join(root, name), { mode: 0o700 });
    deepEqual(sweepDeadRuns(parent), []);
    deepEqual(readdirSync(root), [`.claim-${process.pid}-0`]);
  });

  it('are swept once by many sweepers at once, while others claim', async (t) => {
    const parent = parentFor(t);
    const file = join(claimRunFolder(parent, 'template'), 'owner.json');
    const owner = JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), startTime: '1' });
    const names = Array.from({ length: 40 }, (_, i) => `run-${i}`);
    for (const name of names) writeFileSync(join(claimRunFolder(parent, name), 'owner.json'), owner);
    const place = JSON.stringify(parent);
    const body = `console.log('up');
      process.stdin.once('data', () => {
        const mine = claimRunFolder(${place}, 'live-' + process.pid);
        console.log(JSON.stringify(sweepDeadRuns(${place})));
        process.stdin.once('data', () => process.exit());
      });`;
    const sweepers = await Promise.all(Array.from({ length: 4 }, () => processThat(body)));
    const swept = await Promise.all(
      sweepers.map(({ child }) => {
        const answer = new Promise<string>((resolve) => child.stdout?.once('data', (chunk) => resolve(String(chunk))));
        child.stdin?.write('go\n');
        return answer;
      }),
    );
    deepEqual(swept.flatMap((line) => JSON.parse(line) as string[]).sort(), [...names].sort(), 'each by exactly one');
    const left = readdirSync(rootOf(parent)).filter((name) => name.startsWith('live-'));
    equal(left.length, 4, 'none of the living was swept');
    for (const { child } of sweepers) await killed(child);
    equal(sweepDeadRuns(parent).length, 4);
    deepEqual(readdirSync(rootOf(parent)), ['template']);
  });

  it('a run id is a plain name', (t) => {
    for (const runId of ['', '.', '..', '../x', 'a/b', '.claim-1-0']) {
      throws(() => claimRunFolder(parentFor(t), runId), { code: 'RUN_ID_INVALID' });
    }
  });

  it('a disk is not memory', () => {
    equal(memoryBackedFolder('/proc'), undefined);
    equal(memoryBackedFolder('/nowhere'), undefined);
  });
});
