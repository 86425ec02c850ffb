import type { Manifest } from '../manifest.js';
import type { Head, HeadManifest } from './head.js';
import { keptBy } from './head-protocol.js';

export type MoveKind = 'take over' | 'regain' | 'roll back' | 'reset' | 'publish';

/** One move of HEAD: a compare-and-set, sent once or more. */
export interface Move {
  /** Whose it is, for the checker alone: unlike the nonce it tells moves apart whatever is planted. */
  readonly ticket: string;
  readonly kind: MoveKind;
  readonly head: Head;
  readonly expected: Head | null;
  /** What it publishes. */
  readonly manifest: Manifest | null;
  /** What was the newest checkpoint when it was decided which to go back to. */
  readonly newest: HeadManifest | null;
  /** Its leader was told that it did not and will not happen. */
  readonly denied: boolean;
}

const texts = new WeakMap<Head, string>();

/** The version a store would give: a digest of the contents, as an ETag is, so that nothing rests on versions being unique. */
export function versionOf(head: Head | null): string | undefined {
  if (head === null) return undefined;
  let text = texts.get(head);
  if (text === undefined) {
    text = JSON.stringify(head);
    texts.set(head, text);
  }
  return text;
}

const nameOf = (kept: HeadManifest) => `${kept.checkpointId} of epoch ${kept.epoch}`;

/**
 * What is wrong with HEAD going from `before` to `move.head`, judged by what HEAD promises and by none of the decisions: epochs and,
 * within a run, ids only grow, only the epoch in force publishes, and a complete checkpoint is never lost, only superseded.
 */
export function moveProblem(before: Head | null, move: Move, retained: number): string | undefined {
  const { head, kind } = move;
  const kept = before === null ? [] : keptBy(before).map(nameOf);
  const now = keptBy(head).map(nameOf);
  if (move.denied)
    return `the ${kind} of checkpoint ${move.manifest?.checkpointId} happened after its leader was told that it did not`;
  if (kind !== 'publish') {
    if (before !== null && head.epoch < before.epoch) return `a ${kind} took the epoch back to ${head.epoch}`;
    if (move.newest !== null && nameOf(move.newest) !== kept[0])
      return `a ${kind} gave up checkpoint ${kept[0]}, which nobody had looked at`;
    // Under its own id, or a new one.
    const backAt = kept.indexOf(now[0] ?? '') >= 0 ? kept.indexOf(now[0] ?? '') : kept.length - now.length;
    const back = [now[0] ?? 'none', ...kept.slice(backAt + 1)];
    const expected = kind === 'reset' ? [] : kind === 'roll back' ? back : kept;
    return now.join() === expected.join() ? undefined : `a ${kind} turned checkpoints ${kept} into ${now}`;
  }
  if (before === null || head.latest === null) return 'a publication without a leader';
  if (head.epoch !== before.epoch || head.latest.epoch !== before.epoch)
    return `a publication of epoch ${head.latest.epoch} completed in epoch ${before.epoch}`;
  if (before.latest !== null && head.latest.checkpointId <= before.latest.checkpointId)
    return `checkpoint ${head.latest.checkpointId} followed ${before.latest.checkpointId}`;
  const expected = [nameOf(head.latest), ...kept].slice(0, retained);
  return now.join() === expected.join() ? undefined : `a publication turned checkpoints ${kept} into ${now}`;
}
