import { manifestObjectName } from '../blob/blob-name.js';
import type { Step } from '../explore.test.support.js';
import type { Manifest, SegmentRef } from '../manifest.js';
import { applyCompaction } from '../plan-compaction.js';
import { type Head, isMoved } from './head.js';
import type { WorldKeys } from './head-model-key.test.support.js';
import { writerAt } from './head-model-outcomes.test.support.js';
import {
  absentWriter,
  manifestOf,
  put,
  readManifests,
  refTo,
  type Setup,
  segmentsOf,
  send,
  spend,
  type World,
  type Writer,
  withWriter,
} from './head-model-world.test.support.js';
import { keptBy, objectsOf } from './head-protocol.js';

/*
 * What a leader does with its epoch: has objects stored (SegmentHome.persist), publishes (CheckpointStore.publish), has old
 * segments merged beside that (reserve, compact). Every step is one request, or one decision during which the store may change.
 */

const host = 'h';

export function publisherSteps(world: World, index: number, setup: Setup, keys: WorldKeys): Step<World>[] {
  const who = 'AB'[index] as string;
  const steps: Step<World>[] = [];
  const add = (label: string, to: World | undefined) => to && steps.push({ label: `${who} ${label}`, to });
  const writer = writerAt(world, index);
  if (writer.at === 'ready') persist(world, index, setup, keys, add);
  if (writer.at === 'stored' && writer.pending !== null) {
    const { checkpointId } = writer.pending;
    const begun = publish(world, index, setup, keys);
    const { at, move } = writerAt(begun, index);
    const isMerged =
      writer.compaction !== null && segmentsOf(move?.manifest ?? null).includes(writer.compaction.output);
    const how = at === 'stopped' ? ', and is refused' : isMerged ? ', with the merge' : '';
    add(`begins to publish checkpoint ${checkpointId}${how}`, begun);
    const aborted = spend(world, 'aborts');
    if (aborted !== undefined)
      add(`gives checkpoint ${checkpointId} up`, withWriter(aborted, index, { at: 'ready', pending: null }));
  }
  if (writer.at === 'manifests') moveManifest(world, index, keys, add);
  merge(world, index, setup, keys, add);
  return steps;
}

type Add = (label: string, to: World | undefined) => void;

/** One put for the next checkpoint: what it changes, on top of what it builds on. */
function persist(world: World, index: number, setup: Setup, keys: WorldKeys, add: Add): void {
  const { latest, seen } = writerAt(world, index);
  const { decisions, idMax, carried } = setup;
  const checkpointId = (latest?.checkpointId ?? 0) + 1;
  if (checkpointId > idMax || seen === null) return;
  const nonce = keys.fresh(world);
  const ref = refTo(decisions.segmentName(seen.epoch, checkpointId, host, nonce), nonce);
  const object = { name: ref.object, value: ref.checksum };
  for (const { base, of } of bases(world, index, setup)) {
    const pending = { checkpointId, base: carried === 0 ? [] : base.slice(-carried), ref };
    const what = `${ref.object} for checkpoint ${checkpointId}${of}`;
    const stored = put(world, object) ?? (decisions.takenName === 'success' ? world : undefined);
    add(`stores ${what}`, stored && withWriter(stored, index, { at: 'stored', pending }));
    const left = spend(world, 'unanswered');
    if (left === undefined) continue;
    // RetryingBlobStore: the first request, of which nothing was heard, may still come when the second was long answered.
    const again = put(left, object);
    add(
      `stores ${what}, at the second try`,
      again && withWriter(send(again, { put: object }), index, { at: 'stored', pending }),
    );
  }
  const left = spend(world, 'unanswered');
  // The checkpoint is aborted.
  add(`hears nothing of its put of ${ref.object}`, left && send(left, { put: object }));
}

function bases(
  world: World,
  index: number,
  setup: Setup,
): { readonly base: readonly SegmentRef[]; readonly of: string }[] {
  const { latest, seen } = writerAt(world, index);
  const found = [{ base: segmentsOf(latest), of: '' }];
  if (setup.bases === 'latest' || seen === null) return found;
  const others: [Manifest, string][] = (readManifests(world, seen) ?? []).slice(1).map((m) => [m, 'kept']);
  for (const { name, value } of world.objects) {
    if (setup.bases === 'kept or pinned' && name.startsWith('pins/') && typeof value !== 'string')
      others.push([value, 'pinned']);
  }
  for (const [manifest, how] of others) {
    const of = `, built on the ${how} ${manifest.checkpointId} of epoch ${manifest.epoch}`;
    found.push({ base: segmentsOf(manifest), of });
  }
  return found;
}

