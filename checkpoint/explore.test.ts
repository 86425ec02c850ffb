import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, it } from 'node:test';
import { explore, type Model, type Step } from './explore.test.support.js';

/** Two jugs of 3 and 5 litres, a tap and a drain. */
function jugs(wanted: number): Model<readonly [number, number]> {
  return {
    initial: [0, 0],
    keyOf: (state) => state.join(),
    problem: ([small, large]) => (small === wanted || large === wanted ? `${wanted} litres` : undefined),
    *steps([small, large]) {
      yield { label: 'fill small', to: [3, large] };
      yield { label: 'fill large', to: [small, 5] };
      yield { label: 'empty small', to: [0, large] };
      yield { label: 'empty large', to: [small, 0] };
      const over = Math.min(small, 5 - large);
      yield { label: 'small into large', to: [small - over, large + over] };
      const back = Math.min(large, 3 - small);
      yield { label: 'large into small', to: [small + back, large - back] };
    },
  };
}

describe('exploring states', () => {
  it('finds the shortest way to a problem', () => {
    const { counterexample, depth } = explore(jugs(4), { statesMax: 100 });
    equal(counterexample?.problem, '4 litres');
    equal(depth, 6);
    deepEqual(counterexample?.trace, [
      'fill large',
      'large into small',
      'empty small',
      'large into small',
      'fill large',
      'large into small',
    ]);
  });

  it('visits every state once when there is none', () => {
    const { counterexample, states, steps, ends } = explore(jugs(6), { statesMax: 100 });
    equal(counterexample, undefined);
    // All pairs with at least one jug full or empty: 2 * 6 + 2 * 4 - 4.
    equal(states, 16);
    equal(steps, 16 * 6);
    equal(ends, 0);
  });

  it('all interleavings of two counters are a grid, with one end', () => {
    const grid: Model<readonly number[]> = {
      initial: [0, 0],
      keyOf: (state) => state.join(),
      problem: () => undefined,
      steps: (state) =>
        state.flatMap((n, at): Step<readonly number[]>[] =>
          n < 10 ? [{ label: `step ${at}`, to: state.map((m, i) => (i === at ? m + 1 : m)) }] : [],
        ),
    };
    const { labels, ...counts } = explore(grid, { statesMax: 1000 });
    deepEqual(counts, { states: 121, steps: 220, depth: 20, ends: 1 });
    deepEqual([...labels], ['step 0', 'step 1']);
  });

  it('a problem in the initial state needs no step', () => {
    deepEqual(explore(jugs(0), { statesMax: 100 }).counterexample, { problem: '0 litres', trace: [] });
  });

  it('too many states are an error, never a result', () => {
    throws(() => explore(jugs(6), { statesMax: 15 }), /more than 15 states/);
  });
});
