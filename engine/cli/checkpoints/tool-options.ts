import type { Command } from 'commander';

/** Options of every offline tool, as commander gives them. */
export interface ToolFlags {
  readonly json?: true;
  readonly s3Endpoint?: string;
  readonly s3Region?: string;
  readonly checkpointKeyFile?: string;
}

export function addToolOptions(command: Command): Command {
  return command
    .option('--s3-endpoint <url>', "S3 server that is not Amazon's, http(s)://host:port")
    .option('--s3-region <name>', 'region of the bucket (default: what the environment or the profile says)')
    .option('--checkpoint-key-file <file>', 'key that the checkpoints are encrypted with, as `millrace run` was told')
    .option('--json', 'print the result as one JSON object on the last line of stdout')
    .helpOption('--help', 'print this help');
}
