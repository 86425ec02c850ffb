import type { Model, Step } from '../explore.test.support.js';
import { collectorSteps } from './head-model-collector.test.support.js';
import { WorldKeys } from './head-model-key.test.support.js';
import { leaderSteps } from './head-model-leader.test.support.js';
import { problemOf } from './head-model-promises.test.support.js';
import { publisherSteps } from './head-model-publisher.test.support.js';
import { readerSteps } from './head-model-reader.test.support.js';
import { compareAndSet, initialWorld, put, type Setup, type World } from './head-model-world.test.support.js';

/** All that can happen in a setup: every actor's next step, and the arrival of what is on its way. */
export function headModel(setup: Setup): Model<World> {
  const keys = new WorldKeys();
  return {
    initial: initialWorld(setup),
    keyOf: (world) => keys.keyOf(world),
    problem: (world) => problemOf(world, setup),
    steps: (world) => [
      ...world.writers.flatMap((_, index) => [
        ...leaderSteps(world, index, setup, keys),
        ...publisherSteps(world, index, setup, keys),
      ]),
      ...world.collectors.flatMap((_, index) => collectorSteps(world, index, setup)),
      ...world.readers.flatMap((_, index) => readerSteps(world, index, setup, keys)),
      ...arrivals(world, setup),
    ],
  };
}

function arrivals(world: World, setup: Setup): Step<World>[] {
  return world.flying.flatMap((request, index): Step<World>[] => {
    const rest: World = { ...world, flying: world.flying.filter((_, other) => other !== index) };
    if ('put' in request) {
      const to = put(rest, request.put);
      return to === undefined ? [] : [{ label: `a late put of ${request.put.name} arrives`, to }];
    }
    const { kind, manifest } = request.move;
    const what = manifest === null ? kind : `publish checkpoint ${manifest.checkpointId}`;
    const to = compareAndSet(rest, request.move, setup);
    return to === undefined ? [] : [{ label: `a late move of HEAD to ${what} arrives`, to }];
  });
}
