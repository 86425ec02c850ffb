import { writeFileSync } from 'node:fs';

const KEYS = 97;
const STEP_MS = 10;
const WINDOW_MS = 60_000;

/** A user's job over made-up rows, with parameters `rows`, `rate`, `keys` and `out`; its output is easily worked out. */
export const COUNTING_JOB = `
import { count, job, jsonLines, rows, sum, tumbling } from 'millrace';

export default job('counting', (j) => {
  const keys = j.param('keys', ${KEYS});
  const made = rows(
    { at: 'timestamp', key: 'int32', value: 'int32' },
    (i) => ({ at: i * ${STEP_MS}, key: i % keys, value: i % 1000 }),
    { count: j.param('rows', 1000) },
  );
  j.from(made, { rate: j.param('rate', 0) })
    .eventTime('at', { outOfOrder: 0 })
    .keyBy('key')
    .window(tumbling(${WINDOW_MS}))
    .aggregate({ n: count(), total: sum('value') })
    .to(jsonLines(j.param('out', 'out')));
});
`;

export function writeCountingJob(path: string): string {
  writeFileSync(path, COUNTING_JOB);
  return path;
}

/** The lines that the job must commit, in no order; of these rows alone, if not of all. */
export function expectedCounts(rows: number, keys = KEYS, isRead: (row: number) => boolean = () => true): string[] {
  const groups = new Map<string, { key: number; windowStart: number; n: number; total: number }>();
  for (let i = 0; i < rows; i++) {
    if (!isRead(i)) continue;
    const key = i % keys;
    const windowStart = Math.floor((i * STEP_MS) / WINDOW_MS) * WINDOW_MS;
    const name = `${key} ${windowStart}`;
    const group = groups.get(name) ?? { key, windowStart, n: 0, total: 0 };
    groups.set(name, group);
    group.n++;
    group.total += i % 1000;
  }
  return [...groups.values()].map(({ key, windowStart, n, total }) =>
    JSON.stringify({
      key,
      windowStart: new Date(windowStart).toISOString(),
      windowEnd: new Date(windowStart + WINDOW_MS).toISOString(),
      n,
      total,
    }),
  );
}
