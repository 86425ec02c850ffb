import {
  type CheckpointProblem,
  checkSavepoint,
  checkStore,
  type SizedObject,
  type StoreFindings,
} from '../../../checkpoint/index.js';
import { byteSize } from '../byte-size.js';
import { plural } from '../text-table.js';
import { placeOf } from './listing.js';
import { type Location, withLocation } from './location.js';
import type { Tool, ToolResult } from './tool.js';

/** `millrace checkpoints fsck`: whether all that is kept can be restored, and what nothing refers to. */
export function fsck(tool: Tool, url: string, deep: boolean): Promise<ToolResult> {
  return withLocation(tool, url, (location) => {
    const options = {
      ...tool.long,
      deep,
      random: tool.random,
      note: (line: string) => tool.note(line),
      progress: tool.progress(deep ? 'reading segments' : 'reading indexes'),
    };
    return location.kind === 'job' ? ofStore(location, options) : ofSavepoint(location, options);
  });
}

type Options = Parameters<typeof checkStore>[1];

async function ofStore({ store }: Location, options: Options): Promise<ToolResult> {
  const found = await checkStore(store, options);
  const all = [
    ...found.problems,
    ...found.checkpoints.flatMap((each) => each.problems),
    ...found.pins.flatMap((each) => each.problems),
  ];
  const ok = all.length === 0;
  const text = [`${placeOf(store)}: ${headLine(found)}`, ...problemLines(found.problems)];
  for (const { checkpointId, problems } of found.checkpoints)
    text.push(...verdict(`checkpoint ${checkpointId}`, problems));
  for (const { name, alone, problems } of found.pins) {
    text.push(...verdict(`${name}${alone ? ' (a checkpoint that HEAD has given up)' : ''}`, problems));
  }
  text.push(...unreferencedLines(found.unreferenced), '', conclusion(all, options.deep, found.checkpoints.length));
  return { text, json: { location: store.location, deep: options.deep, ...found }, ok };
}

async function ofSavepoint({ store, kind }: Location, options: Options): Promise<ToolResult> {
  const { savepoint, problems, unknown } = await checkSavepoint(store, options);
  const text = verdict(
    `${placeOf(store)}: ${kind}${savepoint === undefined ? '' : ` of checkpoint ${savepoint.manifest.checkpointId}`}`,
    problems,
  );
  for (const name of unknown) text.push(`${name} does not belong to it`);
  text.push('', conclusion(problems, options.deep, 1));
  const json = { location: store.location, deep: options.deep, kind, problems, unknown };
  return { text, json: { ...json, checkpoint: savepoint?.manifest.checkpointId ?? null }, ok: problems.length === 0 };
}

function headLine({ head, checkpoints }: StoreFindings): string {
  if (head === undefined) return 'no HEAD that can be read';
  return `HEAD is at epoch ${head.epoch} and keeps ${plural(checkpoints.length, 'checkpoint')}`;
}

function verdict(what: string, problems: readonly CheckpointProblem[]): string[] {
  return [
    `${what}: ${problems.length === 0 ? 'whole' : `DAMAGED, ${plural(problems.length, 'problem')}`}`,
    ...problemLines(problems),
  ];
}

function problemLines(problems: readonly CheckpointProblem[]): string[] {
  return problems.map(({ code, task, what }) => `  ${task === '' ? '' : `${task}: `}${what} [${code}]`);
}

function unreferencedLines(unreferenced: StoreFindings['unreferenced']): string[] {
  if (unreferenced === undefined) return ['what nothing refers to is not known, as not all could be read'];
  const { dead, pending, unknown } = unreferenced;
  const line = (what: string, objects: readonly SizedObject[], then: string) =>
    objects.length === 0
      ? []
      : [
          `${plural(objects.length, 'object')} ${what}, ${byteSize(objects.reduce((sum, o) => sum + o.bytes, 0))}: ${then}`,
        ];
  return [
    ...line('dead', dead, 'garbage, which the job or `millrace checkpoints gc` removes'),
    ...line(
      'pending',
      pending,
      'of a checkpoint under way, or left by a process that died; garbage once a run takes over',
    ),
    ...line('of another kind', unknown, `left alone (${unknown[0]?.name})`),
  ];
}

function conclusion(problems: readonly CheckpointProblem[], deep: boolean, checkpoints: number): string {
  if (problems.length > 0) {
    // A problem of HEAD itself says what to do.
    if (checkpoints === 0) return `${plural(problems.length, 'problem')} found`;
    const what = 'a run that meets a damaged checkpoint goes on from the newest whole one with --fallback';
    return `${plural(problems.length, 'problem')} found; ${what}`;
  }
  if (checkpoints === 0) return 'nothing is damaged; there is no checkpoint yet';
  return deep
    ? 'nothing is damaged: every byte was read'
    : 'nothing is damaged, as far as indexes tell; --deep reads every byte';
}
