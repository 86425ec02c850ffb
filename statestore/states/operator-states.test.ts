import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { keyGroupRange } from '../../base/columnar/index.js';
import { broadcastState, OperatorStates, type OperatorStatesOf, operatorList } from './operator-states.js';
import { StoreAtOnce } from './store-at-once.test.support.js';

fc.configureGlobal({ includeErrorInReport: true });

const GROUPS = 128;
const SPECS = {
  parts: operatorList('int32'),
  offsets: operatorList({ file: 'utf8', at: 'int64' }, { redistribute: 'union' }),
  rules: broadcastState('utf8', 'float64?'),
} as const;

/** All subtasks of one operator. */
class Operator {
  readonly parallelism: number;
  readonly stores: readonly StoreAtOnce[];
  readonly operators: readonly OperatorStates[];
  readonly states: readonly OperatorStatesOf<typeof SPECS>[];
  #chains: Uint8Array[][];
  #checkpoint = 0;

  constructor(parallelism: number, chains?: readonly (readonly Uint8Array[])[]) {
    this.parallelism = parallelism;
    const subtasks = Array.from({ length: parallelism }, (_, subtask) => subtask);
    this.stores = subtasks.map((subtask) => new StoreAtOnce(keyGroupRange(subtask, GROUPS, parallelism)));
    // At the same parallelism each gets its own segments back; otherwise everybody gets all of them.
    const sources = subtasks.map((i) => (chains?.length === parallelism ? [chains[i] ?? []] : (chains ?? [])).flat());
    this.#chains = sources.map((chain) => [...chain]);
    this.stores.forEach((store, i) => void (sources[i]?.length && store.restore(sources[i])));
    this.operators = subtasks.map(
      (subtask) =>
        new OperatorStates({ store: this.stores[subtask] as StoreAtOnce, prefix: 'n2/', subtask, parallelism }),
    );
    this.states = this.operators.map((operator) => operator.open(SPECS));
  }

  /** A checkpoint that completes; the segments of each subtask. */
  checkpoint(): Uint8Array[][] {
    const id = ++this.#checkpoint;
    this.#chains = this.#chains.map((chain, i) => {
      this.operators[i]?.save();
      const store = this.stores[i] as StoreAtOnce;
      const { bytes, full, empty } = store.snapshotAtOnce(id);
      store.completed(id);
      if (full) return [bytes];
      return empty ? chain : [...chain, bytes];
    });
    return this.#chains;
  }

  parts(): number[][] {
    return this.states.map(({ parts }) => parts.get());
  }
}

it('a list is what it was after a restart, whatever happened to the other subtasks', () => {
  const two = new Operator(2);
  two.states[0]?.parts.add(1, 2, 3);
  two.states[1]?.parts.add(4);
  two.states[1]?.offsets.add({ file: 'a', at: 2 ** 40 });
  two.checkpoint();
  two.states[0]?.parts.add(5);
  const again = new Operator(2, two.checkpoint());
  deepEqual(again.parts(), [[1, 2, 3, 5], [4]]);
  deepEqual(again.states[1]?.offsets.get(), [{ file: 'a', at: 2 ** 40 }]);
  deepEqual(again.states[0]?.offsets.get(), [], 'a union is for a change of parallelism');
  again.states[0]?.parts.update([9]);
  again.states[1]?.parts.clear();
  deepEqual(new Operator(2, again.checkpoint()).parts(), [[9], []]);
});

it('split: lists are cut anew into equal parts, in order; union: everybody gets all', () => {
  const two = new Operator(2);
  two.states[0]?.parts.add(1, 2, 3, 4, 5, 6, 7);
  two.states[1]?.parts.add(8, 9);
  for (const i of [0, 1]) two.states[i]?.offsets.add({ file: `f${i}`, at: i });
  const four = new Operator(4, two.checkpoint());
  deepEqual(four.parts(), [
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8, 9],
  ]);
  for (const { offsets } of four.states)
    deepEqual(offsets.get(), [
      { file: 'f0', at: 0 },
      { file: 'f1', at: 1 },
    ]);
  // And nothing of it twice, later on.
  for (const { offsets } of four.states) offsets.clear();
  four.states[3]?.parts.update([8]);
  const one = new Operator(1, four.checkpoint());
  deepEqual([one.parts(), one.states[0]?.offsets.get()], [[[1, 2, 3, 4, 5, 6, 8]], []]);
  const two2 = new Operator(2, one.checkpoint());
  deepEqual(two2.parts(), [
    [1, 2, 3],
    [4, 5, 6, 8],
  ]);
});

