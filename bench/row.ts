/** One measured figure, as `--json` prints it. What does not apply is null. */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What bounds the value (a bare mechanism, a peer), in the same unit, measured in the same run, alternating with it. */
  readonly limit: number | null;
  readonly limitName: string | null;
  /** value / limit: the median over the rounds, so not exactly the quotient of the two medians. */
  readonly ratio: number | null;
  /** What the value (or, where the goal says so, the ratio) should reach at least, and what it aims at. */
  readonly reach: number | null;
  readonly aim: number | null;
  /** Whether `reach` was reached. */
  readonly ok: boolean | null;
}

export interface Goal {
  /** What `reach` and `aim` speak of. */
  readonly of: 'value' | 'ratio';
  readonly reach: number;
  readonly aim: number;
  /** For times: `reach` is the most it may be. */
  readonly atMost?: true;
  /** Besides, the ratio must be at least this. */
  readonly ratioAtLeast?: number;
}

export interface RowSpec {
  readonly name: string;
  readonly unit: string;
  readonly limitName?: string;
  readonly goal?: Goal;
}

/** One round: the value and, right before or after it, its limit. */
export interface Round {
  readonly value: number;
  readonly limit?: number;
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new Error('the median of no numbers');
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

/** The row of all rounds: medians of values, limits and ratios. */
export function rowOf(spec: RowSpec, rounds: readonly Round[]): Row {
  const pairs = rounds.flatMap(({ value, limit }) => (limit === undefined ? [] : [{ value, limit }]));
  const value = median(rounds.map((round) => round.value));
  const limit = pairs.length === 0 ? null : median(pairs.map((pair) => pair.limit));
  const ratio = pairs.length === 0 ? null : median(pairs.map((pair) => pair.value / pair.limit));
  const { goal } = spec;
  return {
    name: spec.name,
    value,
    unit: spec.unit,
    limit,
    limitName: limit === null ? null : (spec.limitName ?? null),
    ratio,
    reach: goal?.reach ?? null,
    aim: goal?.aim ?? null,
    ok: goal === undefined ? null : isReached(goal, value, ratio),
  };
}

function isReached(goal: Goal, value: number, ratio: number | null): boolean {
  const judged = goal.of === 'value' ? value : ratio;
  if (judged === null) return false;
  const reached = goal.atMost === true ? judged <= goal.reach : judged >= goal.reach;
  return reached && (goal.ratioAtLeast === undefined || (ratio ?? 0) >= goal.ratioAtLeast);
}
