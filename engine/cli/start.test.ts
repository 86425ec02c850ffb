import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { expectedOfFlights } from './expected-flights.test.support.js';
import type { FlightsResult } from './flights-demo.js';
import { TestPlace } from './spawned-run.test.support.js';

const ROWS = 90_000;
/** Split over the source tasks, of which the first has all of so few rows: about three seconds. */
const RATE = 120_000;
const KEYS = [
  'ok',
  'rows',
  'rowsPerSecond',
  'results',
  'sha256',
  'expectedSha256',
  'checkpoints',
  'lastCheckpointBytes',
  'kills',
  'recoveryMs',
  'restarts',
  'duplicates',
  'missing',
  'lateDropped',
];

/** What `npm start -- ARGS` does after its pre hook has built. */
describe('npm start', () => {
  const place = new TestPlace();
  after(() => place.remove());

  async function start(...args: readonly string[]): Promise<FlightsResult> {
    const small = ['--rows', String(ROWS), '--rate', String(RATE), '--checkpoint-interval-ms', '200'];
    const run = place.start('start', [...small, '--json', '--shm-dir', place.shm, ...args]);
    const code = await run.ended;
    const what = `start ${args.join(' ')}: ${run.stderr}${run.stdout}`;
    equal(code, 0, what);
    const result = run.result<FlightsResult>();
    deepEqual(Object.keys(result), KEYS, what);
    const { ok: isOk, rows, duplicates, missing, lateDropped } = result;
    deepEqual(
      { isOk, rows, duplicates, missing, lateDropped },
      { isOk: true, rows: ROWS, duplicates: 0, missing: 0, lateDropped: 0 },
      what,
    );
    ok(result.checkpoints > 0 && result.rowsPerSecond > 0 && result.results > 0, what);
    deepEqual(place.processes(), [], what);
    deepEqual(place.leftovers(), [], what);
    return result;
  }

  it('gives the same output with and without the kill, however many workers there are and however buffers travel', async () => {
    const { sha256: expected } = await expectedOfFlights(ROWS);
    const undisturbed = await start('--no-kill');
    deepEqual([undisturbed.kills, undisturbed.restarts, undisturbed.recoveryMs], [0, 0, null]);
    const killed = [
      await start(),
      await start('--shuffle', 'wire', '--workers', '1', '--slots', '3'),
      await start('--shuffle', 'memory', '--workers', '3', '--slots', '1'),
    ];
    for (const { kills, restarts, recoveryMs } of killed) {
      equal(kills, 1);
      ok(restarts >= 1);
      ok(typeof recoveryMs === 'number' && recoveryMs > 0);
    }
    deepEqual(
      [undisturbed, ...killed].flatMap((result) => [result.sha256, result.expectedSha256]),
      Array.from({ length: 8 }, () => expected),
    );
  });

  it('ends bad usage with one line and exit code 2', async () => {
    const bad: [args: string[], line: RegExp][] = [
      [['--frobnicate'], /unknown option '--frobnicate'/],
      [['--row', '5'], /unknown option '--row' \(Did you mean --rows\?\)/],
      [['--rows', '0'], /--rows <n>.*'0'.*1 to 3000000/],
      [['--rows', '1e3'], /--rows <n>.*'1e3'/],
      [['--shuffle', 'pigeon'], /--shuffle <kind>.*'pigeon'.*mapped, wire, memory/],
      [['--workers'], /--workers <n>.*argument missing/],
      [['surplus'], /too many arguments/],
    ];
    for (const [args, line] of bad) {
      const run = place.start('start', args);
      equal(await run.ended, 2, `${args.join(' ')}: ${run.stderr}`);
      match(run.stderr, line);
      equal(run.stderr.trimEnd().split('\n').length, 1, run.stderr);
      equal(run.stdout, '');
    }
    deepEqual(place.leftovers(), []);
  });
});
