import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { findSourceRoot } from './source-tree.js';

const root = findSourceRoot(import.meta.url) as string;

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A small project of its own with the real setup script and the real compiler. */
class Project {
  readonly folder: string;

  constructor(t: TestContext) {
    this.folder = mkdtempSync(join(tmpdir(), 'millrace-setup-'));
    t.after(() => rmSync(this.folder, { recursive: true }));
    this.write(
      'package.json',
      '{"name":"p","version":"1.0.0","type":"module","dependencies":{"typescript":"file:ts"}}',
    );
    const link = '"node_modules/typescript":{"resolved":"ts","link":true}';
    const rest =
      '"":{"name":"p","version":"1.0.0","dependencies":{"typescript":"file:ts"}},"ts":{"name":"typescript","version":"1.0.0"}';
    this.write('package-lock.json', `{"name":"p","version":"1.0.0","lockfileVersion":3,"packages":{${rest},${link}}}`);
    this.write(
      'tsconfig.json',
      '{"compilerOptions":{"module":"nodenext","outDir":"dist","rootDir":".","incremental":true,"tsBuildInfoFile":"dist/.tsbuildinfo","declaration":true,"types":[]},"include":["base","engine"],"exclude":["dist"]}',
    );
    this.write('ts/package.json', '{"name":"typescript","version":"1.0.0"}');
    this.write('ts/bin/tsc', `require(${JSON.stringify(join(root, 'node_modules/typescript/lib/tsc.js'))})`);
    this.write('engine/cli/main.ts', 'export const one: number = 1;\n');
    this.write('engine/old.ts', 'export const old = 1;\n');
    mkdirSync(join(this.folder, 'base'));
    copyFileSync(join(root, 'base/setup.mjs'), join(this.folder, 'base/setup.mjs'));
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.folder, path)), { recursive: true });
    writeFileSync(join(this.folder, path), text);
  }

  /** As `npm ci` by hand leaves it, without the wait. */
  pretendInstalled(): void {
    mkdirSync(join(this.folder, 'node_modules'));
    symlinkSync('../ts', join(this.folder, 'node_modules/typescript'));
    const packages =
      '"ts":{"name":"typescript","version":"1.0.0"},"node_modules/typescript":{"resolved":"ts","link":true}';
    this.write('node_modules/.package-lock.json', `{"packages":{${packages}}}`);
  }

  has(path: string): boolean {
    return existsSync(join(this.folder, path));
  }

  setup(): Promise<Outcome> {
    const child = spawn(process.execPath, [join(this.folder, 'base/setup.mjs')], { cwd: tmpdir() });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
  }
}

describe('setup', () => {
  it('installs and builds a fresh clone, then has nothing to do until a source changes', async (t) => {
    const project = new Project(t);
    deepEqual(await project.setup(), { code: 0, stdout: '', stderr: 'installing packages ...\nbuilding ...\n' });
    equal(statSync(join(project.folder, 'dist/engine/cli/main.js')).mode & 0o111, 0o111);
    deepEqual(await project.setup(), { code: 0, stdout: '', stderr: '' });

    project.write('engine/cli/main.ts', 'export const two: number = 2;\n');
    rmSync(join(project.folder, 'engine/old.ts'));
    deepEqual(await project.setup(), { code: 0, stdout: '', stderr: 'building ...\n' });
    ok(!project.has('dist/engine/old.js') && !project.has('dist/engine/old.d.ts'), 'stale outputs are gone');

    rmSync(join(project.folder, 'dist/engine/cli/main.js'));
    equal((await project.setup()).code, 0);
    ok(project.has('dist/engine/cli/main.js'), 'a lost output is built again');
  });

  it('takes packages installed by hand, and installs again when the lock file changes', async (t) => {
    const project = new Project(t);
    project.pretendInstalled();
    equal((await project.setup()).stderr, 'building ...\n');
    const changed = '{"name":"p","version":"1.0.0","lockfileVersion":3,"packages":{}}';
    project.write('package-lock.json', changed);
    const { code, stdout, stderr } = await project.setup();
    deepEqual({ code, stdout }, { code: 1, stdout: '' });
    match(stderr, /^installing packages \.\.\.\n[\s\S]*lock file[\s\S]*npm ci failed \(exit code 1\)\n$/);
  });

  it('a type error is shown, fails, and fails again until it is mended', async (t) => {
    const project = new Project(t);
    project.pretendInstalled();
    project.write('engine/cli/main.ts', "export const one: number = 'x';\n");
    for (let i = 0; i < 2; i++) {
      const { code, stdout, stderr } = await project.setup();
      deepEqual({ code, stdout }, { code: 1, stdout: '' });
      match(stderr, /engine\/cli\/main\.ts\(1,14\): error TS2322[\s\S]*the build failed\n$/);
    }
    project.write('engine/cli/main.ts', 'export const one = 1;\n');
    equal((await project.setup()).code, 0);
  });

  it('setups at the same time wait for each other, past the lock of a dead one', async (t) => {
    const project = new Project(t);
    project.pretendInstalled();
    const dead = spawn(process.execPath, ['-e', '0']);
    await new Promise((resolve) => dead.once('close', resolve));
    project.write('.millrace/setup.lock', JSON.stringify({ pid: dead.pid, startTime: '1' }));
    const outcomes = await Promise.all([project.setup(), project.setup(), project.setup()]);
    deepEqual(
      outcomes.map(({ code }) => code),
      [0, 0, 0],
    );
    const said = outcomes.map(({ stderr }) => stderr.replace(/^waiting for .*\n/m, ''));
    deepEqual(said.sort(), ['', '', 'building ...\n'], 'one of them built');
    ok(!project.has('.millrace/setup.lock'));
  });
});
