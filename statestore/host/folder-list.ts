import type { OverlayEntry } from '../view/view-description.js';
import { type Line, type LineOf, sameLine } from './base-record.js';

/** What a folder has above its base. */
export interface FolderList {
  /** The newest completed checkpoint it knows of; undefined: none was ever completed. */
  readonly observed: Line | undefined;
  /** Oldest first. */
  readonly segments: readonly OverlayEntry[];
  /** Where the base covers nothing: of checkpoints after these, `segments` has everything. Disjoint. */
  readonly floors: readonly LineOf[];
}

/** The checkpoints that count now, from HEAD. */
export interface History {
  readonly latest: Line | undefined;
  /** `latest` and the older ones that are kept with it. */
  readonly kept: readonly Line[];
}

/**
 * What of a folder HEAD confirms. State that is not in the history of HEAD must not be used again, however good it looks
 * (KAFKA-9891): a checkpoint is the same only if id and epoch are, and what comes before a confirmed one is its history.
 *
 * - `same`: HEAD's newest is one that the folder knows. What the folder has after it was rolled back.
 * - `behind`: the folder's newest is in HEAD's history, but HEAD has gone on.
 * - `foreign`: none of it can be told to be in HEAD's history.
 */
export function confirm(
  known: { readonly observed: Line | undefined; readonly lines: readonly Line[] },
  history: History,
): 'same' | 'behind' | 'foreign' {
  const { latest, kept } = history;
  const { observed, lines } = known;
  if (latest === undefined) return observed === undefined ? 'same' : 'foreign';
  if (observed === undefined) return 'foreign';
  if ([observed, ...lines].some((line) => sameLine(line, latest))) return 'same';
  if (kept.some((line) => sameLine(line, observed))) return 'behind';
  // A leader goes back only by a takeover, which is a new epoch: within one, each checkpoint follows from those before.
  return observed.epoch === latest.epoch && observed.checkpointId < latest.checkpointId ? 'behind' : 'foreign';
}