it('lists of the time before are not found again at a parallelism that was left (2, 1, 2)', () => {
  const two = new Operator(2);
  two.states[0]?.parts.add(1, 2);
  two.states[1]?.parts.add(3, 4);
  const one = new Operator(1, two.checkpoint());
  one.states[0]?.parts.update([7]);
  const chains = one.checkpoint();
  ok((chains[0] as Uint8Array[]).length > 1, 'the chain still begins with the segments of two');
  deepEqual(new Operator(2, chains).parts(), [[], [7]]);
});

it('redistribution without the segments of every subtask is refused: part of a list would be lost', () => {
  const three = new Operator(3);
  const chains = three.checkpoint();
  for (const missing of [0, 1, 2]) {
    const some = chains.filter((_, i) => i !== missing);
    throws(() => new Operator(1, [some.flat()]), {
      code: 'RESTORE_INCOMPLETE',
      message: new RegExp(`"n2/parts" of 3 .* subtask ${missing} `),
    });
  }
});

it('broadcast state is on every subtask, at whatever parallelism', () => {
  let operator = new Operator(2);
  for (const { rules } of operator.states) {
    rules.set('b', 1.5);
    rules.set('a', null);
  }
  for (const parallelism of [2, 4, 1, 3, 2]) {
    operator = new Operator(parallelism, operator.checkpoint());
    for (const { rules } of operator.states) {
      deepEqual(rules.entries(), [
        ['a', null],
        ['b', 1.5],
      ]);
      deepEqual([rules.size, rules.has('a'), rules.has('c'), rules.get('b')], [2, true, false, 1.5]);
    }
  }
  for (const { rules } of operator.states) rules.delete('a');
  operator = new Operator(5, operator.checkpoint());
  deepEqual(
    operator.states.map(({ rules }) => rules.size),
    [1, 1, 1, 1, 1],
  );
  for (const { rules } of operator.states) rules.clear();
  operator = new Operator(2, operator.checkpoint());
  deepEqual(
    operator.states.map(({ rules }) => rules.size),
    [0, 0],
  );
});

it('broadcast state that is not the same everywhere is refused, by name', () => {
  const three = new Operator(3);
  for (const { rules } of three.states) rules.set('a', 1);
  three.states[2]?.rules.set('a', 2);
  throws(() => new Operator(2, three.checkpoint()), {
    code: 'BROADCAST_STATE_DIFFERS',
    message: /"n2\/rules" is not the same on subtasks 0 and 2 of 3/,
  });
});

it('unchanged state is not written again', () => {
  const one = new Operator(1);
  one.states[0]?.parts.add(1);
  one.checkpoint();
  equal(one.checkpoint()[0]?.length, 1);
  one.states[0]?.rules.set('a', 1);
  equal(one.checkpoint()[0]?.length, 2);
});

it('random lists at random parallelism: no element is lost, doubled or out of order, and parts are equal', () => {
  const change = fc.record({ subtask: fc.nat(9), add: fc.array(fc.nat(1000), { maxLength: 9 }), clear: fc.boolean() });
  const step = fc.record({ changes: fc.array(change, { maxLength: 5 }), parallelism: fc.integer({ min: 1, max: 9 }) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) => {
      let operator = new Operator(3);
      let model: number[][] = [[], [], []];
      for (const { changes, parallelism } of steps) {
        for (const { subtask, add, clear } of changes) {
          const at = subtask % model.length;
          if (clear) operator.states[at]?.parts.clear();
          operator.states[at]?.parts.add(...add);
          model[at] = clear ? add : [...(model[at] as number[]), ...add];
        }
        const rescaled = parallelism !== operator.parallelism;
        operator = new Operator(parallelism, operator.checkpoint());
        if (rescaled) {
          deepEqual(operator.parts().flat(), model.flat());
          const sizes = operator.parts().map((part) => part.length);
          ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${sizes}`);
          model = operator.parts();
        }
        deepEqual(operator.parts(), model);
      }
    }),
    { numRuns: 200 },
  );
});