/** From the manifest to a HEAD that could be moved to. */
function publish(
  world: World,
  index: number,
  { decisions, retained, movesManifests, idMax }: Setup,
  keys: WorldKeys,
): World {
  const { seen, latest, begun, pending, compaction } = writerAt(world, index);
  if (seen === null || pending === null) return world;
  const { checkpointId, ref } = pending;
  const merged = compaction?.stored ? applyCompaction(pending.base, compaction.inputs, [compaction.output]) : undefined;
  const manifest = manifestOf(seen.epoch, checkpointId, [...(merged ?? pending.base), ref], checkpointId === idMax);
  const stopped: World = withWriter(world, index, { ...absentWriter, at: 'stopped' });
  const isHonest = pending.base.every((ref) => segmentsOf(latest).includes(ref));
  // A stale base is refused; what the leader itself has just had stored, under names that were its to give, never is.
  const problem = `checkpoint ${checkpointId} was refused, though all it refers to is in HEAD or new`;
  const refused = isHonest ? { ...stopped, problem } : stopped;
  if (!decisions.canFollow(latest ?? undefined, checkpointId)) return refused;
  const before = new Set(latest === null ? [] : objectsOf(latest));
  if (decisions.deadReferences(manifest, seen, before).length > 0) {
    const manifests = readManifests(world, seen);
    // Another leader has moved HEAD on.
    if (manifests === undefined) return stopped;
    const marked = decisions.markedBy(seen, manifests);
    if (decisions.pinsMarkForPublish)
      for (const pin of pinned(world)) for (const name of objectsOf(pin)) marked.add(name);
    if (decisions.deadReferences(manifest, seen, marked).length > 0) return refused;
  }
  const ticket = keys.fresh(world);
  const head = decisions.headAfterPublish(seen, manifest, {
    nonce: decisions.nonceOfMove(ticket),
    retainedMax: retained,
    reserved: compaction === null ? [] : [compaction.checkpointId],
  });
  return withWriter(world, index, {
    at: movesManifests ? 'manifests' : 'move',
    begun: Math.max(begun, checkpointId),
    move: { ticket, kind: 'publish', head, expected: seen, manifest, newest: null, denied: false },
    attempt: 1,
    landed: false,
  });
}

/** `#shrunk` of CheckpointStore, for a HEAD that holds no manifest: oldest first. */
function moveManifest(world: World, index: number, keys: WorldKeys, add: Add): void {
  const { move } = writerAt(world, index);
  if (move?.manifest == null) return;
  const kept = [...keptBy(move.head)];
  const at = kept.findLastIndex((m) => !isMoved(m));
  const manifest = kept[at];
  if (manifest === undefined || isMoved(manifest)) return;
  const name = manifestObjectName(move.head.epoch, move.manifest.checkpointId, keys.fresh(world));
  const object = { name, value: manifest };
  kept[at] = { checkpointId: manifest.checkpointId, epoch: manifest.epoch, object: name };
  const head: Head = { ...move.head, latest: kept[0] ?? null, retained: kept.slice(1) };
  const stored = put(world, object);
  const next: Partial<Writer> = { at: at === 0 ? 'move' : 'manifests', move: { ...move, head } };
  add(`stores the manifest ${name}`, stored && withWriter(stored, index, next));
  // HEAD was not touched: the checkpoint is aborted, and the epoch goes on.
  const left = spend(world, 'unanswered');
  const aborted: Partial<Writer> = { at: 'ready', move: null, attempt: 0, pending: null };
  add(`hears nothing of its put of ${name}`, left && withWriter(send(left, { put: object }), index, aborted));
}

/** A merge of all segments of the newest checkpoint: reserved at any time, stored at any time, by a daemon. */
function merge(world: World, index: number, { decisions }: Setup, keys: WorldKeys, add: Add): void {
  const { leads, seen, latest, begun, compaction } = writerAt(world, index);
  const inputs = segmentsOf(latest);
  if (compaction === null && leads && seen !== null && inputs.length > 1) {
    const checkpointId = decisions.reservationId(latest ?? undefined, begun);
    const nonce = keys.fresh(world);
    const output = refTo(decisions.segmentName(seen.epoch, checkpointId, host, nonce), nonce);
    const left = spend(world, 'compactions');
    const begunMerge = { epoch: seen.epoch, checkpointId, inputs, output, stored: false };
    add(`reserves ${checkpointId} for a merge`, left && withWriter(left, index, { compaction: begunMerge }));
  }
  if (compaction === null || compaction.stored) return;
  const object = { name: compaction.output.object, value: compaction.output.checksum };
  const stored = put(world, object) ?? (decisions.takenName === 'success' ? world : undefined);
  add(
    `has the merged ${object.name} stored`,
    stored && withWriter(stored, index, { compaction: { ...compaction, stored: true } }),
  );
  const left = spend(world, 'unanswered');
  add(
    `hears nothing of the merged ${object.name}`,
    left && withWriter(send(left, { put: object }), index, { compaction: null }),
  );
}

export function pinned(world: World): Manifest[] {
  return world.objects.flatMap(({ name, value }) =>
    name.startsWith('pins/') && typeof value !== 'string' ? [value] : [],
  );
}
