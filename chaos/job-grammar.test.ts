import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planJob } from '../engine/graph/index.js';
import { drawnJob, PRODUCTIONS } from './job-grammar.js';
import type { ScenarioReport } from './run-scenario.js';
import { decodeSavedPlan, encodeSavedPlan } from './saved-plan.js';
import { drawScenario, type Scenario } from './scenario.js';
import { shrinkScenario } from './shrink-scenario.js';
import type { JobShape, JobStep } from './simulated-job.js';

const SEEDS = 150;

function drawnShape(seed: number): JobShape & { readonly steps: readonly JobStep[] } {
  const { shape } = drawScenario(seed, { job: 'drawn' });
  ok(shape.steps !== undefined);
  return { ...shape, steps: shape.steps };
}

const SHAPE: JobShape = { dataSeed: 1, rows: 90, keys: 3, windows: 4, rowsPerSecond: 0 };
const SOURCE: JobStep = {
  op: 'source',
  from: [],
  params: {
    salt: 7,
    share: 1,
    subtasksMax: 1,
    interleaved: true,
    paced: false,
    skew: 1,
    outOfOrderMinutes: 1,
    late: false,
    columns: ['at', 'key', 'id', 'value', 'maybe', 'flag'],
  },
};

describe('the grammar of jobs', () => {
  it('gives jobs that the engine takes, of all productions, with several sinks, widths and rows that come late', () => {
    const met = new Set<string>();
    const sum = { sinks: 0, silent: 0, late: 0, mixed: 0, joinedSources: 0 };
    for (let seed = 0; seed < SEEDS; seed++) {
      const shape = drawnShape(seed);
      const { definition, outputs } = drawnJob(shape.steps, shape);
      const graph = planJob(definition.build({}), 4);
      for (const { op } of shape.steps) met.add(op);
      sum.sinks += outputs.length;
      if (outputs.every(({ expected }) => expected.length === 0)) sum.silent++;
      if (shape.steps.some(({ params }) => (params as { readonly late?: boolean } | undefined)?.late)) sum.late++;
      if (new Set(graph.vertices.map(({ parallelism }) => parallelism)).size > 1) sum.mixed++;
      equal(new Set(outputs.map(({ folder }) => folder)).size, outputs.length);
    }
    deepEqual([...met].sort(), [...Object.keys(PRODUCTIONS), 'sink'].sort());
    ok(sum.sinks > SEEDS * 1.3, `${sum.sinks} sinks`);
    ok(sum.silent < SEEDS / 10, `${sum.silent} jobs give nothing`);
    ok(sum.late > SEEDS / 10, `${sum.late} jobs have late rows`);
    ok(sum.mixed > SEEDS / 4, `${sum.mixed} jobs are wide here and narrow there`);
  });

  it('draws the same job from the same seed, and a plan of it says the same job', () => {
    for (let seed = 0; seed < 10; seed++) {
      const scenario = drawScenario(seed, { job: 'drawn' });
      deepEqual(drawScenario(seed, { job: 'drawn' }), scenario);
      const { scenario: again } = decodeSavedPlan(encodeSavedPlan({ found: '', code: '', scenario }), 'x.json');
      deepEqual((again as Scenario).shape, scenario.shape);
    }
  });

  it('leaves the seeds of other jobs as they were', () => {
    const { job, shape, workers } = drawScenario(20_198, { job: 'flights', stateStore: 'memory' });
    // As in the plan `synced-mark.json`, which was kept when there were four jobs.
    const before = { dataSeed: 1968625415, rows: 651, keys: 16, windows: 2, rowsPerSecond: 301 };
    deepEqual({ job, shape, workers }, { job: 'flights', shape: before, workers: 1 });
  });

  it('knows what its plain programs say: windows without what is late, the best of each, and a join', () => {
    const steps: JobStep[] = [
      { ...SOURCE, params: { ...(SOURCE.params as object), late: true } },
      {
        op: 'window',
        from: [0],
        params: { keys: ['key'], keySpecs: ['utf8'], minutes: 60, aggregates: [['n', 'count', 'id']] },
      },
      { op: 'top', from: [1], params: { keys: ['windowStart'], limit: 1, by: 'n', order: 'desc', ties: ['key'] } },
      { op: 'sink', from: [1] },
      { op: 'sink', from: [2] },
    ];
    const [all, best] = drawnJob(steps, SHAPE).outputs.map(({ expected }) =>
      expected.map(
        (line) => JSON.parse(line) as { readonly windowStart: string; readonly key: string; readonly n: number },
      ),
    );
    // Rows 74 and 89 are late.
    equal(
      all?.reduce((sum, { n }) => sum + n, 0),
      88,
    );
    for (const { windowStart, n } of best ?? []) {
      const same: number[] = all?.filter((row) => row.windowStart === windowStart).map((row) => row.n) ?? [];
      equal(n, Math.max(...same));
    }
    equal(best?.length, new Set(all?.map(({ windowStart }) => windowStart)).size);
  });

  it('refuses a step that it does not know', () => {
    throws(() => drawnJob([{ op: 'cep', from: [] }], SHAPE), {
      code: 'PRODUCTION_UNKNOWN',
      message: /no production 'cep'/,
    });
  });
});

describe('a drawn job that fails', () => {
  it('is cut down to the steps that matter', async () => {
    const drawn = drawScenario(2, { job: 'drawn', faults: [] });
    const scenario = { ...drawn, shape: { ...SHAPE, steps: longJob() } };
    // Stands for a defect that shows wherever rows are grouped into windows.
    const run = async (candidate: unknown) => {
      const hasWindow = (candidate as Scenario).shape.steps?.some(({ op }) => op === 'window');
      return { violation: hasWindow ? { code: 'X', message: '' } : undefined } as ScenarioReport;
    };
    const shrunk = await shrinkScenario(scenario, 'X', { run, attemptsMax: 60 });
    deepEqual(
      (shrunk.scenario as Scenario).shape.steps?.map(({ op, from }) => [op, from]),
      [
        ['source', []],
        ['window', [0]],
        ['sink', [1]],
      ],
    );
  });
});

function longJob(): JobStep[] {
  return [
    SOURCE,
    { op: 'filter', from: [0], params: { column: 'id', modulus: 5, rest: 1 } },
    { op: 'edge', from: [1], params: { bufferTimeout: '3ms', maxLag: 64 } },
    {
      op: 'window',
      from: [2],
      params: { keys: ['key'], keySpecs: ['utf8'], minutes: 60, aggregates: [['n', 'count', 'id']] },
    },
    { op: 'filter', from: [3], params: { column: 'n', modulus: 9, rest: 8 } },
    { op: 'sink', from: [4] },
    { op: 'sink', from: [0] },
  ];
}
