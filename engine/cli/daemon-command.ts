import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type LogLevel, MillraceError, nodeDisk, stderrLogger, systemClock, systemRandom } from '../../base/index.js';
import { nodeNetwork } from '../../base/rpc/index.js';
import { Daemon, type DaemonSettings, daemonShuffle } from '../daemon/index.js';
import type { ShuffleKind } from '../runtime/index.js';
import { errorLine, exitCodeOf } from './exit.js';
import { onInterrupt } from './interrupt.js';
import { wholeNumber } from './options.js';
import { RunFolders } from './run-folders.js';
import { shuffleKind } from './shuffle-option.js';

interface DaemonFlags {
  readonly listen?: string;
  readonly host: string;
  readonly port: number;
  readonly tokenFile?: string;
  readonly dataDir?: string;
  readonly shuffle: ShuffleKind;
  readonly shmDir?: string;
  readonly arenaBytes?: number;
  readonly logLevel: LogLevel;
}

const PORT = 7171;
const TOKEN_BYTES_MIN = 16;
const TOKEN_BYTES_MAX = 256;
const ARENA_BYTES_MIN = 4 * 1024 * 1024;
/** The largest region there is. */
const ARENA_BYTES_MAX = 2 ** 32;

const EXPLANATION = `
The daemon keeps what workers must not lose: the buffers between tasks (shuffle) and the state of checkpoints in the
making. It runs until SIGTERM or Ctrl-C, and prints its addresses on stdout, one 'name: value' a line, when it is ready.

Front door (HTTP and WebSocket on --host and --port): served by uWebSockets.js; where its native library does not load,
by node:http and ws, which behave the same. The line 'front door' says which one it is.
  GET /health    JSON, open to all
  GET /metrics   Prometheus text, open to all
  WS  /data      the same protocol as on the Unix socket, for workers that cannot reach that; needs the token
Neither is encrypted: keep --host on loopback or inside a private network.`;

export function addDaemonCommand(program: Command): void {
  program
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
      shuffleKind(['mapped', 'wire']),
      'mapped',
    )
    .option('--shm-dir <dir>', 'memory-backed folder for mapped buffers (default: /dev/shm)')
    .option('--arena-bytes <n>', 'memory for buffers (default: 256 MiB)', wholeNumber(ARENA_BYTES_MIN, ARENA_BYTES_MAX))
    .addOption(
      new Option('--log-level <level>', 'what to log on stderr')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('warn'),
    )
    .addHelpText('after', EXPLANATION)
    .action(async (flags: DaemonFlags) => {
      try {
        await runDaemon(flags);
      } catch (thrown) {
        process.stderr.write(`${errorLine(thrown)}\n`);
        process.exit(exitCodeOf(thrown));
      }
    });
}

async function runDaemon(flags: DaemonFlags): Promise<void> {
  const folders = RunFolders.claim({ mapped: flags.shuffle === 'mapped', memoryDir: flags.shmDir });
  const starting = openDaemon(flags, folders);
  onInterrupt(async () => {
    const daemon = await starting.catch(() => undefined);
    await daemon?.close();
    folders.release();
  }, 0);
  try {
    await starting;
  } catch (thrown) {
    folders.release();
    throw thrown;
  }
}

async function openDaemon(flags: DaemonFlags, folders: RunFolders): Promise<Daemon> {
  const settings: DaemonSettings = {
    address: flags.listen ?? folders.socket('daemon'),
    token:
      flags.tokenFile === undefined ? randomBytes(TOKEN_BYTES_MIN * 2).toString('hex') : readToken(flags.tokenFile),
    host:
      hostname()
        .replace(/[^A-Za-z0-9_-]/g, '_')
        .slice(0, 60) || 'host',
    checkpoints: flags.dataDir === undefined ? join(folders.path, 'data') : resolve(flags.dataDir),
    shuffle: flags.shuffle,
    memoryFolder: folders.memory,
    runFolders: [],
    errorFile: '',
    http: { host: flags.host, port: flags.port },
    ...(flags.arenaBytes === undefined ? {} : { arenaBytes: flags.arenaBytes }),
    logLevel: flags.logLevel,
  };
  let tokenFile = flags.tokenFile;
  if (tokenFile === undefined) {
    tokenFile = join(folders.path, 'token');
    writeFileSync(tokenFile, `${settings.token}\n`, { mode: 0o600 });
  }
  const clock = systemClock();
  const daemon = await Daemon.open({
    settings,
    clock,
    network: nodeNetwork({ clock }),
    shuffle: await daemonShuffle(settings),
    disk: nodeDisk(),
    random: systemRandom(),
    logger: stderrLogger(flags.logLevel, { part: 'daemon' }),
  });
  announce(daemon, settings, resolve(tokenFile));
  return daemon;
}

function announce(daemon: Daemon, settings: DaemonSettings, tokenFile: string): void {
  const door = daemon.frontDoor;
  const lines = [
    `listening: ${daemon.address}`,
    ...(door === undefined
      ? []
      : [
          `http: ${door.address}`,
          `data: ${door.webSocketAddress('/data')}`,
          `front door: ${door.implementation === 'uws' ? 'uWebSockets.js' : 'node:http and ws'}`,
        ]),
    `token file: ${tokenFile}`,
    `state segments: ${settings.checkpoints}`,
    `buffers: ${settings.memoryFolder ?? 'memory of this process'}`,
    'ready',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function unixAddress(text: string): string {
  if (!text.startsWith('unix:/')) throw new InvalidArgumentError('It must be unix:/path, with an absolute path.');
  return text;
}

function readToken(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (thrown) {
    throw new MillraceError('invalid', 'OPTION', `--token-file: ${(thrown as Error).message}`, { cause: thrown });
  }
  if (/^([0-9a-f]{2})+$/i.test(text) && text.length >= 2 * TOKEN_BYTES_MIN && text.length <= 2 * TOKEN_BYTES_MAX)
    return text;
  throw new MillraceError(
    'invalid',
    'OPTION',
    `--token-file: ${file} must hold ${TOKEN_BYTES_MIN} to ${TOKEN_BYTES_MAX} bytes in hex`,
  );
}
