import type { Command } from 'commander';
import { MillraceError } from '../../base/index.js';
import { StateClient, type StateQuery, StateReader, type StateSummary } from '../../statestore/index.js';
import { KEY_GROUPS } from '../graph/index.js';
import { pickCheckpoint, whileHeld } from './checkpoints/listing.js';
import { withLocation } from './checkpoints/location.js';
import { addToolOptions, runTool, type Tool, type ToolFlags, type ToolResult } from './checkpoints/tool.js';
import { checkpointId } from './checkpoints-command.js';
import { readToken } from './front-door.js';
import { wholeNumber } from './options.js';
import { count, textTable } from './text-table.js';

interface StateFlags extends ToolFlags {
  readonly key?: string;
  readonly from?: string;
  readonly to?: string;
  readonly limit?: number;
  readonly checkpoint?: number;
  readonly tokenFile?: string;
}

const LIMIT_MAX = 10_000;

const EXPLANATION = `
The answer is the state at the last completed checkpoint, whose number it names: what the job has changed since is not in it, and
nothing that is in it will ever be undone. The job is not slowed down or stopped. WHERE is the front door of a daemon
(http://host:port, as \`millrace run --http-port\` and \`millrace daemon\` print it), which wants its token, or, with no daemon at all,
the --state-dir of a run, the folder of a store, or s3://bucket/prefix; of a job or of a savepoint.

NAME is a state as the list shows it, n3/windows, or what follows the slash where that is one state only. A key is one bare value
(ORD, 42), or the JSON array of its columns where there are several, or the text begins with a bracket: '["ORD", 42]'. --from and --to
may leave out the last columns. With more keys than --limit, the answer names the --from to go on with.

  millrace state http://127.0.0.1:7171 --token-file token            which states there are
  millrace state http://127.0.0.1:7171 --token-file token windows --key ORD
  millrace state state/ windows --from A --to B --limit 20           offline, from the folder
  millrace state s3://bucket/job windows --checkpoint 41 --json      an older checkpoint that is kept

An entry is {"key": [columns], "value": ..} as JSON says it; of a map or list all of it; of windows and timers one each, with its
namespace (a window's start, in ms) and time. Bytes are {"base64": ".."}, and so are values of a codec of the job's own. A key without
an entry is no error: there is none. What has expired (TTL) is left out.`;

/** `millrace state`: reads a job's state, from its daemon or from where its checkpoints are. */
export function addStateCommand(program: Command): void {
  addToolOptions(
    program
      .command('state')
      .description(
        'Reads state at the last completed checkpoint, by key or by range, while the job runs or without it.',
      )
      .argument('<where>', 'http://host:port of a daemon, a --state-dir, the folder of a store, or s3://bucket/prefix')
      .argument('[name]', 'the state (default: lists them)')
      .option('--key <key>', 'what this key has')
      .option('--from <key>', 'keys from this one on, in order')
      .option('--to <key>', 'keys before this one')
      .option('--limit <n>', 'keys at most (default: 100)', wholeNumber(1, LIMIT_MAX))
      .option('--checkpoint <id>', 'another one than the newest; not of a daemon', checkpointId)
      .option('--token-file <file>', 'the token of the daemon'),
  )
    .addHelpText('after', EXPLANATION)
    .action((where: string, name: string | undefined, flags: StateFlags) =>
      runTool(flags, (tool) => state(tool, where, name, flags)),
    );
}

/** What answers: a daemon, or the checkpoint itself. */
type Answers = Pick<StateClient, 'states' | 'query'>;

function state(tool: Tool, where: string, name: string | undefined, flags: StateFlags): Promise<ToolResult> {
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
