import { type Manifest, measureCheckpoint, type StateSize, type TaskSize } from '../../../checkpoint/index.js';
import { byteSize } from '../byte-size.js';
import { count, plural, textBar, textTable } from '../text-table.js';
import { jobOf, pickCheckpoint, placeOf, sizeOf, whileHeld } from './listing.js';
import { withLocation } from './location.js';
import { kindOf } from './state-words.js';
import { positionRows } from './task-positions.js';
import type { Tool, ToolResult } from './tool.js';

/** Of a picture of all key groups. */
const RANGES = 16;

/** `millrace checkpoints show`: sizes by task, state and key groups, from the indexes of the segments; and where each task was. */
export function show(tool: Tool, url: string, id: number | undefined): Promise<ToolResult> {
  return withLocation(tool, url, async (location) => {
    const manifest = await pickCheckpoint(location, id);
    const sizes = await whileHeld(tool, location, manifest, () =>
      measureCheckpoint(location.store, manifest, { ...tool.long, progress: tool.progress('reading indexes') }),
    );
    const states = byState(sizes);
    const ranges = byKeyGroups(sizes);
    const positions = positionRows(manifest);
    const text = [
      ...heading(manifest, placeOf(location.store)),
      '',
      ...taskTable(sizes),
      '',
      ...stateTable(states),
      '',
      ...rangeTable(ranges),
      '',
      ...positions.text,
    ];
    return { text, json: { ...summary(manifest), ...sizesAsJson(sizes, states, ranges), positions: positions.json } };
  });
}

interface RangeSize {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
}

function summary(manifest: Manifest) {
  const { checkpointId, epoch, final, restoredFrom = null } = manifest;
  return {
    checkpoint: checkpointId,
    epoch,
    final,
    restoredFrom,
    job: jobOf(manifest)?.job ?? null,
    ...sizeOf(manifest),
  };
}

function heading(manifest: Manifest, place: string): string[] {
  const { segments, bytes } = sizeOf(manifest);
  const job = jobOf(manifest);
  const what = [
    `epoch ${manifest.epoch}`,
    ...(job === undefined ? [] : [`job '${job.job}'`]),
    plural(manifest.tasks.length, 'task'),
    plural(segments, 'segment'),
    byteSize(bytes),
    ...(manifest.final ? ['final: the job has ended'] : []),
    ...(manifest.restoredFrom === undefined ? [] : [`from savepoint ${manifest.restoredFrom}`]),
  ];
  return [`checkpoint ${manifest.checkpointId} in ${place}`, what.join(', ')];
}

function taskTable(sizes: readonly TaskSize[]): string[] {
  const largest = Math.max(...sizes.map((size) => size.bytes));
  const rows = sizes.map((size) => [
    size.task,
    count(size.segments),
    count(size.entries),
    count(size.tombstones),
    byteSize(size.bytes),
    textBar(size.bytes, largest),
  ]);
  return textTable(
    [
      { title: 'task', align: 'left' },
      ...numeric('segments', 'entries', 'tombstones', 'bytes'),
      { title: '', align: 'left' },
    ],
    rows,
  );
}

function byState(sizes: readonly TaskSize[]): StateSize[] {
  const states = new Map<string, StateSize>();
  for (const { state, entries, bytes } of sizes.flatMap((size) => size.states)) {
    const before = states.get(state.name);
    states.set(state.name, {
      state,
      entries: entries + (before?.entries ?? 0),
      bytes: bytes + (before?.bytes ?? 0),
    });
  }
  return [...states.values()].sort((a, b) => b.bytes - a.bytes);
}

function stateTable(states: readonly StateSize[]): string[] {
  const largest = Math.max(...states.map((size) => size.bytes));
  const rows = states.map(({ state, entries, bytes }) => [
    state.name,
    kindOf(state),
    count(entries),
    byteSize(bytes),
    textBar(bytes, largest),
  ]);
  const columns = [{ title: 'state', align: 'left' } as const, { title: 'kind', align: 'left' } as const];
  return [
    ...textTable([...columns, ...numeric('entries', 'bytes'), { title: '', align: 'left' }], rows),
    '(as stored: older versions of a key that are not merged away yet count too)',
  ];
}

function byKeyGroups(sizes: readonly TaskSize[]): RangeSize[] {
  // Of a store that says nothing narrower, a task's range may be all there could be.
  const used = sizes.map(
    ({ firstKeyGroup, keyGroupBytes }) => firstKeyGroup + keyGroupBytes.findLastIndex((bytes) => bytes > 0),
  );
  const last = Math.max(...used);
  if (!(last >= 0)) return [];
  const width = Math.ceil((last + 1) / RANGES);
  const ranges = Array.from({ length: Math.ceil((last + 1) / width) }, (_, at) => ({
    first: at * width,
    last: Math.min(last, (at + 1) * width - 1),
    bytes: 0,
  }));
  for (const { firstKeyGroup, keyGroupBytes } of sizes) {
    keyGroupBytes.forEach((bytes, at) => {
      const range = ranges[Math.floor((firstKeyGroup + at) / width)];
      if (range !== undefined) range.bytes += bytes;
    });
  }
  return ranges.map((range) => ({ ...range, bytes: Math.round(range.bytes) }));
}

function rangeTable(ranges: readonly RangeSize[]): string[] {
  if (ranges.length === 0) return ['no key groups: no task has state'];
  const largest = Math.max(...ranges.map((range) => range.bytes));
  const rows = ranges.map(({ first, last, bytes }) => [
    first === last ? `${first}` : `${first}-${last}`,
    byteSize(bytes),
    textBar(bytes, largest),
  ]);
  return [
    ...textTable([...numeric('key groups', 'bytes'), { title: '', align: 'left' }], rows),
    '(approximate: a block of about 32 KiB that holds several key groups is shared out evenly among them)',
  ];
}

function sizesAsJson(sizes: readonly TaskSize[], states: readonly StateSize[], ranges: readonly RangeSize[]) {
  const state = ({ state, entries, bytes }: StateSize) => ({ name: state.name, kind: kindOf(state), entries, bytes });
  return {
    tasks: sizes.map(({ task, segments, bytes, entries, tombstones, states: own }) => ({
      task,
      segments,
      bytes,
      entries,
      tombstones,
      states: own.map(state),
    })),
    states: states.map(state),
    keyGroups: ranges,
  };
}

function numeric(...titles: readonly string[]) {
  return titles.map((title) => ({ title, align: 'right' as const }));
}
