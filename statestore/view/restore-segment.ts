import { assert } from '../../base/index.js';
import { SegmentBuilder, type SegmentState } from '../../checkpoint/index.js';
import { describeStates } from '../segment/segment-format.js';
import type { StateView, ViewEntry } from './state-view.js';

/**
 * What a store must be given before it can stand on a view: a full segment of the view's key groups with what is always in memory,
 * timers and operator values, and with all states by name; other entries stay beneath.
 * `operatorStates`: those states of the checkpoint's segments that have no entries, oldest segment first; views have none of them.
 */
export async function restoreSegment(view: StateView, operatorStates: readonly SegmentState[]): Promise<Uint8Array> {
  assert(view.isLocal, 'timers are read at once');
  const states = new Map<string, SegmentState>();
  const timers: string[] = [];
  for (const { name, meta } of view.states()) {
    const [state] = describeStates([{ name, meta, value: undefined }]);
    if (state?.kind === 'operator') continue;
    states.set(name, { name, meta, value: undefined });
    if (state?.kind === 'timers') timers.push(name);
  }
  for (const state of operatorStates) {
    // Nothing is said of it: it has not changed. No bytes: it was removed.
    if (state.value === undefined) continue;
    if (state.value.length === 0) states.delete(state.name);
    else states.set(state.name, state);
  }
  const sorted = [...states.values()].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  const { checkpointId } = view.line;
  const builder = new SegmentBuilder({ checkpointId, full: true, range: view.range, states: sorted });
  for (const entry of await timersOf(view, timers)) {
    const state = sorted.findIndex(({ name }) => name === entry.state);
    builder.add(entry.keyGroup, state, entry.key, entry.sub, entry.payload, false);
  }
  return builder.finish().bytes;
}

/** Which of a segment's states `restoreSegment` needs besides the view. */
export function operatorStatesOf(states: readonly SegmentState[]): SegmentState[] {
  const described = describeStates(states);
  return states.filter((_, i) => described[i]?.kind === 'operator');
}

/** In the order of entries. */
async function timersOf(view: StateView, names: readonly string[]): Promise<ViewEntry[]> {
  const entries: ViewEntry[] = [];
  for (const state of names) {
    for await (const entry of view.entries({ state })) {
      const { key, sub, payload } = entry;
      // What a walk shows is valid until its next step.
      entries.push({ ...entry, key: new Uint8Array(key), sub: new Uint8Array(sub), payload: new Uint8Array(payload) });
    }
  }
  const rank = new Map([...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).map((n, i) => [n, i]));
  // Stable: within a key group and state they stay as they were.
  return entries.sort((a, b) => a.keyGroup - b.keyGroup || (rank.get(a.state) ?? 0) - (rank.get(b.state) ?? 0));
}
