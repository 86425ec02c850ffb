import { MillraceError } from '../../../base/index.js';
import { type BlobStore, collectGarbage, listKept, removeSavepoint } from '../../../checkpoint/index.js';
import { byteSize } from '../byte-size.js';
import { plural } from '../text-table.js';
import { placeOf } from './listing.js';
import { type Location, withLocation } from './location.js';
import type { Tool, ToolResult } from './tool.js';

/** Looked at together. */
const STATS = 16;

export interface GcOptions {
  readonly dryRun: boolean;
  /** Pins to take away first. */
  readonly unpin: readonly string[];
}

/** `millrace checkpoints gc`: removes what no checkpoint refers to and none ever will; of a half-written savepoint, all. */
export function gc(tool: Tool, url: string, options: GcOptions): Promise<ToolResult> {
  return withLocation(tool, url, (location) =>
    location.kind === 'job' ? ofStore(location.store, options) : ofSavepoint(tool, location, options),
  );
}

async function ofStore(store: BlobStore, { dryRun, unpin }: GcOptions): Promise<ToolResult> {
  // Where HEAD is gone, nobody knows what is garbage.
  await listKept(store);
  const pins = await store.list('pins/');
  for (const name of unpin) {
    if (pins.includes(name)) continue;
    const known = pins.length === 0 ? 'there are none' : `there are: ${pins.join(', ')}`;
    throw new MillraceError('invalid', 'PIN_NOT_FOUND', `no pin ${name} in ${placeOf(store)}; ${known}`);
  }
  // A dry run looks at the garbage there is with the pins as they are.
  if (!dryRun) for (const name of unpin) await store.delete(name);
  const before = await collectGarbage(store, { dryRun: true });
  const bytes = await sizes(store, before.objects);
  const { objects } = dryRun ? before : await collectGarbage(store, { candidates: before.objects });
  const left = dryRun ? pins : pins.filter((name) => !unpin.includes(name));
  const text = [
    `${dryRun ? 'would remove' : 'removed'} ${plural(objects.length, 'object')}, ${byteSize(bytes)}`,
    ...(dryRun ? objects.map((name) => `  ${name}`) : []),
    ...(unpin.length > 0 ? [`${dryRun ? 'would take' : 'took'} away ${plural(unpin.length, 'pin')}`] : []),
    ...(before.pending.length > 0
      ? [
          `${plural(before.pending.length, 'object')} pending: of a checkpoint under way, or garbage once a run takes over`,
        ]
      : []),
    ...(left.length > 0 ? [`pins that keep checkpoints (--unpin NAME takes one away): ${left.join(', ')}`] : []),
  ];
  return {
    text,
    json: {
      location: store.location,
      dryRun,
      objects,
      bytes,
      pending: before.pending,
      unpinned: unpin,
      pins: left,
    },
  };
}

async function ofSavepoint(tool: Tool, { kind, store }: Location, { dryRun, unpin }: GcOptions): Promise<ToolResult> {
  if (unpin.length > 0) throw new MillraceError('invalid', 'PIN_NOT_FOUND', 'a savepoint has no pins');
  const all = kind === 'savepoint' ? [] : await store.list('');
  const bytes = await sizes(store, all);
  if (!dryRun && all.length > 0) await removeSavepoint(store, { random: tool.random, whole: false });
  const what =
    kind === 'savepoint'
      ? 'a whole savepoint: nothing of it is garbage'
      : `a half-written savepoint: ${dryRun ? 'would remove' : 'removed'} ${plural(all.length, 'object')}, ${byteSize(bytes)}`;
  return { text: [what], json: { location: store.location, kind, dryRun, objects: all, bytes } };
}

async function sizes(store: BlobStore, names: readonly string[]): Promise<number> {
  let bytes = 0;
  for (let from = 0; from < names.length; from += STATS) {
    const stats = await Promise.all(names.slice(from, from + STATS).map((name) => store.stat(name)));
    for (const stat of stats) bytes += stat?.bytes ?? 0;
  }
  return bytes;
}
