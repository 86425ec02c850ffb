import { MillraceError } from '../../base/index.js';
import type { StateStore } from '../spi.js';

/** One subtask of so many. */
export interface Subtask {
  readonly subtask: number;
  readonly parallelism: number;
}

/** What one subtask had at the snapshot. */
export interface OwnedValue extends Subtask {
  readonly name: string;
  readonly value: Uint8Array;
}

export function ownedName(state: string, what: 'list' | 'broadcast', { subtask, parallelism }: Subtask): string {
  return `${state}:${what}:${subtask}.${parallelism}`;
}

/** The subtask that an operator value belongs to, by its name. */
export function ownerOf(
  name: string,
): (Subtask & { readonly state: string; readonly what: 'list' | 'broadcast' }) | undefined {
  const match = /^(.*):(list|broadcast):(\d+)\.(\d+)$/s.exec(name);
  if (match === null) return undefined;
  const [, state = '', what, subtask, parallelism] = match;
  return { state, what: what as 'list' | 'broadcast', subtask: Number(subtask), parallelism: Number(parallelism) };
}

/** What the owners at the snapshot had of a state that is not keyed, in the order of the subtasks. */
export function ownedValues(store: StateStore, state: string, what: 'list' | 'broadcast'): OwnedValue[] {
  const values = store.operatorNames().flatMap((name) => {
    const owner = ownerOf(name);
    if (owner === undefined || owner.state !== state || owner.what !== what) return [];
    const { subtask, parallelism } = owner;
    return [{ name, subtask, parallelism, value: store.operatorValue(name).get() as Uint8Array }];
  });
  return values.sort((a, b) => a.parallelism - b.parallelism || a.subtask - b.subtask);
}

/** @throws MillraceError `RESTORE_INCOMPLETE` (invalid) naming state and subtask, unless there is one value of every subtask. */
export function checkComplete(state: string, values: readonly OwnedValue[]): void {
  const parallelism = values[0]?.parallelism ?? 0;
  for (let subtask = 0; subtask < Math.max(parallelism, values.length); subtask++) {
    const value = values[subtask];
    if (value?.subtask === subtask && value.parallelism === parallelism) continue;
    throw new MillraceError(
      'invalid',
      'RESTORE_INCOMPLETE',
      `state ${JSON.stringify(state)} of ${parallelism} subtasks is redistributed: the segments of all of them are needed, those of subtask ${subtask} are missing`,
      { context: { state, subtask, parallelism } },
    );
  }
}
