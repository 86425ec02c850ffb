import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { nodeDisk } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { RunResult } from './run-job.js';
import { ROOT, TestPlace } from './spawned-run.test.support.js';

const ROWS = 20_000;
const DOORS = ['millrace', 'millrace/base', 'millrace/shuffle', 'millrace/statestore', 'millrace/checkpoint'];

/** Names of every door in use, as a user's project would use them; one line must not compile. */
const USES_TYPES = `
import { MillraceError, type Clock, systemClock } from 'millrace/base';
import { count, job, jsonLines, type JobDefinition, rows, tumbling } from 'millrace';
import { type ShuffleMaster, type ShuffleService, shuffleConformance } from 'millrace/shuffle';
import { MemoryStateStore, type StateStore } from 'millrace/statestore';
import { type BlobStore, type Manifest, MemoryBlobStore } from 'millrace/checkpoint';

const clock: Clock = systemClock();
const blobs: BlobStore = new MemoryBlobStore();
export const used = [clock, blobs, MemoryStateStore, shuffleConformance, MillraceError];
export type Used = [ShuffleMaster, ShuffleService, StateStore, Manifest];
export const definition: JobDefinition = job('typed', (j) => {
  j.from(rows({ at: 'timestamp', key: 'int32' }, [{ at: 1, key: 2 }]))
    .eventTime('at', { outOfOrder: 0 })
    .keyBy('key')
    .window(tumbling('1s'))
    .aggregate({ n: count() })
    .to(jsonLines('out'));
});
export const misspelt = job('misspelt', (j) => {
  // @ts-expect-error: there is no such column
  j.from(rows({ at: 'timestamp', key: 'int32' }, [])).keyBy('kee');
});
`;

describe('the package, packed and installed in an empty project', () => {
  const place = new TestPlace();
  const project = place.path('project');
  after(() => place.remove());

  function inProject(command: string, ...args: readonly string[]): SpawnSyncReturns<string> {
    return spawnSync(command, args, { cwd: project, encoding: 'utf8', env: { ...process.env, TMPDIR: place.tmp } });
  }

  function succeeded(done: SpawnSyncReturns<string>): string {
    equal(done.status, 0, `${done.error?.message ?? ''}${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  before(() => {
    mkdirSync(project);
    writeFileSync(join(project, 'package.json'), '{ "name": "project", "private": true, "type": "module" }\n');
    // What is built is what is tested: no scripts, no second build.
    const packed = succeeded(
      spawnSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', place.folder], {
        cwd: ROOT,
        encoding: 'utf8',
      }),
    );
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    succeeded(inProject('npm', 'install', ...flags, join(place.folder, filename)));
  });

  it('holds code, types, README and licence, and nothing that is for developers', () => {
    const installed = join(project, 'node_modules', 'millrace');
    for (const file of ['LICENSE', 'README.md', 'dist/engine/cli/main.js', 'dist/engine/index.d.ts']) {
      ok(existsSync(join(installed, file)), file);
    }
    match(readFileSync(join(installed, 'LICENSE'), 'utf8'), /Apache License\s+Version 2\.0/);
    const listed = succeeded(
      inProject('find', installed, '-type', 'f', '-not', '-path', '*/node_modules/millrace/node_modules/*'),
    );
    const surplus = listed
      .split('\n')
      .filter((path) =>
        /\.test\.|\/chaos\/|\/bench\/|\/examples\/|\/tidy-rules|\.tsbuildinfo|\.fbs$|(?<!\.d)\.ts$/.test(path),
      );
    deepEqual(surplus, []);
  });

  it('gives every door at run time', () => {
    const code = `for (const door of ${JSON.stringify(DOORS)}) console.log(door, Object.keys(await import(door)).length > 2);`;
    const said = succeeded(inProject('node', '--input-type=module', '-e', code));
    deepEqual(
      said.trim().split('\n'),
      DOORS.map((door) => `${door} true`),
    );
    const closed = inProject('node', '--input-type=module', '-e', "await import('millrace/dist/engine/index.js')");
    match(closed.stderr, /ERR_PACKAGE_PATH_NOT_EXPORTED/);
  });

  it('has types on every door, and they catch a misspelt column', () => {
    writeFileSync(join(project, 'uses-types.ts'), USES_TYPES);
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const types = ['--typeRoots', join(ROOT, 'node_modules', '@types'), '--types', 'node'];
    const strict = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--skipLibCheck'];
    succeeded(inProject('node', compiler, ...strict, ...types, 'uses-types.ts'));
  });

  /** What the example of a folder's README prints, compiled and run as it stands there. */
  function ranExample(folder: string): string {
    const readme = readFileSync(join(ROOT, folder, 'README.md'), 'utf8');
    const [, code] = /```ts\n([\s\S]*?)```/.exec(readme) ?? [];
    writeFileSync(join(project, `${folder}.ts`), code as string);
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const types = ['--typeRoots', join(ROOT, 'node_modules', '@types'), '--types', 'node'];
    const strict = ['--strict', '--target', 'es2022', '--module', 'nodenext', '--skipLibCheck'];
    succeeded(inProject('node', compiler, ...strict, ...types, `${folder}.ts`));
    return succeeded(inProject('node', `${folder}.js`));
  }

  it('the example of the checkpoint store compiles and runs as it stands in the README', () => {
    equal(ranExample('checkpoint'), 'ada 1\nbob 2\n');
    for (const place of ['counts', 'savepoint']) {
      match(
        succeeded(inProject('npx', '--no-install', 'millrace', 'checkpoints', 'fsck', place, '--deep')),
        /every byte was read/,
      );
    }
  });

  it('the example of the state store compiles and runs as it stands in the README', () => {
    equal(ranExample('statestore'), 'ada 1\nbob 2\ncyd undefined\n');
  });

  it('runs a job written in TypeScript by its command', async () => {
    const version = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
    equal(succeeded(inProject('npx', '--no-install', 'millrace', '--version')).trim(), version);
    writeCountingJob(join(project, 'job.ts'));
    const run = ['run', 'job.ts', '--param', `rows=${ROWS}`, '--shm-dir', place.shm, '--json'];
    const said = succeeded(inProject('npx', '--no-install', 'millrace', ...run));
    const result = JSON.parse(said.trimEnd().split('\n').at(-1) as string) as RunResult;
    deepEqual([result.ok, result.job, result.rows], [true, 'counting', ROWS]);
    const lines = await readJsonLines(nodeDisk(), join(project, 'out'));
    const { duplicates, missing, unexpected } = compareLines(lines, expectedCounts(ROWS));
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
  });
});
