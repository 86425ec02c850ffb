import { byteSize } from '../byte-size.js';
import { textTable } from '../text-table.js';
import { bytesAdded, jobOf, type Listed, listCheckpoints, placeOf, sizeOf } from './listing.js';
import { type Location, withLocation } from './location.js';
import type { Tool, ToolResult } from './tool.js';

/** `millrace checkpoints ls`: what there is, from HEAD and manifests alone. */
export function ls(tool: Tool, url: string): Promise<ToolResult> {
  return withLocation(tool, url, async (location) => {
    const listed = await listCheckpoints(location);
    const pins = await pinNames(location);
    const checkpoints = listed.map((each, at) => describe(each, listed[at + 1], pins));
    const job = listed.map(({ manifest }) => manifest && jobOf(manifest)?.job).find((name) => name !== undefined);
    const ok = listed.every(({ manifest }) => manifest !== undefined);
    const what = location.kind === 'savepoint' ? 'a savepoint' : 'checkpoints';
    const text = [`${what}${job === undefined ? '' : ` of job '${job}'`} in ${placeOf(location.store)}`];
    if (checkpoints.length === 0) text.push('there is none yet');
    else text.push(...table(checkpoints, location));
    for (const { id, damage } of checkpoints) if (damage !== '') text.push(`checkpoint ${id} is damaged: ${damage}`);
    const alone = pins.filter(({ id }) => !listed.some((each) => each.checkpointId === id));
    for (const { name } of alone) text.push(`${name}: keeps a checkpoint that HEAD has given up`);
    const json = { location: location.store.location, kind: location.kind, job: job ?? null, checkpoints };
    return { text, json: { ...json, pins: pins.map(({ name }) => name) }, ok };
  });
}

interface Row {
  readonly id: number;
  readonly epoch: number;
  readonly tasks: number | null;
  readonly finishedTasks: number | null;
  readonly segments: number | null;
  readonly bytes: number | null;
  /** Against the one before; null when that is not kept. */
  readonly addedBytes: number | null;
  readonly final: boolean | null;
  readonly where: string;
  readonly pins: readonly string[];
  readonly restoredFrom: string | null;
  readonly damage: string;
}

function describe(
  { checkpointId: id, epoch, where, manifest, damage }: Listed,
  before: Listed | undefined,
  allPins: readonly { readonly id: number; readonly name: string }[],
): Row {
  const pins = allPins.filter((pin) => pin.id === id).map(({ name }) => name);
  const unknown = { tasks: null, finishedTasks: null, segments: null, bytes: null, addedBytes: null, final: null };
  if (manifest === undefined) return { id, epoch, ...unknown, where, pins, restoredFrom: null, damage };
  const { tasks, final, restoredFrom = null } = manifest;
  const addedBytes = before?.manifest === undefined ? null : bytesAdded(manifest, before.manifest);
  const finishedTasks = tasks.filter((task) => task.finished).length;
  return {
    id,
    epoch,
    tasks: tasks.length,
    finishedTasks,
    ...sizeOf(manifest),
    addedBytes,
    final,
    where,
    pins,
    restoredFrom,
    damage,
  };
}

function table(rows: readonly Row[], { kind }: Location): string[] {
  const columns = ['checkpoint', 'epoch', 'tasks', 'segments', 'bytes', 'added'].map((title) => ({
    title,
    align: 'right' as const,
  }));
  const lines = rows.map((row) => [
    String(row.id),
    String(row.epoch),
    row.tasks === null
      ? '?'
      : row.finishedTasks === 0
        ? String(row.tasks)
        : `${row.tasks} (${row.finishedTasks} finished)`,
    String(row.segments ?? '?'),
    row.bytes === null ? '?' : byteSize(row.bytes),
    row.addedBytes === null ? '-' : byteSize(row.addedBytes),
    [
      ...(row.final === true ? ['final'] : []),
      ...(row.restoredFrom === null ? [] : ['from a savepoint']),
      ...(row.pins.length === 0 ? [] : [`pinned by ${row.pins.map(ownerOf).join(', ')}`]),
      ...(kind === 'job' && row.where !== 'HEAD' ? ['manifest outside HEAD'] : []),
      ...(row.damage === '' ? [] : ['DAMAGED']),
    ].join(', '),
  ]);
  return textTable([...columns, { title: '', align: 'left' }], lines);
}

/** By name alone: a pin that cannot be read is one too. */
async function pinNames({ kind, store }: Location): Promise<{ readonly id: number; readonly name: string }[]> {
  if (kind !== 'job') return [];
  return (await store.list('pins/')).map((name) => ({ id: Number(/^pins\/(\d+)-/.exec(name)?.[1] ?? -1), name }));
}

/** `pins/<checkpointId>-<owner>-<nonce>`. */
function ownerOf(name: string): string {
  return /^pins\/\d+-(.*)-[^-]*$/.exec(name)?.[1] ?? name;
}
