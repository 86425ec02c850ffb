import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { alternate, type Suite, size } from '../harness.js';
import { rowOf } from '../row.js';
import { dataFolder } from '../vega-data.js';
import { wholeProcess } from '../whole-process.js';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const START = at('../../engine/cli/start.js');
const PLAIN = at('../peers/plain-flights-main.js');
const CHECK = new URL('../../engine/examples/index.js', import.meta.url).href;
const LIMIT = 'plain computation, one thread';

/** One run of a whole process: the rows a second it says (or that follow from its seconds), and its wall time. */
interface Run {
  readonly rowsPerSecond: number;
  readonly seconds: number;
}

export const mainJob: Suite = {
  name: 'main',
  async run(context) {
    const rows = size(context, 3_000_000, 30_000);
    const runs: { value: Run[]; limit: Run[] } = { value: [], limit: [] };
    context.progress('main.rows, main.wall');
    const pairs = await alternate(
      context,
      async () => noted(runs.value, await runJob(rows)),
      async () => noted(runs.limit, await runPlain(rows)),
    );
    context.row(rowOf({ name: 'main.rows', unit: 'rows/s', limitName: LIMIT }, pairs));
    const walls = runs.value.map((run, i) => ({ value: run.seconds, limit: (runs.limit[i] as Run).seconds }));
    context.row(rowOf({ name: 'main.wall', unit: 's', limitName: LIMIT }, walls));
  },
};

function noted(runs: Run[], run: Run): number {
  runs.push(run);
  return run.rowsPerSecond;
}

/** `npm start -- --rate 0 --no-kill --json`. Its wall time includes the proof of the output: the plain computation again. */
async function runJob(rows: number): Promise<Run> {
  const start = performance.now();
  const text = await wholeProcess(START, ['--rate', '0', '--no-kill', '--json', '--rows', String(rows)]);
  const seconds = (performance.now() - start) / 1000;
  const result = JSON.parse(text.trim().split('\n').at(-1) as string) as { ok: boolean; rowsPerSecond: number };
  if (!result.ok) throw new Error('the main job gave wrong output');
  return { rowsPerSecond: result.rowsPerSecond, seconds };
}

async function runPlain(rows: number): Promise<Run> {
  const data = dataFolder();
  const input = { flightsFile: join(data, 'flights-3m.parquet'), airportsFile: join(data, 'airports.csv'), rows };
  const start = performance.now();
  const text = await wholeProcess(PLAIN, [CHECK, JSON.stringify(input)]);
  const seconds = (performance.now() - start) / 1000;
  return { rowsPerSecond: rows / Number(text), seconds };
}
