import type { Command } from 'commander';
import type { RunFlags } from './run-job.js';
import { addClusterOptions, addParamOption } from './run-options.js';

const FALLBACK = `
A damaged checkpoint stops a run: before anything starts, where HEAD, a manifest or an index tells; else when the damaged block
is read (\`millrace checkpoints fsck --deep\` finds it before). With --fallback it goes on from an older one, say 41 in place of 42.
What sinks made visible after 41 stays visible, and its rows are written again: those of jsonLines stand in files
part-<subtask>-42.jsonl, and come again in files with higher numbers. Remove the former first, and no row is there twice.
--fallback changes nothing while the newest checkpoint is whole.`;

export function addRunCommand(program: Command): void {
  const command = program
    .command('run')
    .description('Runs a job to its end on this machine: a daemon, worker processes, and this process as scheduler.')
    .argument('<file>', 'the job file, TypeScript or JavaScript; it exports a job by default')
    .helpOption('--help', 'print this help');
  addParamOption(addClusterOptions(command));
  command
    .option(
      '--fallback',
      'when the newest checkpoint is damaged, go on from the newest one that is not, every byte of it read first',
    )
    .addHelpText('after', FALLBACK);
  command.action(async (file: string, flags: RunFlags) => {
    const { runJob } = await import('./run-job.js');
    const code = await runJob(file, flags);
    // The job file may have left timers or sockets open in this process; they are no reason to go on.
    process.exit(code);
  });
}
