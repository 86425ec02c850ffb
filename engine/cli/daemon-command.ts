import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ShuffleSettings } from '../../shuffle/index.js';
import { errorLine, exitCodeOf } from './exit.js';
import { kindOrModule } from './module-option.js';
import { folder, wholeNumber } from './options.js';
import type { DaemonFlags } from './run-daemon.js';

const PORT = 7171;
const ARENA_BYTES_MIN = 4 * 1024 * 1024;
/** The largest region there is. */
const ARENA_BYTES_MAX = 2 ** 32;

const EXPLANATION = `
The daemon keeps what workers must not lose: the buffers between tasks (shuffle) and the state of checkpoints in the
making. It prints its addresses on stdout, one 'name: value' a line, when it is ready, and runs until SIGTERM or Ctrl-C: then
it closes all connections and ends with exit code 0 (a second signal does not wait). Its buffers go with it, unless they are in
--memory-folder: there they stay, also after a SIGKILL, and the next daemon on that folder goes on with all of them. What a
killed daemon left elsewhere in memory is removed by the next start. Finished blocking and hybrid partitions are complete in
--spill-dir: with a folder given, they are there again after a restart, a reboot included. A folder, socket or port that is in use is refused.

Front door (HTTP and WebSocket on --host and --port): served by uWebSockets.js; where its native library does not load,
by node:http and ws, which behave the same. The line 'front door' says which one it is.
  GET    /health                       JSON, open to all
  GET    /metrics                      Prometheus text, open to all
  GET    /info                         version, process, boot, uptime, addresses, sizes; open to all
  GET    /shuffle/writers[?job=JOB]    writers and partitions: epochs, sequence numbers, bytes; open to all
  GET    /shuffle/writers/NAME         one of them; open to all
  POST   /shuffle/writers/NAME/seal    fences its attempt; answers with the tail
  DELETE /shuffle/writers/NAME         releases it and its memory (or POST /shuffle/writers/NAME/release)
  DELETE /shuffle/jobs/JOB             releases every writer of a job
  GET    /state                        states of the job whose checkpoints are in --data-dir: at the newest complete one
  GET    /state/NAME?key=K             one key, or a range: ?from=K&to=K&limit=N; see \`millrace state --help\`
  WS     /data                         the same protocol as on the Unix socket, for clients that cannot reach that
What changes something, and /state, needs 'Authorization: Bearer TOKEN', the content of the token file; /data says it in its
first message.
Names are percent-encoded; errors are JSON: {"code", "message", "context"}.
Nothing of this is encrypted: keep --host on loopback or inside a private network.`;

export function addDaemonCommand(program: Command): void {
  const command = program
    .command('daemon')
    .description(
      'Runs a sidecar alone: shuffle service and segment store of one host, with an HTTP and WebSocket front door.',
    )
    .helpOption('--help', 'print this help')
    .option(
      '--listen <address>',
      'Unix socket for workers on this host, unix:/path (default: one in a temporary folder)',
      unixAddress,
    )
    .option('--host <address>', 'address that the front door listens on', '127.0.0.1')
    .option('--port <n>', 'port of the front door; 0 takes a free one', wholeNumber(0, 65_535), PORT)
    .option(
      '--token-file <file>',
      'hex token that clients must know, 16 bytes or more (default: a new one in a temporary folder)',
    )
    .option('--data-dir <dir>', 'where state segments are stored (default: a temporary folder, removed at the end)')
    .option(
      '--shuffle <kind>',
      'how buffers travel: in mapped memory (mapped), through the daemon (wire), or by a module: ./my-shuffle.js or a package',
      kindOrModule(['mapped', 'wire']),
      'mapped',
    )
    .option(
      '--shm-dir <dir>',
      "memory-backed folder in which this daemon's own folder of mapped buffers is made (default: /dev/shm)",
      folder,
    )
    .option(
      '--memory-folder <dir>',
      'memory-backed folder for mapped buffers that are to outlive the daemon, used by one daemon at a time (default: one of its own in --shm-dir, removed at the end)',
      folder,
    )
    .option(
      '--arena-bytes <n>',
      'memory for buffers; an arena that is there already keeps its size (default: 256 MiB)',
      wholeNumber(ARENA_BYTES_MIN, ARENA_BYTES_MAX),
    )
    .option(
      '--spill-dir <dir...>',
      'folders for buffers that have no room in memory or are kept, one on each disk; one that fails is set aside (default: one in a temporary folder, removed at the end)',
      (dir: string, before: readonly string[] = []) => [...before, folder(dir)],
    )
    .option(
      '--spill-bytes-max <n>',
      'bytes on all of these disks together (default: until they are full)',
      wholeNumber(1, Number.MAX_SAFE_INTEGER),
    )
    .addHelpText('after', EXPLANATION)
    .action(async (flags: DaemonFlags) => {
      try {
        const { runDaemon } = await import('./run-daemon.js');
        await runDaemon(flags);
      } catch (thrown) {
        process.stderr.write(`${errorLine(thrown)}\n`);
        process.exit(exitCodeOf(thrown));
      }
    });
  // The defaults that they name are the shuffle's, which is loaded only for who runs or asks about a daemon.
  program.hook('preSubcommand', async (_, chosen) => {
    if (chosen === command) addLateOptions(command, (await import('../../shuffle/index.js')).SHUFFLE_DEFAULTS);
  });
}

function addLateOptions(command: Command, defaults: ShuffleSettings): void {
  command
    .option(...expiry('consumed', 'that all its consumers have read', defaults.idleConsumedMs))
    .option(...expiry('partly-consumed', 'of which some was read', defaults.idlePartlyConsumedMs))
    .option(...expiry('unread', 'that nobody ever read', defaults.idleNeverConsumedMs))
    .option(...expiry('unfinished', 'without an END', defaults.idleUnfinishedMs))
    .addOption(
      new Option('--log-level <level>', 'what to log on stderr')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('warn'),
    );
}

/** Of partitions whose owner is not connected any more. */
function expiry(
  what: string,
  which: string,
  defaultMs: number,
): [flags: string, description: string, parse: (text: string) => number] {
  const description = `seconds after which data ${which} goes, once its owner is gone and nothing happens to it any more (default: ${defaultMs / 1000})`;
  return [`--expire-${what} <s>`, description, wholeNumber(1, 10 ** 9)];
}

function unixAddress(text: string): string {
  if (!text.startsWith('unix:/')) throw new InvalidArgumentError('It must be unix:/path, with an absolute path.');
  return text;
}
