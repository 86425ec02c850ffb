import { type Decisions, type Fault, faults, realDecisions } from './head-model-decisions.test.support.js';
import type { Budget, Setup } from './head-model-world.test.support.js';

type Changes = Partial<Omit<Setup, 'budget' | 'decisions' | 'name'>> & { readonly budget?: Partial<Budget> };

const nothing: Budget = { unanswered: 0, crashes: 0, resets: 0, rollBacks: 0, compactions: 0, aborts: 0 };

function setupOf(name: string, { budget, ...changes }: Changes, decisions: Decisions = realDecisions): Setup {
  return {
    name,
    decisions,
    writers: 1,
    collectors: 0,
    readers: 0,
    idMax: 2,
    epochMax: 2,
    retained: 1,
    movesManifests: false,
    carried: 0,
    bases: 'latest',
    attemptsMax: 2,
    findsLeaks: true,
    ...changes,
    budget: { ...nothing, ...budget },
  };
}

const small: Readonly<Record<string, Changes>> = {
  'two leaders whose requests stay without an answer': {
    writers: 2,
    epochMax: 4,
    attemptsMax: 1,
    budget: { unanswered: 2 },
  },
  'two leaders and a collector': { writers: 2, collectors: 1, epochMax: 3, budget: { unanswered: 1 } },
  'two leaders, two collectors and a reader': { writers: 2, collectors: 2, readers: 1 },
  'a leader that crashes, resets and rolls back, a collector and a reader': {
    collectors: 1,
    readers: 1,
    epochMax: 3,
    retained: 2,
    budget: { crashes: 1, resets: 1, rollBacks: 1, unanswered: 1 },
  },
  'two leaders that roll back and fall back, and a collector': {
    writers: 2,
    collectors: 1,
    idMax: 3,
    epochMax: 3,
    retained: 3,
    budget: { rollBacks: 1 },
  },
  'checkpoints built on any that is kept or pinned': {
    collectors: 1,
    readers: 1,
    idMax: 5,
    carried: 1,
    retained: 2,
    bases: 'kept or pinned',
  },
  'a leader that crashes, its compactor and a collector': {
    collectors: 1,
    idMax: 4,
    carried: 3,
    budget: { compactions: 1, crashes: 1, aborts: 1 },
  },
  'two leaders, a compactor and a collector': {
    writers: 2,
    collectors: 1,
    idMax: 4,
    carried: 3,
    budget: { compactions: 1 },
  },
  'a compactor whose requests stay without an answer, and a collector': {
    collectors: 1,
    idMax: 4,
    carried: 3,
    budget: { compactions: 1, unanswered: 1 },
  },
  'manifests outside HEAD, a leader that crashes, a collector and a reader': {
    collectors: 1,
    readers: 1,
    retained: 2,
    movesManifests: true,
    budget: { unanswered: 1, crashes: 1 },
  },
  'manifests outside HEAD, two leaders and two collectors': { writers: 2, collectors: 2, movesManifests: true },
};

const large: Readonly<Record<string, Changes>> = {
  'two leaders whose requests stay without an answer': {
    writers: 2,
    epochMax: 4,
    attemptsMax: 1,
    budget: { unanswered: 3 },
  },
  'two leaders and a collector, moves tried twice': {
    writers: 2,
    collectors: 1,
    epochMax: 3,
    retained: 2,
    budget: { unanswered: 2 },
  },
  'two leaders and a collector, moves tried once': {
    writers: 2,
    collectors: 1,
    epochMax: 4,
    attemptsMax: 1,
    budget: { unanswered: 2 },
  },
  'two leaders that crash, and a collector': {
    writers: 2,
    collectors: 1,
    epochMax: 3,
    budget: { unanswered: 1, crashes: 1 },
  },
  'two leaders that reset and roll back, a collector and a reader': {
    writers: 2,
    collectors: 1,
    readers: 1,
    epochMax: 3,
    retained: 2,
    budget: { resets: 1, rollBacks: 1 },
  },
  'checkpoints built on any that is kept or pinned, with rollbacks': {
    collectors: 1,
    readers: 1,
    idMax: 4,
    carried: 1,
    retained: 2,
    bases: 'kept or pinned',
    budget: { crashes: 1, rollBacks: 1 },
  },
  'a leader that crashes and gives up, two merges and a collector': {
    collectors: 1,
    idMax: 4,
    carried: 3,
    budget: { compactions: 2, crashes: 1, unanswered: 1 },
  },
  'manifests outside HEAD, two leaders, a collector and a reader': {
    writers: 2,
    collectors: 1,
    readers: 1,
    retained: 2,
    movesManifests: true,
    budget: { unanswered: 1 },
  },
};

