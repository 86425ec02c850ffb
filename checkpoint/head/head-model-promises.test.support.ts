import type { Manifest } from '../manifest.js';
import { type Head, isMoved } from './head.js';
import { versionOf } from './head-model-move.test.support.js';
import { get, manifestOf, type Setup, segmentsOf, type World } from './head-model-world.test.support.js';
import { keptBy } from './head-protocol.js';

/*
 * What must hold in every state. Judged by what was promised, not by the decisions that are to keep it; those a collection of the
 * future would take are asked only for what they would leave behind.
 */

/** What is wrong with this state, or undefined. Wrong steps (`moveProblem`, outcomes) are in `world.problem`. */
export function problemOf(world: World, setup: Setup): string | undefined {
  return world.problem ?? missing(world) ?? twoLeaders(world) ?? (setup.findsLeaks ? leaked(world, setup) : undefined);
}

/** Everything that a kept or validly pinned checkpoint refers to is there, with the contents it is known by. */
function missing(world: World): string | undefined {
  for (const kept of world.head === null ? [] : keptBy(world.head)) {
    const found = isMoved(kept) ? get(world, kept.object) : kept;
    const what = `checkpoint ${kept.checkpointId} of epoch ${kept.epoch}`;
    if (found === undefined || typeof found === 'string') return `HEAD keeps ${what}, and its manifest is gone`;
    if (found.checkpointId !== kept.checkpointId || found.epoch !== kept.epoch)
      return `HEAD has another manifest for ${what}`;
    const problem = missingOf(world, found);
    if (problem !== undefined) return `HEAD keeps ${what}, and ${problem}`;
  }
  for (const { at, manifest } of world.readers) {
    const problem = at === 'pinned' && manifest !== null ? missingOf(world, manifest) : undefined;
    if (problem !== undefined)
      return `checkpoint ${manifest?.checkpointId} of epoch ${manifest?.epoch} is pinned, and ${problem}`;
  }
  return undefined;
}

function missingOf(world: World, manifest: Manifest): string | undefined {
  for (const { object, checksum } of segmentsOf(manifest)) {
    const contents = get(world, object);
    if (contents === undefined) return `${object} is gone`;
    if (contents !== checksum) return `${object} has other contents`;
  }
  return undefined;
}

function twoLeaders({ writers }: World): string | undefined {
  const epochs = writers.flatMap(({ leads, seen }) => (leads && seen !== null ? [seen.epoch] : []));
  return new Set(epochs).size < epochs.length ? `two leaders have epoch ${epochs[0]}` : undefined;
}

/** If all stopped here: what a collection leaves once another leader has come, and what one leaves that the same leader has run. */
function leaked(world: World, setup: Setup): string | undefined {
  const { head } = world;
  if (head === null) return undefined;
  const needed = new Set<string>();
  const need = (manifest: Manifest) => {
    for (const { object } of segmentsOf(manifest)) needed.add(object);
  };
  for (const kept of keptBy(head)) {
    const found = isMoved(kept) ? get(world, kept.object) : kept;
    if (isMoved(kept)) needed.add(kept.object);
    if (found !== undefined && typeof found !== 'string') need(found);
  }
  const loose: string[] = [];
  for (const { name, value } of world.objects) if (name.startsWith('pins/') && typeof value !== 'string') need(value);
  for (const { name } of world.objects) if (!name.startsWith('pins/') && !needed.has(name)) loose.push(name);
  if (loose.length === 0) return undefined;

  const { headAfterTakeOver, headAfterPublish, collectable } = setup.decisions;
  const left = (after: Head) => {
    const dead = new Set(collectable(loose, after, needed));
    return loose.find((name) => !dead.has(name));
  };
  const byNext = left(headAfterTakeOver(head, 'next'));
  if (byNext !== undefined) return `${byNext} is never collected, not even by the next leader`;
  // The same leader, as soon as it has gone above all that was begun. One that is regaining will be as another.
  for (const { at, seen, latest, begun, compaction } of world.writers) {
    if (at !== 'ready' || seen === null || versionOf(seen) !== versionOf(head)) continue;
    const checkpointId = Math.max(begun, latest?.checkpointId ?? 0, compaction?.checkpointId ?? 0) + 1;
    const next = manifestOf(head.epoch, checkpointId, segmentsOf(latest), false);
    const bySame = left(headAfterPublish(seen, next, { nonce: 'next', retainedMax: setup.retained + 1, reserved: [] }));
    if (bySame !== undefined) return `${bySame} is not collected while its leader lives`;
  }
  return undefined;
}
