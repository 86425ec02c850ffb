import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { nodeDisk } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { FlightsResult } from './flights-demo.js';
import { ROOT, TestPlace } from './spawned-run.test.support.js';

const EXAMPLE = join(ROOT, 'dist', 'shuffle', 'example-plugin.js');
const ROWS = 20_000;

describe('a shuffle that is a module', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const job = writeCountingJob(place.path('job.ts'));

  /** The example plug-in, which also leaves word of each end that is opened. */
  function telling(file: string): string {
    return `
      import { appendFileSync } from 'node:fs';
      import example from ${JSON.stringify(pathToFileURL(EXAMPLE).href)};
      const told = (end, host) => (appendFileSync(${JSON.stringify(file)}, end + '\\n'), host);
      export default {
        name: 'telling',
        openService: (host) => example.openService(told('service', host)),
        openClient: (host) => example.openClient(told('client', host)),
      };\n`;
  }

  function expectUsed(file: string, clientsMin: number): void {
    const ends = readFileSync(file, 'utf8').trimEnd().split('\n');
    const services = ends.filter((end) => end === 'service').length;
    equal(services, 1, ends.join());
    ok(ends.length - services >= clientsMin, ends.join());
  }

  it('carries a whole job past a killed worker, with the right output', async () => {
    const used = place.path('used');
    const shuffle = place.write('telling.mjs', telling(used));
    const run = place.start('start', ['--rows', '100000', '--rate', '100000', '--shuffle', shuffle, '--json']);
    equal(await run.ended, 0, run.stderr);
    const result = run.result<FlightsResult>();
    ok(result.ok, run.stdout);
    deepEqual([result.rows, result.kills, result.sha256], [100_000, 1, result.expectedSha256]);
    ok(result.restarts >= 1);
    // The scheduler, four slots, and those of the worker that came for the killed one.
    expectUsed(used, 7);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });

  it('is found by the name of a package, also of one that can only be imported', async () => {
    const folder = join(place.folder, 'node_modules', '@someone', 'their-shuffle');
    mkdirSync(folder, { recursive: true });
    const exports = { '.': { types: './index.d.ts', import: './their.js' } };
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'x', type: 'module', exports }));
    const used = place.path('package-used');
    writeFileSync(join(folder, 'their.js'), telling(used));
    const out = place.path('out');
    const run = place.run(
      job,
      '--shuffle',
      '@someone/their-shuffle',
      '--param',
      `rows=${ROWS}`,
      '--param',
      `out=${out}`,
    );
    equal(await run.ended, 0, run.stderr);
    const { duplicates, missing, unexpected } = compareLines(
      await readJsonLines(nodeDisk(), out),
      expectedCounts(ROWS),
    );
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
    expectUsed(used, 5);
    deepEqual(place.leftovers(), []);
  });

  it('that is none is refused in one line, with exit code 2', async () => {
    const bad: [shuffle: string, line: RegExp][] = [
      ['./not-there.js', /'\.\/not-there\.js' is invalid\. .*mapped, wire.*there is no file .*\/not-there\.js/],
      ['no-such-package', /'no-such-package' is invalid\. .*there is no package no-such-package in /],
      [
        place.write('throws.mjs', "throw new Error('of its own\\nand more');\n"),
        /throws\.mjs.* cannot be loaded: of its own \[/,
      ],
      [place.write('broken.mjs', 'export default {\n'), /broken\.mjs.* cannot be loaded: .+ \[SHUFFLE_MODULE\]/],
      [
        place.write('needs.mjs', "import 'nothing-of-that-name';\n"),
        /needs\.mjs.*'nothing-of-that-name'.* \[SHUFFLE_MODULE\]/,
      ],
      [
        place.write('empty.mjs', 'export const shuffle = 1;\n'),
        /empty\.mjs is no shuffle: it has no default export .*\[SHUFFLE_MODULE\]/,
      ],
      [
        place.write('half.mjs', "export default { name: 'half', openService() {} };\n"),
        /half\.mjs is no shuffle: .*openClient/,
      ],
    ];
    for (const [shuffle, line] of bad) {
      for (const args of [
        ['run', job],
        ['daemon', '--port', '0'],
      ]) {
        const run = place.start('millrace', [...args, '--shm-dir', place.shm, '--shuffle', shuffle]);
        equal(await run.ended, 2, `${args[0]} ${shuffle}: ${run.stderr}`);
        match(run.stderr, line);
        match(run.stderr, /^millrace: .+\n$/);
        equal(run.stdout, '');
      }
    }
    deepEqual(place.leftovers(), []);
  });

  it('whose service does not open ends the run with its reason', async () => {
    const failing = place.write(
      'fails.mjs',
      "export default { name: 'f', openClient() {}, openService() { throw new Error('the moon is not in place'); } };\n",
    );
    const run = place.run(job, '--shuffle', failing, '--param', `out=${place.path('nothing')}`);
    equal(await run.ended, 1, run.stderr);
    match(run.stderr, /^millrace: the moon is not in place \[UNEXPECTED\]\n$/);
    deepEqual(place.processes(), []);
    deepEqual(place.leftovers(), []);
  });
});
