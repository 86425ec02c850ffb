import { parseObjectName } from '../blob/blob-name.js';
import type { Manifest } from '../manifest.js';
import { type Head, type HeadManifest, isMoved } from './head.js';

/*
 * The decisions of the HEAD protocol, and nothing else: pure functions over what was read. The store carries them out; the
 * model (head-model.test.ts) drives the same functions through every interleaving of small configurations.
 */

/** HEAD after a takeover, which aborts all that is pending: names of the epochs before are dead unless marked. */
export function headAfterTakeOver(head: Head | undefined, nonce: string): Head {
  const { latest = null, retained = [] } = head ?? {};
  return { epoch: (head?.epoch ?? 0) + 1, nonce, line: (latest?.checkpointId ?? 0) + 1, latest, retained };
}

/**
 * HEAD after a publication. `reserved` are the ids under which objects are being written that a later publication may bring
 * in for the first time (compactions): the publishing line stays at or below them. Nothing comes after a final checkpoint.
 */
export function headAfterPublish(
  head: Head,
  manifest: Manifest,
  options: { readonly nonce: string; readonly retainedMax: number; readonly reserved: readonly number[] },
): Head {
  const retained = (head.latest === null ? [] : [head.latest, ...head.retained]).slice(0, options.retainedMax - 1);
  const line = Math.min(manifest.checkpointId + 1, ...(manifest.final ? [] : options.reserved));
  return { epoch: head.epoch, nonce: options.nonce, line: Math.max(line, head.line), latest: manifest, retained };
}

/**
 * What became of a compare-and-set whose answer was lost, or was a conflict, from what HEAD is read to be now.
 * The nonce tells our own move from another's; an unchanged version means that it has not happened (yet).
 */
export function settleMove(
  read: { readonly nonce: string; readonly version: string } | undefined,
  mine: { readonly nonce: string; readonly expected: string | undefined },
): 'moved' | 'not moved' | 'fenced' {
  if (read?.nonce === mine.nonce) return 'moved';
  return read?.version === mine.expected ? 'not moved' : 'fenced';
}

/**
 * Whether no HEAD will ever refer to an object again that none refers to now: its epoch is over, or it is below the
 * publishing line. Dead is forever, so a collector may be as late as it likes. Names this store did not give never are.
 */
export function isDead(name: string, head: Pick<Head, 'epoch' | 'line'>): boolean {
  const parsed = parseObjectName(name);
  if (parsed === undefined || parsed.epoch > head.epoch) return false;
  return parsed.epoch < head.epoch || parsed.checkpointId < head.line;
}

/** Objects a collector may delete: dead, and marked by nobody. */
export function collectable(names: readonly string[], head: Head, marked: ReadonlySet<string>): string[] {
  return names.filter((name) => !marked.has(name) && isDead(name, head));
}

/**
 * Objects of a manifest to be published that the collector may have deleted: dead, and marked by no kept checkpoint. A pin
 * is no reason here: it may be gone, or turn out to have come too late, before this publication moves HEAD.
 */
export function deadReferences(manifest: Manifest, head: Head, marked: ReadonlySet<string>): string[] {
  return collectable(objectsOf(manifest), head, marked);
}

/**
 * The id after which objects are named that a later publication may bring in: above the newest checkpoint, and above every
 * publication begun, the line of which was drawn without knowing of this reservation.
 */
export function reservationId(latest: Pick<HeadManifest, 'checkpointId'> | undefined, begunId: number): number {
  return Math.max(begunId, latest?.checkpointId ?? 0) + 1;
}

/** Whether a checkpoint may follow: ids only grow, from the one that HEAD goes on from. */
export function canFollow(latest: Pick<HeadManifest, 'checkpointId'> | undefined, checkpointId: number): boolean {
  return latest === undefined || checkpointId > latest.checkpointId;
}

/** Whether the leader of `epoch` may take over again, as if nobody had come between: nobody has, or it was itself. */
export function canRegain(head: Head | undefined, epoch: number, ourUnknown: ReadonlySet<string>): boolean {
  return (head?.epoch ?? 0) === epoch || (head !== undefined && ourUnknown.has(head.nonce));
}

/** Whether HEAD keeps this very checkpoint: another may have its id, since a reset or a rollback. */
export function keeps(head: Head, { checkpointId, epoch }: Manifest): boolean {
  return keptBy(head).some((kept) => kept.checkpointId === checkpointId && kept.epoch === epoch);
}

/**
 * Whether HEAD may go back to a checkpoint that was looked at before, and give it an id of its own: it is still kept, and nothing
 * has been completed since. What nobody has looked at is not given up.
 */
export function canRename(head: Head, manifest: Manifest, as: number): boolean {
  return keeps(head, manifest) && keptBy(head).every((kept) => kept.checkpointId < as);
}

/** Objects that HEAD marks: what its manifests need, and those of them that stand outside it. `manifests`: all, read. */
export function markedBy(head: Head, manifests: readonly Manifest[]): Set<string> {
  const moved = keptBy(head).flatMap((kept) => (isMoved(kept) ? [kept.object] : []));
  return new Set([...moved, ...manifests.flatMap(objectsOf)]);
}

/** Names of the objects a manifest needs. */
export function objectsOf(manifest: Manifest): string[] {
  return manifest.tasks.flatMap((t) => t.segments.filter((s) => s.inline === undefined).map((s) => s.object));
}

/** Manifests that HEAD keeps, newest first. */
export function keptBy(head: Head): readonly HeadManifest[] {
  return head.latest === null ? [] : [head.latest, ...head.retained];
}
