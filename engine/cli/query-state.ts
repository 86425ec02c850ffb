import { MillraceError } from '../../base/index.js';
import { StateClient, type StateQuery, StateReader, type StateSummary } from '../../statestore/index.js';
import { KEY_GROUPS } from '../graph/index.js';
import { pickCheckpoint, whileHeld } from './checkpoints/listing.js';
import { withLocation } from './checkpoints/location.js';
import type { Tool, ToolResult } from './checkpoints/tool.js';
import type { ToolFlags } from './checkpoints/tool-options.js';
import { readToken } from './front-door.js';
import { count, textTable } from './text-table.js';

/** Options of `millrace state`, as commander gives them. */
export interface StateFlags extends ToolFlags {
  readonly key?: string;
  readonly from?: string;
  readonly to?: string;
  readonly limit?: number;
  readonly checkpoint?: number;
  readonly tokenFile?: string;
}

/** What answers: a daemon, or the checkpoint itself. */
type Answers = Pick<StateClient, 'states' | 'query'>;

/** The states that there are, or what one of them has. @throws MillraceError `OPTION` (invalid). */
export function queryState(
  tool: Tool,
  where: string,
  name: string | undefined,
  flags: StateFlags,
): Promise<ToolResult> {
  const { key, from, to, limit } = flags;
  const asked = { ...(key && { key }), ...(from && { from }), ...(to && { to }), ...(limit && { limit }) };
  refuseOptions(where, name, flags);
  const read = (answers: Answers) =>
    name === undefined ? list(where, answers) : query(where, answers, { state: name, ...asked });
  if (isDaemon(where)) {
    if (flags.tokenFile === undefined)
      throw option('--token-file: a daemon gives its state only to who knows its token');
    return read(new StateClient({ address: where, token: readToken(flags.tokenFile), signal: tool.signal }));
  }
  return withLocation(tool, where, async (location) => {
    const manifest = await pickCheckpoint(location, flags.checkpoint);
    return whileHeld(tool, location, manifest, async () => {
      const reader = await StateReader.open(location.store, manifest, {
        keyGroups: KEY_GROUPS,
        now: () => tool.clock.now(),
        breathe: tool.long.breathe,
      });
      const { checkpoint, states } = reader;
      return read({ states: async () => ({ checkpoint, states }), query: (asking) => reader.read(asking) });
    });
  });
}

async function list(where: string, answers: Answers): Promise<ToolResult> {
  const { checkpoint, states } = await answers.states();
  const rows = states.map(({ name, kind, key, tasks, entries }) => [
    name,
    kind,
    key.join(', '),
    count(tasks.length),
    count(entries),
  ]);
  const left = ['state', 'kind', 'key'].map((title) => ({ title, align: 'left' as const }));
  const right = ['tasks', 'entries'].map((title) => ({ title, align: 'right' as const }));
  const text = [
    `state at checkpoint ${checkpoint} in ${where}`,
    ...(states.length === 0 ? ['there is none'] : textTable([...left, ...right], rows)),
  ];
  if (states.length > 0)
    text.push('(entries as stored: older versions of a key that are not merged away yet count too)');
  return { text, json: { checkpoint, states: states satisfies readonly StateSummary[] } };
}

async function query(where: string, answers: Answers, asked: StateQuery): Promise<ToolResult> {
  const answer = await answers.query(asked);
  const { checkpoint, state: name, kind, entries, next } = answer;
  const fields = [...new Set(entries.flatMap((entry) => Object.keys(entry)))];
  const rows = entries.map((entry) => fields.map((field) => (field in entry ? JSON.stringify(entry[field]) : '')));
  const text = [
    `${name} (${kind}) at checkpoint ${checkpoint} in ${where}`,
    ...(entries.length === 0
      ? ['there is no entry']
      : textTable(
          fields.map((title) => ({ title, align: 'left' as const })),
          rows,
        )),
  ];
  if (next !== undefined) text.push(`there are more keys: go on with --from '${JSON.stringify(next)}'`);
  return { text, json: { ...answer } };
}

function isDaemon(where: string): boolean {
  return /^https?:\/\//i.test(where);
}

/** @throws MillraceError `OPTION` (invalid): what does not go together would be left out of the question. */
function refuseOptions(where: string, name: string | undefined, flags: StateFlags): void {
  const given = (names: readonly (keyof StateFlags)[]) => names.find((each) => flags[each] !== undefined);
  const ofQuery = given(['key', 'from', 'to', 'limit']);
  if (name === undefined && ofQuery !== undefined)
    throw option(`--${ofQuery}: of which state? name one behind ${where}`);
  const ofRange = given(['from', 'to', 'limit']);
  if (flags.key !== undefined && ofRange !== undefined) throw option(`--${ofRange}: not with --key`);
  if (isDaemon(where)) {
    if (flags.checkpoint !== undefined) throw option('--checkpoint: a daemon answers of the newest alone');
    const ofStore = given(['s3Endpoint', 's3Region', 'checkpointKeyFile']);
    if (ofStore !== undefined) throw option(`--${dashed(ofStore)}: not with a daemon, which knows its store`);
  } else if (flags.tokenFile !== undefined) throw option('--token-file: only with a daemon, http://host:port');
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function option(message: string): MillraceError {
  return new MillraceError('invalid', 'OPTION', message);
}
