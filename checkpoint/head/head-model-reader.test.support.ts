import type { Step } from '../explore.test.support.js';
import type { Manifest } from '../manifest.js';
import type { WorldKeys } from './head-model-key.test.support.js';
import {
  put,
  type Reader,
  readManifests,
  remove,
  type Setup,
  send,
  spend,
  type World,
} from './head-model-world.test.support.js';

/*
 * A reader of any kept checkpoint, as pin.ts has it: HEAD is read, the pin put, HEAD read again; if it still keeps the checkpoint, its
 * objects stay until the pin is removed (which may be never), else the pin is withdrawn.
 */
export function readerSteps(world: World, index: number, setup: Setup, keys: WorldKeys): Step<World>[] {
  const { at, pin, manifest } = world.readers[index] as Reader;
  const who = `reader ${index + 1}`;
  const step = (label: string, change: Reader, from = world): Step<World> => ({
    label: `${who} ${label}`,
    to: { ...from, readers: from.readers.map((reader, i) => (i === index ? change : reader)) },
  });
  const over: Reader = { at: 'done', pin: '', manifest: null };
  const { head } = world;
  if (at === 'off') {
    const manifests = head === null ? [] : (readManifests(world, head) ?? []);
    return manifests.map((kept) => {
      const name = `pins/${kept.checkpointId}-r-${keys.fresh(world)}`;
      return step(`finds checkpoint ${nameOf(kept)} in HEAD`, { at: 'put', pin: name, manifest: kept });
    });
  }
  if (manifest === null) return [];
  switch (at) {
    case 'put': {
      const object = { name: pin, value: manifest };
      const stored = put(world, object);
      const steps =
        stored === undefined
          ? []
          : [step(`pins checkpoint ${nameOf(manifest)}`, { at: 'check', pin, manifest }, stored)];
      const left = spend(world, 'unanswered');
      if (left !== undefined) steps.push(step('hears nothing of its pin, and ends', over, send(left, { put: object })));
      return steps;
    }
    case 'check': {
      const isKept = head !== null && setup.decisions.keeps(head, manifest);
      const told = `reads HEAD and finds checkpoint ${nameOf(manifest)} ${isKept ? 'kept: it is pinned' : 'gone'}`;
      return [step(told, { at: isKept ? 'pinned' : 'withdraw', pin, manifest })];
    }
    case 'pinned':
      return [step('removes its pin', over, remove(world, pin))];
    case 'withdraw':
      return [step('withdraws its pin', over, remove(world, pin))];
    default:
      return [];
  }
}

function nameOf({ checkpointId, epoch }: Manifest): string {
  return `${checkpointId} of epoch ${epoch}`;
}
