import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import {
  type LogLevel,
  MillraceError,
  nodeDisk,
  ownIdentity,
  stderrLogger,
  systemClock,
  systemRandom,
} from '../../base/index.js';
import { nodeNetwork } from '../../base/rpc/index.js';
import type { IdleLimits } from '../../shuffle/index.js';
import { Daemon, type DaemonSettings, daemonShuffle } from '../daemon/index.js';
import type { ShuffleKind } from '../runtime/index.js';
import { frontDoorToken } from './front-door.js';
import { onInterrupt } from './interrupt.js';
import { KeptMemory } from './kept-memory.js';
import { RunFolders } from './run-folders.js';
import { SpillFolders } from './spill-folders.js';
import { VERSION } from './version.js';

/** Options of `millrace daemon`, as commander gives them. */
export interface DaemonFlags {
  readonly listen?: string;
  readonly host: string;
  readonly port: number;
  readonly tokenFile?: string;
  readonly dataDir?: string;
  readonly shuffle: ShuffleKind;
  readonly shmDir?: string;
  readonly memoryFolder?: string;
  readonly arenaBytes?: number;
  readonly spillDir?: readonly string[];
  readonly spillBytesMax?: number;
  readonly expireConsumed?: number;
  readonly expirePartlyConsumed?: number;
  readonly expireUnread?: number;
  readonly expireUnfinished?: number;
  readonly logLevel: LogLevel;
}

/**
 * `millrace daemon`: resolves when it is ready; it then runs until a signal ends this process.
 * @throws MillraceError what is in use, or wrong with the options.
 */
export async function runDaemon(flags: DaemonFlags): Promise<void> {
  const { memoryFolder, shuffle } = flags;
  if (memoryFolder !== undefined && shuffle !== 'mapped') {
    throw new MillraceError('invalid', 'OPTION', '--memory-folder: only with --shuffle mapped are buffers in a folder');
  }
  const kept = memoryFolder === undefined ? undefined : KeptMemory.claim(memoryFolder);
  let spill: SpillFolders | undefined;
  const mapped = shuffle === 'mapped' && kept === undefined;
  let folders: RunFolders | undefined;
  const release = () => {
    folders?.release();
    kept?.release();
    spill?.release();
  };
  try {
    folders = RunFolders.claim({ mapped, memoryDir: flags.shmDir });
    if (flags.spillDir !== undefined) spill = SpillFolders.claim(flags.spillDir);
    const starting = openDaemon(flags, folders, kept?.path ?? folders.memory, spill?.paths);
    onInterrupt(async () => {
      const daemon = await starting.catch(() => undefined);
      await daemon?.close();
      release();
    }, 0);
    await starting;
  } catch (thrown) {
    release();
    throw thrown;
  }
}

async function openDaemon(
  flags: DaemonFlags,
  folders: RunFolders,
  memory: string | undefined,
  spillFolders = [join(folders.path, 'spill')] as readonly string[],
): Promise<Daemon> {
  if (flags.shuffle === 'mapped' && memory === undefined) {
    const message = 'there is no memory-backed folder here: name one with --shm-dir, or use --shuffle wire';
    throw new MillraceError('invalid', 'NO_MEMORY_FOLDER', message);
  }
  const { token, tokenFile } = frontDoorToken(flags, folders.path);
  const settings: DaemonSettings = {
    address: flags.listen ?? folders.socket('daemon'),
    token,
    host:
      hostname()
        .replace(/[^A-Za-z0-9_-]/g, '_')
        .slice(0, 60) || 'host',
    checkpoints: { url: flags.dataDir === undefined ? join(folders.path, 'data') : resolve(flags.dataDir) },
    shuffle: flags.shuffle,
    memoryFolder: memory,
    runFolders: [],
    errorFile: '',
    http: { host: flags.host, port: flags.port },
    ...(flags.arenaBytes === undefined ? {} : { arenaBytes: flags.arenaBytes }),
    spillFolders,
    ...(flags.spillBytesMax === undefined ? {} : { spillBytesMax: flags.spillBytesMax }),
    idleLimits: idleLimits(flags),
    logLevel: flags.logLevel,
  };
  const clock = systemClock();
  const surroundings = {
    clock,
    disk: nodeDisk(),
    random: systemRandom(),
    logger: stderrLogger(flags.logLevel, { part: 'daemon' }),
  };
  const daemon = await Daemon.open({
    ...surroundings,
    settings,
    network: nodeNetwork({ clock }),
    shuffle: await daemonShuffle(settings, surroundings),
    process: { version: VERSION, pid: process.pid, bootId: ownIdentity().bootId },
  });
  announce(daemon, settings, tokenFile);
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
    `state segments: ${settings.checkpoints.url}`,
    `buffers: ${settings.memoryFolder ?? 'memory of this process'}`,
    `spilled buffers: ${settings.spillFolders?.join(', ')}`,
    'ready',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function idleLimits(flags: DaemonFlags): Partial<IdleLimits> {
  const { expireConsumed, expirePartlyConsumed, expireUnread, expireUnfinished } = flags;
  return {
    ...(expireConsumed === undefined ? {} : { idleConsumedMs: expireConsumed * 1000 }),
    ...(expirePartlyConsumed === undefined ? {} : { idlePartlyConsumedMs: expirePartlyConsumed * 1000 }),
    ...(expireUnread === undefined ? {} : { idleNeverConsumedMs: expireUnread * 1000 }),
    ...(expireUnfinished === undefined ? {} : { idleUnfinishedMs: expireUnfinished * 1000 }),
  };
}
