import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type LogLevel, MillraceError } from '../../base/index.js';
import { type CheckpointLocation, parseBlobStoreUrl } from '../../checkpoint/index.js';
import type { ShuffleKind, StateStoreKind } from '../runtime/index.js';
import { addFrontDoorOptions, type FrontDoorFlags } from './front-door.js';
import { kindOrModule } from './module-option.js';
import { folder, parameter, wholeNumber } from './options.js';

/** Options that `millrace run` and `npm start` share, as commander gives them. */
export interface ClusterFlags extends FrontDoorFlags {
  readonly workers: number;
  readonly slots: number;
  readonly shuffle: ShuffleKind;
  readonly stateStore: StateStoreKind;
  readonly stateMemoryBytes?: number;
  readonly stateDir?: string;
  readonly checkpointStore?: string;
  readonly s3Endpoint?: string;
  readonly s3Region?: string;
  readonly checkpointKeyFile?: string;
  readonly checkpointIntervalMs: number;
  readonly shmDir?: string;
  readonly json?: true;
  readonly logLevel: LogLevel;
}

export function addClusterOptions(command: Command): Command {
  return addFrontDoorOptions(command)
    .option('--workers <n>', 'worker processes', wholeNumber(1, 64), 2)
    .option('--slots <n>', 'slots (threads) in each worker', wholeNumber(1, 64), 2)
    .option(
      '--shuffle <kind>',
      'how buffers travel: in mapped memory (mapped), through the daemon (wire), all in one process (memory), or by a module: ./my-shuffle.js or a package',
      kindOrModule(['mapped', 'wire', 'memory']),
      'mapped',
    )
    .option(
      '--state-store <kind>',
      'what tasks keep state in: tables in memory (memory), what fits into memory and the rest on disk (tiered), a file each, slow (lmdb), or a module: ./my-store.js or a package',
      kindOrModule(['memory', 'tiered', 'lmdb']),
      'memory',
    )
    .option(
      '--state-memory-bytes <n>',
      'memory for the state of one task, with --state-store tiered (default: 256 MiB)',
      wholeNumber(65_536, Number.MAX_SAFE_INTEGER),
    )
    .option(
      '--state-dir <dir>',
      'where checkpoints are kept, to resume after a stop (default: a folder of the run, removed after it)',
      folder,
    )
    .option(
      '--checkpoint-store <url>',
      'where checkpoints are kept instead: s3://bucket/prefix, or a folder; a run that was stopped goes on from there',
      storeUrl,
    )
    .option('--s3-endpoint <url>', "S3 server that is not Amazon's, http(s)://host:port")
    .option('--s3-region <name>', 'region of the bucket (default: what the environment or the profile says)')
    .option(
      '--checkpoint-key-file <file>',
      'encrypts checkpoints (AES-256-GCM), and nothing else on disk, with the key in this file: 64 hex digits, `openssl rand -hex 32`',
      (file: string) => resolve(file),
    )
    .option('--checkpoint-interval-ms <n>', 'time between checkpoints', wholeNumber(10, 86_400_000), 1000)
    .option('--shm-dir <dir>', 'memory-backed folder for mapped buffers (default: /dev/shm)', folder)
    .option('--json', 'print the result as one JSON object on the last line of stdout')
    .addOption(
      new Option('--log-level <level>', 'what to log on stderr')
        .choices(['debug', 'info', 'warn', 'error', 'silent'])
        .default('error'),
    );
}

/** Where these flags say that checkpoints are; without a URL: in the state directory, or a folder of the run. */
export function checkpointPlace(flags: ClusterFlags): Partial<CheckpointLocation> {
  const { checkpointStore, s3Endpoint, s3Region, checkpointKeyFile } = flags;
  if (checkpointStore === undefined) {
    for (const [name, value] of Object.entries({ '--s3-endpoint': s3Endpoint, '--s3-region': s3Region })) {
      if (value === undefined) continue;
      throw new MillraceError('invalid', 'OPTION', `${name}: only with --checkpoint-store s3://bucket/prefix`);
    }
    return { keyFile: checkpointKeyFile };
  }
  return { url: checkpointStore, s3Endpoint, s3Region, keyFile: checkpointKeyFile };
}

/** @throws MillraceError `OPTION` (invalid): the other stores have no such budget. */
export function stateMemory({ stateStore, stateMemoryBytes }: ClusterFlags): number | undefined {
  if (stateMemoryBytes !== undefined && stateStore !== 'tiered')
    throw new MillraceError('invalid', 'OPTION', '--state-memory-bytes: only with --state-store tiered');
  return stateMemoryBytes;
}

export function addParamOption(command: Command): Command {
  return command.option('--param <name=value>', "sets one of the job's parameters; may be repeated", parameter, {});
}

/** As the store will read it; a folder by its absolute path. */
function storeUrl(text: string): string {
  try {
    const place = parseBlobStoreUrl(text);
    return place.kind === 'directory' ? place.root : text;
  } catch (thrown) {
    throw new InvalidArgumentError((thrown as Error).message);
  }
}
