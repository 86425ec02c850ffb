/** One atomic step out of a state. */
export interface Step<State> {
  readonly label: string;
  readonly to: State;
}

/** What can happen, as plain data: states are immutable, and steps depend on nothing but the state. */
export interface Model<State> {
  readonly initial: State;
  steps(state: State): Iterable<Step<State>>;
  /** The same for states between which nothing that follows can tell. */
  keyOf(state: State): string;
  /** What must never be so, and is; undefined for a good state. */
  problem(state: State): string | undefined;
}

export interface Counterexample {
  readonly problem: string;
  /** Labels of the steps that lead there: no shorter way does. */
  readonly trace: readonly string[];
}

export interface Exploration {
  /** States found, the initial one included. */
  readonly states: number;
  /** Steps taken, those to known states included. */
  readonly steps: number;
  /** Steps of the longest of all shortest ways. */
  readonly depth: number;
  /** States that no step leads out of. */
  readonly ends: number;
  /** Labels of all steps: what can happen at all. */
  readonly labels: ReadonlySet<string>;
  readonly counterexample?: Counterexample;
}

/**
 * Visits every state that can be reached, breadth first, so that the first problem found has a shortest trace; there it stops.
 * Explicit states and a set of all visited, as TLC does it (Yu, Manolios, Lamport: Model checking TLA+ specifications, 1999),
 * but keyed exactly, not by fingerprint: no state is missed for a collision.
 * @throws Error when there are more than `statesMax`: an exploration that was cut short has shown nothing.
 */
export function explore<State>(model: Model<State>, options: { readonly statesMax: number }): Exploration {
  const known = new Set<string>();
  // Of each state, by number: where from and how. The states themselves are kept only until their steps are taken.
  const parents: number[] = [];
  const labels: string[] = [];
  const distinct = new Map<string, string>([['', '']]);
  let steps = 0;
  let depth = 0;
  let ends = 0;
  let problem: string | undefined;

  /** Its number, if it is new. */
  const visit = (state: State, parent: number, label: string): number | undefined => {
    let same = distinct.get(label);
    if (same === undefined) {
      same = label;
      distinct.set(label, label);
    }
    const key = model.keyOf(state);
    if (known.has(key)) return undefined;
    known.add(key);
    parents.push(parent);
    labels.push(same);
    problem = model.problem(state);
    return parents.length - 1;
  };
  const result = (): Exploration => {
    const found = { states: known.size, steps, depth, ends, labels: new Set([...distinct.keys()].slice(1)) };
    if (problem === undefined) return found;
    const trace: string[] = [];
    for (let at = parents.length - 1; at > 0; at = parents[at] as number) trace.unshift(labels[at] as string);
    return { ...found, counterexample: { problem, trace } };
  };

  let level = [{ state: model.initial, number: visit(model.initial, -1, '') as number }];
  while (problem === undefined && level.length > 0) {
    const next: typeof level = [];
    for (const { state, number } of level) {
      let isEnd = true;
      for (const { label, to } of model.steps(state)) {
        steps++;
        isEnd = false;
        const found = visit(to, number, label);
        if (found === undefined) continue;
        if (problem !== undefined) {
          depth++;
          return result();
        }
        if (known.size > options.statesMax) throw new Error(`more than ${options.statesMax} states`);
        next.push({ state: to, number: found });
      }
      if (isEnd) ends++;
    }
    if (next.length > 0) depth++;
    level = next;
  }
  return result();
}
