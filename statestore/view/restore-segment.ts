import { inParallel } from '../../base/index.js';
import { SegmentBuilder, type SegmentState } from '../../checkpoint/index.js';
import { describeStates } from '../segment/segment-format.js';
import type { StateView, ViewEntry } from './state-view.js';

/** Key groups whose timers are fetched at the same time: what an object store answers at once. */
const fetchesAtOnce = 32;

/**
 * What a store must be given before it can stand on a view: a full segment of the view's key groups with what is always in memory,
 * timers and operator values, and with all states by name; other entries stay beneath, on this host or where they are stored.
 * `segmentStates`: of the checkpoint's segments, oldest segment first. A view has no operator values, and of what is not on
 * this host no names.
 */
export async function restoreSegment(view: StateView, segmentStates: readonly SegmentState[]): Promise<Uint8Array> {
  const local = view.states().map(({ name, meta }) => ({ name, meta, value: undefined }));
  const all = [...segmentStates, ...local];
  const states = new Map<string, SegmentState>();
  const timers = new Set<string>();
  describeStates(all).forEach(({ name, kind }, i) => {
    const state = all[i] as SegmentState;
    if (kind === 'timers') timers.add(name);
    if (kind !== 'operator') states.set(name, { ...state, value: undefined });
    // Nothing is said of it: it has not changed. No bytes: it was removed.
    else if (state.value?.length === 0) states.delete(name);
    else if (state.value !== undefined) states.set(name, state);
  });
  const sorted = [...states.values()].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  const { checkpointId } = view.line;
  const builder = new SegmentBuilder({ checkpointId, full: true, range: view.range, states: sorted });
  for (const entry of await timersOf(
    view,
    sorted.map(({ name }) => name).filter((name) => timers.has(name)),
  )) {
    const state = sorted.findIndex(({ name }) => name === entry.state);
    builder.add(entry.keyGroup, state, entry.key, entry.sub, entry.payload, false);
  }
  return builder.finish().bytes;
}

/** In the order of entries; `names` in the order of states. */
async function timersOf(view: StateView, names: readonly string[]): Promise<ViewEntry[]> {
  const { first, last } = view.range;
  const keyGroups = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const found = await inParallel(keyGroups, view.isLocal ? 1 : fetchesAtOnce, async (keyGroup) => {
    const entries: ViewEntry[] = [];
    for (const state of names) {
      for await (const entry of view.entries({ range: { first: keyGroup, last: keyGroup }, state })) {
        const { key, sub, payload } = entry;
        // What a walk shows is valid until its next step.
        entries.push({
          ...entry,
          key: new Uint8Array(key),
          sub: new Uint8Array(sub),
          payload: new Uint8Array(payload),
        });
      }
    }
    return entries;
  });
  return found.flat();
}
