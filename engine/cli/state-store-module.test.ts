import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { nodeDisk } from '../../base/index.js';
import { readJsonLines } from '../connectors/index.js';
import { compareLines } from '../examples/index.js';
import { expectedCounts, writeCountingJob } from './counting-job.test.support.js';
import type { FlightsResult } from './flights-demo.js';
import type { RunResult } from './run-job.js';
import { ROOT, TestPlace, until } from './spawned-run.test.support.js';

const EXAMPLE = pathToFileURL(join(ROOT, 'dist', 'statestore', 'stores', 'example-state-store.js')).href;
/** Enough for a busy machine: it is stopped twice before they are through. */
const ROWS = 300_000;

describe('a state store that is chosen by name', () => {
  const place = new TestPlace();
  after(() => place.remove());
  const job = writeCountingJob(place.path('job.ts'));

  /** The example, which also leaves word of each store that is made. */
  function telling(file: string): string {
    return place.write(
      'telling.mjs',
      `import { appendFileSync } from 'node:fs';
      import example from ${JSON.stringify(EXAMPLE)};
      export default {
        name: 'telling',
        async open(host) {
          const stores = await example.open(host);
          return { create: (range) => (appendFileSync(${JSON.stringify(file)}, range.first + '\\n'), stores.create(range)) };
        },
      };\n`,
    );
  }

  for (const kind of ['lmdb', 'a module']) {
    it(`${kind} carries a whole job past a killed worker, with the right output`, async () => {
      const used = place.path('used');
      const store = kind === 'lmdb' ? kind : telling(used);
      const run = place.start('start', ['--rows', '60000', '--rate', '60000', '--state-store', store, '--json']);
      equal(await run.ended, 0, run.stderr);
      const result = run.result<FlightsResult>();
      ok(result.ok, run.stdout);
      deepEqual([result.rows, result.kills, result.sha256], [60_000, 1, result.expectedSha256]);
      ok(result.restarts >= 1);
      // Of each task one, and again of those that started anew.
      if (kind !== 'lmdb') ok(readFileSync(used, 'utf8').trimEnd().split('\n').length > 12);
      deepEqual(place.processes(), []);
      deepEqual(place.leftovers(), []);
    });
  }

  it('goes on from where another one was, and is gone on from', async () => {
    const out = place.path('out');
    const params = [`rows=${ROWS}`, 'rate=40000', `out=${out}`].flatMap((p) => ['--param', p]);
    const start = (store: string) => {
      const state = ['--state-dir', place.path('state'), '--checkpoint-interval-ms', '200', '--state-store', store];
      return place.run(job, '--workers', '1', ...state, '--http-port', '0', ...params);
    };
    /** Of which there is output. */
    const newestCheckpoint = () => {
      const names = existsSync(out) ? readdirSync(out) : [];
      return Math.max(0, ...names.map((name) => Number(/^part-\d+-(\d+)\.jsonl$/.exec(name)?.[1] ?? 0)));
    };
    let newest = 0;
    for (const store of ['memory', 'lmdb']) {
      const run = start(store);
      const before = newest;
      await until(
        () => newestCheckpoint() > before + 1 || !run.running,
        60_000,
        () => run.stderr,
      );
      newest = newestCheckpoint();
      ok(run.running, `${store}: the job ended too early: ${run.stderr}`);
      run.signal('SIGINT');
      equal(await run.ended, 130, run.stderr);
    }
    const last = start('memory');
    equal(await last.ended, 0, last.stderr);
    ok((last.result<RunResult>().resumedFrom as number) >= newest);
    const { duplicates, missing, unexpected } = compareLines(
      await readJsonLines(nodeDisk(), out),
      expectedCounts(ROWS),
    );
    deepEqual({ duplicates, missing, unexpected }, { duplicates: 0, missing: 0, unexpected: 0 });
    deepEqual(place.leftovers(), []);
  });

  it('that is none is refused in one line, with exit code 2', async () => {
    const bad: [store: string, line: RegExp][] = [
      ['./not-there.js', /'\.\/not-there\.js' is invalid\. .*memory, tiered, lmdb, or a module: there is no file /],
      [
        place.write('throws.mjs', "throw new Error('of its own\\nand more');\n"),
        /throws\.mjs is no state store: .*cannot be loaded: of its own \[/,
      ],
      [
        place.write('empty.mjs', 'export const x = 1;\n'),
        /empty\.mjs is no state store: it has no default export .*\[STATE_STORE_MODULE\]/,
      ],
      [
        place.write('half.mjs', "export default { name: 'half' };\n"),
        /half\.mjs is no state store: .*no method open \(see StateStorePlugin of/,
      ],
    ];
    for (const [store, line] of bad) {
      const run = place.start('millrace', ['run', job, '--shm-dir', place.shm, '--state-store', store]);
      equal(await run.ended, 2, run.stderr);
      match(run.stderr, line);
      match(run.stderr, /^millrace: .+\n$/);
    }
    deepEqual(place.leftovers(), []);
  });
});
