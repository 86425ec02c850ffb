import { type CheckpointPlace, diffCheckpoints, type StateDiff } from '../../../checkpoint/index.js';
import { byteSize } from '../byte-size.js';
import { count, plural, textTable } from '../text-table.js';
import { pickCheckpoint, placeOf, whileHeld } from './listing.js';
import { type Location, withLocation } from './location.js';
import { changeWords, kindOf } from './state-words.js';
import type { Tool, ToolResult } from './tool.js';

/** `millrace checkpoints diff`: what changed from one checkpoint to another. Either may be named by id, or as a place. */
export function diff(tool: Tool, url: string, from: string, to: string, keys: number): Promise<ToolResult> {
  return withLocation(tool, url, (here) =>
    withSide(tool, here, from, (a) =>
      withSide(tool, here, to, async (b) => {
        const diffs = await diffCheckpoints(a, b, {
          ...tool.long,
          changesMax: keys,
          progress: tool.progress('comparing tasks'),
        });
        const [before, after] = [sideOf(a), sideOf(b)];
        const where = before.place === after.place ? '' : ` in ${before.place}`;
        const heading = `from checkpoint ${before.id}${where} to ${after.id} in ${after.place}`;
        const text = [...table(diffs, heading), ...changes(diffs, keys)];
        return {
          text,
          json: { ...json(diffs), from: before.id, to: after.id, fromPlace: before.place, toPlace: after.place },
        };
      }),
    ),
  );
}

/** A number is a checkpoint of the place at hand; anything else is a place of its own, and its newest checkpoint. */
function withSide<T>(tool: Tool, here: Location, name: string, fn: (side: CheckpointPlace) => Promise<T>): Promise<T> {
  const held = async (location: Location, id: number | undefined) => {
    const manifest = await pickCheckpoint(location, id);
    return whileHeld(tool, location, manifest, () => fn({ store: location.store, manifest }));
  };
  if (/^\d+$/.test(name)) return held(here, Number(name));
  return withLocation(tool, name, (there) => held(there, undefined));
}

const sideOf = ({ store, manifest }: CheckpointPlace) => ({ id: manifest.checkpointId, place: placeOf(store) });

function table(diffs: readonly StateDiff[], heading: string): string[] {
  if (diffs.length === 0) return [`${heading}: no state differs`];
  const sum = (what: 'added' | 'changed' | 'removed') => diffs.reduce((total, diff) => total + diff[what], 0);
  const columns = ['added', 'changed', 'removed', 'bytes'].map((title) => ({ title, align: 'right' as const }));
  const rows = diffs.map((diff) => [
    diff.task,
    `${diff.state.name} (${kindOf(diff.state)})`,
    count(diff.added),
    count(diff.changed),
    count(diff.removed),
    `+${byteSize(diff.addedBytes)} ~${byteSize(diff.changedBytes)} -${byteSize(diff.removedBytes)}`,
  ]);
  return [
    `${heading}: ${plural(sum('added'), 'entry', 'entries')} added, ${count(sum('changed'))} changed, ${count(sum('removed'))} removed`,
    ...textTable([{ title: 'task', align: 'left' }, { title: 'state', align: 'left' }, ...columns], rows),
  ];
}

function changes(diffs: readonly StateDiff[], keys: number): string[] {
  return diffs.flatMap((diff) => {
    if (diff.changes.length === 0) return [];
    const more = diff.added + diff.changed + diff.removed - diff.changes.length;
    const lines = diff.changes.map((change) => {
      const { keyGroup, key, before, after } = changeWords(diff.state, change);
      const sign = before === null ? '+' : after === null ? '-' : '~';
      const values = [before, after].filter((value) => value !== null && value !== '');
      return `  ${sign} ${key} [${keyGroup}]${values.length === 0 ? '' : `: ${values.join(' -> ')}`}`;
    });
    return [
      '',
      `${diff.task} ${diff.state.name}`,
      ...lines,
      ...(more > 0 ? [`  ... ${count(more)} more (--keys ${keys})`] : []),
    ];
  });
}

function json(diffs: readonly StateDiff[]) {
  const states = diffs.map(({ state, changes: all, ...numbers }) => ({
    ...numbers,
    state: state.name,
    kind: kindOf(state),
    changes: all.map((change) => changeWords(state, change)),
  }));
  return { states };
}
