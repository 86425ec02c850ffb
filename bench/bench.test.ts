import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { memoryBackedFolder, sweepDeadRuns } from '../base/index.js';
import { benchCommand } from './command.js';
import { withFigures } from './figures.js';
import { alternate, type Suite, type SuiteContext } from './harness.js';
import { figure, type Report, reportOf } from './report.js';
import { type Goal, median, type Row, rowOf } from './row.js';
import { SUITES } from './suites.js';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const ROW_KEYS = ['name', 'value', 'unit', 'limit', 'limitName', 'ratio', 'reach', 'aim', 'ok'];

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function bench(...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

/** The command on planted suites, in this process. */
async function commandOn(suites: readonly Suite[], ...argv: string[]): Promise<Ended> {
  let out = '';
  let err = '';
  const code = await benchCommand({
    argv,
    suites: suites.map((suite) => ({ name: suite.name, describe: 'planted', load: async () => suite })),
    run: async (entry) => {
      const rows: Row[] = [];
      await (await entry.load()).run({ ...QUICK, row: (row) => rows.push(row) });
      return reportOf(entry.name, rows);
    },
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    when: '2000-01-01',
  });
  return { code, out, err };
}

const QUICK: SuiteContext = {
  quick: true,
  folder: '',
  memoryFolder: undefined,
  progress: () => undefined,
  row: () => undefined,
};

const goal = (reach: number): Goal => ({ of: 'value', reach, aim: reach });

function suiteOf(name: string, ...rows: Row[]): Suite {
  return {
    name,
    async run(context) {
      for (const row of rows) context.row(row);
    },
  };
}

describe('bench, every suite in tiny sizes', () => {
  it('prints one JSON object of the agreed shape, and leaves nothing behind', { timeout: 120_000 }, async () => {
    leftovers();
    const { code, out, err } = await bench('all', '--quick', '--json');
    equal(code, 0, err);
    equal(out.trimEnd().split('\n').length, 1);
    const report = JSON.parse(out) as Report;
    deepEqual(Object.keys(report), ['suite', 'machine', 'node', 'rows']);
    equal(report.suite, 'all');
    equal(report.node, process.version);
    for (const row of report.rows) {
      deepEqual(Object.keys(row), ROW_KEYS);
      ok(Number.isFinite(row.value) && row.value > 0, `${row.name}: ${row.value}`);
      equal(row.limit === null, row.ratio === null, row.name);
      equal(row.limit === null, row.limitName === null, row.name);
      equal(row.reach === null, row.ok === null, row.name);
    }
    const names = report.rows.map((row) => row.name);
    equal(new Set(names).size, names.length, 'a row stands there twice');
    for (const { name } of SUITES)
      ok(
        names.some((row) => row.startsWith(`${name}.`)),
        `no row of ${name}`,
      );
    const withGoals = ['shuffle.inprocess', 'shuffle.wire', 'state.rmw', 'state.pause', 'checkpoint.local'];
    for (const name of ['main.rows', 'main.wall', ...withGoals]) ok(names.includes(name), `no row ${name}`);
    for (const row of report.rows) if (withGoals.includes(row.name)) equal(typeof row.ok, 'boolean', row.name);
    deepEqual(leftovers(), []);
  });
});

/** Run folders of benchmarks that are over. Those of others that run now are theirs. */
function leftovers(): string[] {
  const parents = [tmpdir(), ...[memoryBackedFolder() ?? []].flat()];
  return parents.flatMap(sweepDeadRuns).filter((runId) => runId.startsWith('bench-'));
}

describe('the bench command', () => {
  it('answers an unknown suite with one line and exit code 2', async () => {
    const { code, out, err } = await bench('nonsense');
    equal(code, 2);
    equal(out, '');
    match(err, /^error: no suite named 'nonsense'; there are: all, main, [^\n]*\n$/);
  });

  it('answers a missing suite, an unknown option and a bad combination with one line and exit code 2', async () => {
    const suite = suiteOf('planted', rowOf({ name: 'planted.a', unit: 's' }, [{ value: 1 }]));
    for (const argv of [[], ['planted', '--nope'], ['planted', '--quick', '--markdown'], ['planted', 'more']]) {
      const { code, out, err } = await commandOn([suite], ...argv);
      equal(code, 2, argv.join(' '));
      equal(out, '');
      match(err, /^error: [^\n]+\n$/);
    }
  });

  it('lists all suites and options in its help', async () => {
    const { code, out } = await bench('--help');
    equal(code, 0);
    for (const { name } of SUITES) match(out, new RegExp(`^ +${name} +\\w`, 'm'));
    for (const option of ['--json', '--quick', '--markdown']) ok(out.includes(option), option);
  });

  it('shows a missed goal and exits with 0 all the same', async () => {
    const missed = rowOf({ name: 'planted.missed', unit: 'ops/s', goal: goal(10) }, [{ value: 1 }]);
    const reached = rowOf({ name: 'planted.reached', unit: 'ops/s', goal: goal(10) }, [{ value: 11 }]);
    const json = await commandOn([suiteOf('planted', missed, reached)], 'planted', '--json');
    equal(json.code, 0);
    const { rows } = JSON.parse(json.out) as Report;
    deepEqual(
      rows.map((row) => row.ok),
      [false, true],
    );
    const people = await commandOn([suiteOf('planted', missed, reached)], 'planted');
    equal(people.code, 0);
    match(people.out, /planted\.missed .* NO\n/);
  });

  it('ends with one line and exit code 1 when a suite fails', async () => {
    const failing: Suite = { name: 'planted', run: () => Promise.reject(new Error('it broke\nand more')) };
    const { code, out, err } = await commandOn([failing], 'planted', '--json');
    deepEqual({ code, out, err }, { code: 1, out: '', err: 'error: suite planted failed: it broke\n' });
  });
});

describe('the figures', () => {
  it('are medians: of values, of limits, and of the ratios of each round', () => {
    const rounds = [
      { value: 10, limit: 20 },
      { value: 30, limit: 40 },
      { value: 20, limit: 10 },
    ];
    const row = rowOf({ name: 'a', unit: 's', limitName: 'bare' }, rounds);
    deepEqual([row.value, row.limit, row.ratio, row.ok], [20, 20, 0.75, null]);
    equal(median([4, 1, 3, 2]), 2.5);
  });

  it('are judged by the value or by the ratio, upwards or downwards', () => {
    const judged = (value: number, limit: number, given: Goal) =>
      rowOf({ name: 'a', unit: 's', limitName: 'bare', goal: given }, [{ value, limit }]).ok;
    equal(judged(6, 10, { of: 'ratio', reach: 0.6, aim: 0.9 }), true);
    equal(judged(5, 10, { of: 'ratio', reach: 0.6, aim: 0.9 }), false);
    equal(judged(2, 1, { of: 'value', reach: 2, aim: 1, atMost: true }), true);
    equal(judged(3, 1, { of: 'value', reach: 2, aim: 1, atMost: true }), false);
    equal(judged(7, 10, { of: 'value', reach: 5, aim: 9, ratioAtLeast: 1 }), false);
    equal(judged(7, 6, { of: 'value', reach: 5, aim: 9, ratioAtLeast: 1 }), true);
  });

  it('alternate with their limits, and which of the two comes first alternates as well', async () => {
    let order = '';
    const count = (letter: string) => () => {
      order += letter;
      return order.length;
    };
    const rounds = await alternate({ ...QUICK, quick: false }, count('v'), count('l'));
    equal(order, 'vllvvllvvl');
    deepEqual(rounds[1], { value: 4, limit: 3 });
  });

  it('are written between the marks of their suite, and nowhere else', () => {
    const text =
      'a\n<!-- figures x -->\nold\n<!-- end of figures -->\nb\n<!-- figures y -->\nold\n<!-- end of figures -->\n';
    const rows = [
      rowOf({ name: 'y.a', unit: 'MB/s', limitName: 'bare', goal: goal(2) }, [{ value: 1234.5, limit: 2000 }]),
    ];
    const report = { suite: 'y', machine: 'm', node: 'v20', rows };
    const after = withFigures(text, report, '2000-01-01');
    ok(after.startsWith(text.slice(0, text.indexOf('<!-- figures y -->'))));
    ok(after.endsWith('\n<!-- end of figures -->\n'));
    ok(after.includes('`npm run bench -- y`, 2000-01-01, m, Node v20:'));
    ok(after.includes('| `y.a` | 1,230 MB/s | 2,000 (bare) | 0.617 | 2 / 2 | yes |'));
    equal(withFigures(after, report, '2000-01-01'), after);
    equal(withFigures(text, { ...report, suite: 'z' }, '2000-01-01'), text);
  });

  it('have three significant digits', () => {
    deepEqual([0, 0.012345, 1.2345, 12.345, 999.6, 12345, 1234567].map(figure), [
      '0',
      '0.0123',
      '1.23',
      '12.3',
      '1,000',
      '12,300',
      '1,230,000',
    ]);
  });
});
