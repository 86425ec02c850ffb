import type { KeyGroups } from '../../checkpoint/index.js';

/**
 * Of some key groups those to be fetched next: all that are asked for at least half as often as the one that is asked for most, in
 * runs; all of them when nobody asks.
 */
export function hottest(ranges: readonly KeyGroups[], heat: ReadonlyMap<number, number>): KeyGroups[] {
  const keyGroups = ranges.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
  const most = Math.max(0, ...keyGroups.map((keyGroup) => heat.get(keyGroup) ?? 0));
  const runs: { first: number; last: number }[] = [];
  for (const keyGroup of keyGroups) {
    if ((heat.get(keyGroup) ?? 0) * 2 < most) continue;
    const run = runs.at(-1);
    if (run?.last === keyGroup - 1) run.last = keyGroup;
    else runs.push({ first: keyGroup, last: keyGroup });
  }
  return runs;
}
