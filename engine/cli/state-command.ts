import type { Command } from 'commander';
import { runTool } from './checkpoints/tool.js';
import { addToolOptions } from './checkpoints/tool-options.js';
import { checkpointId } from './checkpoints-command.js';
import { wholeNumber } from './options.js';
import type { StateFlags } from './query-state.js';

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
      runTool(flags, async (tool) => (await import('./query-state.js')).queryState(tool, where, name, flags)),
    );
}
