import { equal, match, ok } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nonceJob } from './nonce-job.js';
import { OutputWatch } from './output-watch.js';
import { runScenario } from './run-scenario.js';
import { drawScenario } from './scenario.js';
import { SimFileSystem } from './sim-file-system.js';
import type { SimulatedOutput } from './simulated-job.js';

function watched(outputs: readonly SimulatedOutput[]) {
  const files = new SimFileSystem();
  for (const { folder } of outputs) files.makeFolder(folder);
  const watch = new OutputWatch(files, outputs);
  const write = (path: string, ...rows: readonly object[]) => {
    files.create(path, true).file.append(Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join('')));
    return watch.look();
  };
  return { files, watch, write };
}

describe('the output as an outsider reads it', () => {
  const outputs = [
    { folder: '/out/a', expected: ['{"n":1}', '{"n":2}', '{"n":2}'] },
    { folder: '/out/b', expected: ['{"n":3}'] },
  ];

  it('is whole when each sink holds its rows as often as it should', () => {
    const { watch, write } = watched(outputs);
    equal(write('/out/a/part-0-1.jsonl', { n: 2 }), undefined);
    equal(write('/out/b/part-0-1.jsonl', { n: 3 }), undefined);
    equal(watch.missing, 2);
    equal(write('/out/a/part-1-1.jsonl', { n: 1 }, { n: 2 }), undefined);
    equal(watch.missing, 0);
    equal(watch.lines, 4);
  });

  it('is wrong with a row too many, one of another sink, a file that changes, half a line', () => {
    for (const [path, rows, why] of [
      ['/out/b/part-0-1.jsonl', [{ n: 3 }, { n: 3 }], /once more/],
      ['/out/b/part-0-1.jsonl', [{ n: 1 }], /not expected/],
    ] as const) {
      const fault = watched(outputs).write(path, ...rows);
      equal(fault?.code, 'OUTPUT_WRONG');
      match(fault.message, why);
    }
    const { files, watch, write } = watched(outputs);
    write('/out/a/part-0-1.jsonl', { n: 1 });
    files.file('/out/a/part-0-1.jsonl').append(Buffer.from('{"n":2}\n'));
    match(watch.look()?.message ?? '', /had 8 bytes and has 16/);
    const torn = watched(outputs);
    torn.files.create('/out/a/part-0-1.jsonl', true).file.append(Buffer.from('{"n":1}'));
    match(torn.watch.look()?.message ?? '', /half a line/);
  });
});

describe('what user code stamped', () => {
  const shape = { dataSeed: 2, rows: 3, keys: 2, windows: 1, rowsPerSecond: 0 };
  const { outputs } = nonceJob(shape, () => ({ nonce: 0, ms: 0 }));
  const at = '2001-01-01T00:00:00.000Z';
  const window = { id: 0, key: 'K0', windowStart: at, windowEnd: '2001-01-01T01:00:00.000Z' };
  const salted = { saltNonce: 7, saltMs: 70 };

  it('has one stamp in all sinks, in all that was ever committed', () => {
    const { write, watch } = watched(outputs);
    equal(
      write('/out/windows/part-0-1.jsonl', { ...window, nonce: 5, ms: 50, nonceMax: 5, msMax: 50, ...salted }),
      undefined,
    );
    equal(write('/out/top/part-0-2.jsonl', { at, id: 0, key: 'K0', nonce: 5, ms: 50, ...salted }), undefined);
    equal(write('/out/rows/part-0-2.jsonl', { at, id: 0, key: 'K0', nonce: 5, ms: 50 }), undefined);
    equal(write('/out/salts/part-0-1.jsonl', { salt: 'K0', ...salted }), undefined);
    equal(watch.lines, 4);
  });

  it('has forked where two sinks, a window, or a table and its stream hold different ones', () => {
    for (const rows of [
      [['/out/rows/part-0-1.jsonl', { at, id: 0, key: 'K0', nonce: 6, ms: 50 }]],
      [['/out/rows/part-0-1.jsonl', { at, id: 0, key: 'K0', nonce: 5, ms: 51 }]],
      [['/out/windows/part-0-1.jsonl', { ...window, nonce: 5, ms: 50, nonceMax: 6, msMax: 50, ...salted }]],
      [['/out/salts/part-0-1.jsonl', { salt: 'K0', saltNonce: 8, saltMs: 70 }]],
    ] as const) {
      const { write } = watched(outputs);
      write('/out/top/part-0-1.jsonl', { at, id: 0, key: 'K0', nonce: 5, ms: 50, ...salted });
      equal(write(...(rows[0] as readonly [string, object]))?.code, 'STAMPS_FORKED');
    }
  });

  it('does not fork when the tasks that stamp it fail', { timeout: 60_000 }, async () => {
    for (const seed of [1, 5]) {
      const report = await runScenario(drawScenario(seed, { job: 'nonces', faults: ['failTask', 'killSlot'] }));
      ok(report.ok, report.violation?.message);
      ok(report.restarts > 0, `seed ${seed}: nothing restarted`);
    }
  });
});
