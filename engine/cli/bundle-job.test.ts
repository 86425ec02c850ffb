import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { job } from '../api/index.js';
import { loadJob } from '../runtime/index.js';
import { bundleJob } from './bundle-job.js';

interface Place {
  write(name: string, text: string): string;
  bundle(file: string): ReturnType<typeof bundleJob>;
  readonly out: string;
}

function inFolder(name: string, run: (place: Place) => Promise<void>): void {
  test(name, async () => {
    const path = mkdtempSync(join(tmpdir(), 'millrace-bundle-'));
    const out = join(path, 'artefacts');
    const write = (file: string, text: string) => {
      writeFileSync(join(path, file), text);
      return join(path, file);
    };
    try {
      await run({ write, out, bundle: (file) => bundleJob(file, out) });
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  });
}

const JOB = `
import { job, jsonLines, rows } from 'millrace';
export default job('tiny', (j) => { j.from(rows({ n: 'int32' }, [{ n: 1 }])).to(jsonLines('out')); });
`;
const plan = (bundle: string) => loadJob({ bundle, params: {}, parallelism: 1 });

inFolder(
  'a TypeScript job that imports millrace and a file of its own is bundled, loaded and planned',
  async (place) => {
    place.write('name.ts', "export const name: string = 'two-files';\n");
    const file = place.write('job.ts', `import { name } from './name.js';${JOB.replace("'tiny'", 'name')}`);
    const { path, hash } = await place.bundle(file);
    assert.equal((await plan(path)).name, 'two-files');
    assert.match(hash, /^[0-9a-f]{64}$/);
    assert.deepEqual(readdirSync(place.out), [path.slice(place.out.length + 1)], 'nothing but the bundle is left');
  },
);

inFolder('what a job imports from millrace is this very engine, not a copy of it', async (place) => {
  const file = place.write('job.ts', `${JOB}\nexport { job } from 'millrace';\n`);
  const { path } = await place.bundle(file);
  const module = (await import(pathToFileURL(path).href)) as { readonly job: unknown };
  assert.equal(module.job, job);
  assert.ok(readFileSync(path, 'utf8').length < 2000);
});

inFolder('the same file gives the same hash, another text another one', async (place) => {
  const file = place.write('job.ts', JOB);
  const first = await place.bundle(file);
  assert.deepEqual(await place.bundle(file), first);
  place.write('job.ts', JOB.replace('n: 1', 'n: 2'));
  assert.notEqual((await place.bundle(file)).hash, first.hash);
});

inFolder('import.meta.url stays the job file’s own', async (place) => {
  const file = place.write('job.ts', `${JOB}\nexport const here = import.meta.url;\n`);
  const { path } = await place.bundle(file);
  assert.equal(((await import(pathToFileURL(path).href)) as { readonly here: string }).here, pathToFileURL(file).href);
});

inFolder('a file that is not there is named; so is a folder', async (place) => {
  const missing = join(place.out, '..', 'nope.ts');
  await assert.rejects(place.bundle(missing), {
    code: 'JOB_NOT_FOUND',
    kind: 'invalid',
    message: /no job file \/.*nope\.ts$/,
  });
  await assert.rejects(place.bundle(join(place.out, '..')), { code: 'JOB_NOT_FOUND' });
});

inFolder(
  'a syntax error, a missing import and a wrong part of millrace are one line with file and line number',
  async (place) => {
    const broken = async (text: string, message: RegExp) => {
      const file = place.write('job.ts', text);
      await assert.rejects(place.bundle(file), (thrown: { code: string; kind: string; message: string }) => {
        assert.deepEqual([thrown.code, thrown.kind], ['JOB_BROKEN', 'invalid']);
        assert.match(thrown.message, message);
        assert.ok(!thrown.message.includes('\n'));
        return true;
      });
    };
    await broken('const a = 1;\nconst b = ;\n', /job\.ts:2: Unexpected ";"/);
    await broken("\n\nimport './gone.js';\n", /job\.ts:3: Could not resolve "\.\/gone\.js"/);
    await broken(
      "import 'millrace/nothing';\n",
      /job\.ts:1: 'millrace\/nothing' is not part of millrace \(there are: millrace, /,
    );
  },
);

inFolder('a file that throws when it is loaded, while it describes, or that exports no job', async (place) => {
  const load = async (text: string) => plan((await place.bundle(place.write('job.ts', text))).path);
  await assert.rejects(load(`throw new Error('at load\\nsecond line');`), {
    code: 'JOB_FAILED',
    kind: 'invalid',
    message: 'the job file failed: at load',
  });
  await assert.rejects(
    load("import { job } from 'millrace'; export default job('x', () => { throw new TypeError('describing'); });"),
    {
      code: 'JOB_FAILED',
      message: /describing/,
    },
  );
  await assert.rejects(load("import { job } from 'millrace'; export default job('x', () => {});"), {
    code: 'JOB_WITHOUT_SINK',
  });
  for (const text of [
    'export default 1;',
    'export default null;',
    'export const x = 1;',
    'export default { kind: "millrace-job" };',
  ]) {
    await assert.rejects(load(text), { code: 'JOB_MISSING', kind: 'invalid' }, text);
  }
});