/** Configurations of the protocol as it is. Together, the small ones have about half a million states. */
export function setups(size: 'small' | 'large'): Setup[] {
  return Object.entries(size === 'small' ? small : large).map(([name, changes]) => setupOf(name, changes));
}

interface Planting extends Changes {
  /** The harm that is found first. */
  readonly harm: RegExp;
}

const merging: Changes = { idMax: 4, carried: 3, budget: { compactions: 1 } };
const rebuilding: Changes = { collectors: 1, readers: 1, idMax: 4, carried: 1, bases: 'kept or pinned' };

/** For each fault the least that is needed for it to do harm. */
const plantings: Readonly<Record<Fault, Planting>> = {
  'HEAD has no nonce': { writers: 2, budget: { unanswered: 1 }, harm: /two leaders have epoch 1/ },
  'the epoch is not raised at a takeover': { writers: 2, findsLeaks: false, harm: /two leaders have epoch 1/ },
  'a conflict is taken for failure': {
    budget: { unanswered: 1 },
    harm: /happened after its leader was told that it did not/,
  },
  'a publication without an answer is taken for failed': {
    attemptsMax: 1,
    budget: { unanswered: 1 },
    harm: /happened after its leader was told that it did not/,
  },
  'any epoch is regained': {
    writers: 2,
    epochMax: 3,
    attemptsMax: 1,
    budget: { unanswered: 1 },
    harm: /was told to have failed, and is complete/,
  },
  'the store ignores If-Match': { writers: 2, harm: /two leaders have epoch 1/ },
  'the collector has no publishing line: all of HEAD’s epoch is dead': { collectors: 1, harm: /HEAD keeps .* is gone/ },
  'the collector trusts ages: what was there long enough by some clock is dead': {
    collectors: 1,
    harm: /HEAD keeps .* is gone/,
  },
  'the publishing line never moves': { harm: /is not collected while its leader lives/ },
  'older epochs are not dead': { harm: /is never collected, not even by the next leader/ },
  'the line ignores reservations': { ...merging, harm: /was refused/ },
  'a reservation does not know of the publication in flight': { ...merging, harm: /was refused/ },
  'the line ignores reservations, and publications are not checked': {
    ...merging,
    collectors: 1,
    harm: /HEAD keeps .* is gone/,
  },
  'names have no nonce, and a taken name is one’s own': { budget: { aborts: 1 }, harm: /has other contents/ },
  'names have no epoch': {
    collectors: 1,
    retained: 2,
    findsLeaks: false,
    budget: { crashes: 1, rollBacks: 1 },
    harm: /HEAD keeps .* is gone/,
  },
  'a delta is given out again under its old name, unchecked': {
    collectors: 1,
    attemptsMax: 1,
    budget: { unanswered: 1 },
    harm: /HEAD keeps .* is gone/,
  },
  'a publication refers to whatever it likes': { ...rebuilding, harm: /HEAD keeps .* is gone/ },
  'a publication relies on pins': { ...rebuilding, harm: /HEAD keeps .* is gone/ },
  'the collector reads pins before HEAD': { collectors: 1, readers: 1, harm: /is pinned, and .* is gone/ },
  'a pin is valid if HEAD keeps its id': {
    collectors: 1,
    readers: 1,
    budget: { crashes: 1, resets: 1 },
    harm: /is pinned, and .* is gone/,
  },
  'a fallback does not look whether HEAD has moved on': {
    writers: 2,
    idMax: 3,
    retained: 3,
    budget: { rollBacks: 1 },
    harm: /a roll back gave up checkpoint 3 of epoch 1, which nobody had looked at/,
  },
  'a fallback trusts the id of what it goes back to': {
    writers: 2,
    collectors: 1,
    epochMax: 3,
    retained: 2,
    budget: { rollBacks: 1, resets: 1, crashes: 1 },
    harm: /which nobody had looked at/,
  },
  'a pin is valid at once': { collectors: 1, readers: 1, harm: /is pinned, and .* is gone/ },
};

export function plantedSetups(): { readonly setup: Setup; readonly harm: RegExp }[] {
  return (Object.keys(plantings) as Fault[]).map((fault) => {
    const { harm, ...changes } = plantings[fault];
    return { setup: setupOf(fault, changes, { ...realDecisions, ...faults[fault] }), harm };
  });
}

/** The same with nothing planted. */
export function soundSetups(): Setup[] {
  return plantedSetups().map(({ setup }) => ({ ...setup, decisions: realDecisions }));
}
