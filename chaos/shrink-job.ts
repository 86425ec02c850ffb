import { withoutUnused } from './job-grammar.js';
import type { JobStep } from './simulated-job.js';

/** Each gives a job with less in it, or undefined when there is nothing less of this kind. */
export const SMALLER_JOBS: readonly ((steps: readonly JobStep[]) => JobStep[] | undefined)[] = [
  (steps) => withoutSink(steps, (sinks) => sinks[0]),
  (steps) => withoutSink(steps, (sinks) => sinks.at(-1)),
  endingEarlier,
  (steps) => without(steps, 'edge'),
  (steps) => without(steps, 'filter'),
  (steps) => without(steps, 'top'),
];

function withoutSink(
  steps: readonly JobStep[],
  which: (sinks: readonly JobStep[]) => JobStep | undefined,
): JobStep[] | undefined {
  const sinks = steps.filter(({ op }) => op === 'sink');
  const gone = which(sinks);
  return sinks.length < 2 ? undefined : withoutUnused(steps.filter((step) => step !== gone));
}

/** The sinks write what the last operators before them were given. */
function endingEarlier(steps: readonly JobStep[]): JobStep[] | undefined {
  let changed = false;
  const earlier = steps.map((step) => {
    const [before] = steps[step.from[0] ?? -1]?.from ?? [];
    if (step.op !== 'sink' || before === undefined) return step;
    changed = true;
    return { ...step, from: [before] };
  });
  return changed ? withoutUnused(earlier) : undefined;
}

/** Without the first step of a kind that gives rows as it gets them. */
function without(steps: readonly JobStep[], op: string): JobStep[] | undefined {
  const at = steps.findIndex((step) => step.op === op);
  const [before] = steps[at]?.from ?? [];
  if (before === undefined) return undefined;
  return withoutUnused(
    steps.map((step) => ({ ...step, from: step.from.map((from) => (from === at ? before : from)) })),
  );
}
