import { MillraceError } from '../errors.js';

/**
 * Key groups: the unit in which keyed state is spread and moved, as in Flink (FLIP-8). A key belongs to the same group
 * for the life of a job; a change of parallelism moves whole groups.
 */

/** The group of a key's hash: the high bits, so that the low bits stay free for tables within a group. */
export function keyGroupOf(hash: number, keyGroups: number): number {
  return Math.floor(((hash >>> 0) * keyGroups) / 4294967296);
}

/** Which of `parallelism` subtasks owns a group: contiguous ranges, the inverse of `keyGroupRange`. */
export function subtaskOfKeyGroup(keyGroup: number, keyGroups: number, parallelism: number): number {
  return Math.floor((keyGroup * parallelism) / keyGroups);
}

/**
 * The groups of a subtask, `last` included.
 * @throws MillraceError `KEY_GROUPS_INVALID` (invalid) when there are fewer groups than subtasks.
 */
export function keyGroupRange(
  subtask: number,
  keyGroups: number,
  parallelism: number,
): { readonly first: number; readonly last: number } {
  if (!(parallelism >= 1 && parallelism <= keyGroups && subtask >= 0 && subtask < parallelism)) {
    const message = `subtask ${subtask} of ${parallelism} cannot own any of ${keyGroups} key groups`;
    throw new MillraceError('invalid', 'KEY_GROUPS_INVALID', message);
  }
  return {
    first: Math.ceil((subtask * keyGroups) / parallelism),
    last: Math.ceil(((subtask + 1) * keyGroups) / parallelism) - 1,
  };
}
