import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rows, type Sink } from '../connectors/index.js';
import { planJob } from '../graph/index.js';
import { count } from '../operators/index.js';
import { type Duration, durationMs, type JobBuilder, job, tumbling } from './index.js';

const SCHEMA = { t: 'timestamp', k: 'utf8' } as const;
const sink: Sink = {
  name: 'sink',
  open: async () => {
    throw new Error('never opened');
  },
};
const build = (describe: (j: JobBuilder) => void, params = {}) => job('a-job', describe).build(params);
const stream = (j: JobBuilder) => j.from(rows(SCHEMA, []));

test('durations have a number and a unit', () => {
  const cases: [Duration, number][] = [
    ['250ms', 250],
    ['1s', 1000],
    ['1.5s', 1500],
    ['30m', 1_800_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    [0, 0],
  ];
  for (const [text, ms] of cases) assert.equal(durationMs(text), ms);
  for (const bad of ['', '1', 's', '1 s', '-1s', '1S', '1e3s', Number.NaN, -1, Number.POSITIVE_INFINITY]) {
    assert.throws(() => durationMs(bad as Duration), { code: 'DURATION', kind: 'invalid' }, String(bad));
  }
});

test('a window must hold something', () => {
  assert.throws(() => tumbling(0), { code: 'WINDOW_SIZE', kind: 'invalid' });
});

test('parameters: given, by default, of the wrong kind, unknown', () => {
  const seen: unknown[] = [];
  const describe = (j: JobBuilder) => {
    seen.push(j.param('rows', 10), j.param('out', 'here'));
    stream(j).to(sink);
  };
  build(describe);
  build(describe, { rows: '12', out: '' });
  assert.deepEqual(seen, [10, 'here', 12, '']);
  for (const rows of ['many', '', ' ', 'NaN', '1e999']) {
    assert.throws(() => build(describe, { rows }), {
      code: 'PARAM',
      kind: 'invalid',
      message: /rows must be a number/,
    });
  }
  assert.throws(() => build(describe, { row: '1' }), {
    code: 'PARAM',
    message: /no parameter 'row' \(it has: out, rows\)/,
  });
});

test('event time is asked for where it is needed, and lost by a map that drops its column', () => {
  const windowed = (j: JobBuilder) => stream(j).keyBy('k').window(tumbling('1s'));
  assert.throws(() => build(windowed), { code: 'NO_EVENT_TIME', message: /window/ });
  const top = (j: JobBuilder) => stream(j).keyBy('k').top(1, { by: 't' });
  assert.throws(() => build(top), { code: 'NO_EVENT_TIME', message: /top/ });
  const timed = (j: JobBuilder) => stream(j).eventTime('t', { outOfOrder: 0 });
  const dropped = (j: JobBuilder) =>
    timed(j)
      .map({ k: 'utf8' }, ({ k }) => ({ k }))
      .keyBy('k')
      .window(tumbling('1s'));
  assert.throws(() => build(dropped), { code: 'NO_EVENT_TIME' });
  build((j) =>
    timed(j)
      .map({ t: 'timestamp' }, ({ t }) => ({ t }))
      .keyBy('t')
      .window(tumbling('1s'))
      .aggregate({ n: count() })
      .to(sink),
  );
});

test('columns that clash are refused by name', () => {
  const timed = (j: JobBuilder) => stream(j).eventTime('t', { outOfOrder: 0 });
  const aggregated = (j: JobBuilder) => timed(j).keyBy('k').window(tumbling('1s')).aggregate({ k: count() });
  assert.throws(() => build(aggregated), { code: 'COLUMN_TWICE', message: /'k'/ });
  const end = (j: JobBuilder) => timed(j).keyBy('k').window(tumbling('1s')).aggregate({ windowEnd: count() });
  assert.throws(() => build(end), { code: 'COLUMN_TWICE', message: /'windowEnd'/ });
  const joined = (j: JobBuilder) => stream(j).join(stream(j).broadcast(), 'k', 'k');
  assert.throws(() => build(joined), { code: 'COLUMN_TWICE', message: /'t'/ });
});

test('a column that only plain JavaScript could ask for is named with those there are', () => {
  assert.throws(() => build((j) => stream(j).keyBy('nope' as 'k')), {
    code: 'COLUMN_MISSING',
    message: /keyBy.*'nope'.*t, k/,
  });
  for (const limit of [0, -1, 1.5, Number.NaN]) {
    const top = (j: JobBuilder) => stream(j).eventTime('t', { outOfOrder: 0 }).keyBy('k').top(limit, { by: 't' });
    assert.throws(() => build(top), { code: 'TOP_LIMIT', kind: 'invalid' });
  }
});

test('names of jobs', () => {
  for (const name of ['', '-x', 'a b', 'a/b', 'x'.repeat(65)]) {
    assert.throws(() => job(name, () => {}).build({}), { code: 'JOB_NAME', kind: 'invalid' }, name);
  }
});

test('the same description gives the same graph every time, which every process relies on', () => {
  const describe = (j: JobBuilder) => {
    const timed = stream(j).eventTime('t', { outOfOrder: 0 });
    timed.keyBy('k').window(tumbling('1s')).aggregate({ n: count() }).to(sink);
  };
  const shape = () => {
    const graph = planJob(build(describe), 3);
    return graph.vertices.map((v) => [
      v.id,
      v.name,
      v.parallelism,
      v.nodes.map(({ id }) => id),
      v.inputs.map(({ id }) => id),
    ]);
  };
  assert.deepEqual(shape(), shape());
});

test('edge() holds for the edges that leave its stream, and for none before or after', () => {
  const describe = (j: JobBuilder) => {
    const timed = stream(j).eventTime('t', { outOfOrder: 0 }).edge({ bufferTimeout: '5ms' }).edge({ maxLag: 4096 });
    timed.keyBy('k').window(tumbling('1s')).aggregate({ n: count() }).keyBy('k').top(1, { by: 'n' }).to(sink);
  };
  assert.deepEqual(
    planJob(build(describe), 3).edges.map(({ limits }) => limits),
    [
      { bufferTimeoutMs: 5, maxLagBytes: 4096 },
      { bufferTimeoutMs: 100, maxLagBytes: undefined },
    ],
  );
  for (const maxLag of [0, 1.5, -1]) {
    assert.throws(() => build((j) => stream(j).edge({ maxLag }).to(sink)), { code: 'EDGE_LAG', kind: 'invalid' });
  }
});
