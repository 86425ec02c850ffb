import { type Command, Option } from 'commander';
import type { LogLevel } from '../../base/index.js';
import type { ShuffleKind } from '../runtime/index.js';
import { folder, parameter, wholeNumber } from './options.js';
import { shuffleKind } from './shuffle-option.js';

/** Options that `millrace run` and `npm start` share, as commander gives them. */
export interface ClusterFlags {
  readonly workers: number;
  readonly slots: number;
  readonly shuffle: ShuffleKind;
  readonly stateDir?: string;
  readonly checkpointIntervalMs: number;
  readonly shmDir?: string;
  readonly json?: true;
  readonly logLevel: LogLevel;
}

export function addClusterOptions(command: Command): Command {
  return command
    .option('--workers <n>', 'worker processes', wholeNumber(1, 64), 2)
    .option('--slots <n>', 'slots (threads) in each worker', wholeNumber(1, 64), 2)
    .option(
      '--shuffle <kind>',
      'how buffers travel: in mapped memory (mapped), through the daemon (wire), all in one process (memory), or by a module: ./my-shuffle.js or a package',
      shuffleKind(['mapped', 'wire', 'memory']),
      'mapped',
    )
    .option(
      '--state-dir <dir>',
      'where checkpoints are kept, to resume after a stop (default: a folder of the run, removed after it)',
      folder,
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

export function addParamOption(command: Command): Command {
  return command.option('--param <name=value>', "sets one of the job's parameters; may be repeated", parameter, {});
}
