import { deepEqual, equal, match } from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Exploration, explore } from '../explore.test.support.js';
import { headModel } from './head-model.test.support.js';
import { plantedSetups, setups, soundSetups } from './head-model-setups.test.support.js';

/*
 * The protocol of HEAD and collection, checked over the whole of small configurations. Every request to the store is one step, in every
 * order; a request may be lost, or arrive when its sender has long given up or is dead; leaders crash at every step; collectors and readers
 * rest between any two, for ever if need be. All decisions are taken by head-protocol.ts itself, with names of blob-name.ts.
 * head-model-promises.test.support.ts says what must hold; head-model-decisions.test.support.ts what is planted, to see that it is noticed when it
 * does not; head-model-requests.test.ts that the code asks of the store what the model does.
 *
 * What this does not show:
 * - Anything of larger configurations: three leaders, four checkpoints and three epochs at once, more requests without an answer than
 *   the setups say. What they have in common with these is an argument, not a proof.
 * - That a store keeps its word. Each request takes effect at one instant, a list shows all that is there at one, and a name that is
 *   taken stays taken (blob-store-contract.ts; a store that ignores conditions is planted here, and refused by the probe).
 * - Bytes: HEAD's encoding, its size, damage, encryption, segments inside HEAD. Contents are one word here.
 * - Several hosts and several tasks: one object a checkpoint, one task. Refs of different objects do not meet in any decision.
 * - Storing the next checkpoint's objects while one is being published. A merge does that here, under the same rule for its name.
 * - The leader's own short collections: to HEAD and objects they are as the thorough one, of fewer names. What they forget is in
 *   head-races.test.ts. So is what concerns the memory of one process (a failed read between a move and the lead it gives).
 * - That anything ever gets done: leaders may overtake each other for ever.
 *
 * Larger configurations, minutes and gigabytes: node --max-old-space-size=12000 dist/checkpoint/head/head-model.test.js --large
 */

const isLarge = process.argv.includes('--large');
const statesMax = isLarge ? 10_000_000 : 500_000;

/** What the explored setups must have had in them, or their promises were kept by nothing having happened. */
const happenings = [
  'a late move of HEAD to publish checkpoint # arrives',
  'a late move of HEAD to regain arrives',
  'a late move of HEAD to take over arrives',
  'a late put of # arrives',
  'A begins to publish checkpoint #, and is refused',
  'A begins to publish checkpoint #, with the merge',
  'A cannot read HEAD to learn what became of its move',
  'A crashes, its move to publish checkpoint # being on its way',
  'A hears nothing of the merged #',
  'A moves HEAD to regain: checkpoint # has failed',
  'A moves HEAD to regain: checkpoint # is complete',
  'A moves HEAD to reset',
  'A moves HEAD to roll back',
  'A reads HEAD to fall back',
  'A reads HEAD to fall back, and is too late',
  'A reads HEAD to learn what became of its move to publish: fenced',
  'A reads HEAD to learn what became of its move to publish: moved',
  'A reads HEAD to learn what became of its move to publish: not moved',
  'A reads HEAD to learn what became of its move to regain: fenced',
  'A reads HEAD to regain, and is fenced',
  'A stores # for checkpoint #, at the second try',
  'A stores # for checkpoint #, built on the kept # of epoch #',
  'A stores # for checkpoint #, built on the pinned # of epoch #',
  'B meets a conflict as it moves HEAD to publish checkpoint #',
  'B moves HEAD to publish checkpoint #',
  'collector # deletes #',
  'collector # finds a manifest gone, and ends',
  'collector # reads # pins',
  'reader # reads HEAD and finds checkpoint # of epoch # kept: it is pinned',
  'reader # removes its pin',
  'reader # withdraws its pin',
];

function tell(t: TestContext, { states, steps, depth, ends, counterexample }: Exploration): void {
  t.diagnostic(`${states} states, ${steps} steps, at most ${depth} deep, ${ends} ends`);
  if (counterexample === undefined) return;
  t.diagnostic(`${counterexample.problem}:`);
  for (const [at, label] of counterexample.trace.entries()) t.diagnostic(`  ${String(at + 1).padStart(2)} ${label}`);
}

describe('the protocol of HEAD and collection', () => {
  const happened = new Set<string>();
  let total = 0;

  for (const setup of isLarge ? [...setups('small'), ...setups('large')] : setups('small')) {
    it(`keeps its promises: ${setup.name}`, (t) => {
      const exploration = explore(headModel(setup), { statesMax });
      tell(t, exploration);
      equal(exploration.counterexample, undefined);
      total += exploration.states;
      for (const label of exploration.labels) happened.add(label.replace(/\b\d+\b|(segments|manifests)\/\S+/g, '#'));
    });
  }

  it('has had everything happen to it', (t) => {
    t.diagnostic(`${total} states in all`);
    deepEqual(
      happenings.filter((label) => !happened.has(label)),
      [],
    );
  });

  for (const { setup, harm } of plantedSetups()) {
    it(`is harmed when ${setup.name}`, (t) => {
      const exploration = explore(headModel(setup), { statesMax });
      tell(t, exploration);
      match(exploration.counterexample?.problem ?? 'nothing is wrong', harm);
    });
  }

  it('is not harmed in the same configurations when nothing is planted', () => {
    for (const setup of soundSetups()) {
      equal(explore(headModel(setup), { statesMax }).counterexample, undefined, setup.name);
    }
  });
});
