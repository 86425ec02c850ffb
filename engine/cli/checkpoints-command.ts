import { type Command, InvalidArgumentError } from 'commander';
import { runTool } from './checkpoints/tool.js';
import { addToolOptions, type ToolFlags } from './checkpoints/tool-options.js';
import { wholeNumber } from './options.js';

const WHERE = 'the --state-dir of a run, the folder of a store, or s3://bucket/prefix; of a job or of a savepoint';

const EXAMPLES = `
Checkpoints are read where they lie, without their job, also while it runs: what is read is pinned meanwhile.

  millrace checkpoints ls state/                        what there is
  millrace checkpoints show s3://bucket/job 41          sizes by task, state and key groups
  millrace checkpoints diff state/ 40 41 --keys 5       what changed, with five keys of each state
  millrace checkpoints fsck state/ --deep               every byte verified; exit code 1 on damage
  millrace checkpoints savepoint state/ s3://bucket/sp  a copy of the newest that needs nothing else
  millrace checkpoints restore s3://bucket/sp new/      then: millrace run JOB --state-dir new/
  millrace checkpoints gc state/ --dry-run              what nothing refers to`;

const SAVEPOINT_HELP = `
The target must be empty. A savepoint that was interrupted is refused by every reader: finish it with --finish, or remove it
with \`millrace checkpoints gc TARGET\`. It holds state and positions, not what sinks have already made visible.`;

const REPAIR_HELP = `
For where \`fsck\` says HEAD_CORRUPT or HEAD_MISSING. A folder keeps the last eight versions of HEAD; a pin keeps the checkpoint
it is of. The newest checkpoint among them that is whole becomes the newest of all, under a new id. No run may use the place
meanwhile. Of a bucket that keeps versions of its objects, put back the one before of values/HEAD instead.`;

const RESTORE_HELP = `
DIR is a new folder (it becomes the --state-dir of the savepoint's job), the --state-dir of that job, or s3://bucket/prefix; no
run may use it meanwhile. The segments are copied, so that the savepoint stays as it is; --claim removes it once the copy is
in place. Interrupted, the same command goes on. The job must be the same, with the same parameters. Its sinks must find the
output that was committed up to the savepoint, and none that was committed after it: of jsonLines, remove the files
part-<subtask>-<n>.jsonl with an n above the savepoint's checkpoint.`;

const GC_HELP = `
Safe at any time, also while the job runs and collects itself. A pin keeps a checkpoint for its reader; that of a reader that
was killed stays until it is taken away: \`ls\` shows the names.`;

/** `millrace checkpoints ...`: the offline tools. */
export function addCheckpointsCommand(program: Command): void {
  const group = program
    .command('checkpoints')
    .description('Reads, compares, verifies, copies and tidies up checkpoints and savepoints, without their job.')
    .helpOption('--help', 'print this help')
    .helpCommand(false)
    .addHelpText('after', EXAMPLES);

  const tool = (name: string, description: string) => addToolOptions(group.command(name).description(description));

  tool('ls', 'Lists the checkpoints that are kept: sizes, what each added to the one before, pins.')
    .argument('<where>', WHERE)
    .action((where: string, flags: ToolFlags) =>
      runTool(flags, async (t) => (await import('./checkpoints/ls.js')).ls(t, where)),
    );

  tool('show', 'Draws sizes by task, state and key groups, and sums up where each task was.')
    .argument('<where>', WHERE)
    .argument('[id]', 'the checkpoint (default: the newest)', checkpointId)
    .action((where: string, id: number | undefined, flags: ToolFlags) =>
      runTool(flags, async (t) => (await import('./checkpoints/show.js')).show(t, where, id)),
    );

  tool('diff', 'Counts the entries that were added, changed and removed between two checkpoints.')
    .argument('<where>', WHERE)
    .argument('<from>', 'a checkpoint there, or another place: its newest')
    .argument('<to>', 'likewise')
    .option('--keys <n>', 'also shows so many changed entries of each state', wholeNumber(0, 100_000), 0)
    .action((where: string, from: string, to: string, flags: ToolFlags & { readonly keys: number }) =>
      runTool(flags, async (t) => (await import('./checkpoints/diff.js')).diff(t, where, from, to, flags.keys)),
    );

  tool('fsck', 'Verifies HEAD, manifests, segments and pins; says what nothing refers to. Exit code 1 on damage.')
    .argument('<where>', WHERE)
    .option('--deep', 'reads every byte, not the indexes alone')
    .action((where: string, flags: ToolFlags & { readonly deep?: true }) =>
      runTool(flags, async (t) => (await import('./checkpoints/fsck.js')).fsck(t, where, flags.deep === true)),
    );

  tool('gc', 'Removes what no checkpoint refers to and none ever will; of a half-written savepoint, all there is.')
    .argument('<where>', WHERE)
    .option('--dry-run', 'removes nothing, says what it would')
    .option('--unpin <name>', 'takes a pin away first; may be repeated', (name: string, before?: readonly string[]) => [
      ...(before ?? []),
      name,
    ])
    .addHelpText('after', GC_HELP)
    .action((where: string, flags: ToolFlags & { readonly dryRun?: true; readonly unpin?: readonly string[] }) =>
      runTool(flags, async (t) =>
        (await import('./checkpoints/gc.js')).gc(t, where, { dryRun: flags.dryRun === true, unpin: flags.unpin ?? [] }),
      ),
    );

  tool('repair', 'Makes HEAD anew where it is gone or damaged, from what else speaks of checkpoints.')
    .argument('<where>', WHERE)
    .option('--dry-run', 'changes nothing, says what it would')
    .addHelpText('after', REPAIR_HELP)
    .action((where: string, flags: ToolFlags & { readonly dryRun?: true }) =>
      runTool(flags, async (t) =>
        (await import('./checkpoints/repair.js')).repair(t, where, { dryRun: flags.dryRun === true }),
      ),
    );

  tool('savepoint', 'Copies a checkpoint, every byte of it verified, to a place of its own.')
    .argument('<where>', WHERE)
    .argument('<target>', 'an empty or new folder, or s3://bucket/prefix')
    .option('--checkpoint <id>', 'which one (default: the newest)', checkpointId)
    .option('--finish', 'goes on with one that was interrupted')
    .addHelpText('after', SAVEPOINT_HELP)
    .action(
      (where: string, target: string, flags: ToolFlags & { readonly checkpoint?: number; readonly finish?: true }) =>
        runTool(flags, async (t) =>
          (await import('./checkpoints/savepoint.js')).savepoint(t, where, target, {
            checkpoint: flags.checkpoint,
            finish: flags.finish === true,
          }),
        ),
    );

  tool('restore', 'Makes a savepoint the newest checkpoint of a job that does not run.')
    .argument('<savepoint>', 'where the savepoint is')
    .argument('<dir>', 'where the job is to find it')
    .option('--claim', 'removes the savepoint once its copy is in place')
    .option('--replace', 'also where there are checkpoints: they become older ones')
    .addHelpText('after', RESTORE_HELP)
    .action((from: string, dir: string, flags: ToolFlags & { readonly claim?: true; readonly replace?: true }) =>
      runTool(flags, async (t) =>
        (await import('./checkpoints/restore.js')).restore(t, from, dir, {
          claim: flags.claim === true,
          replace: flags.replace === true,
        }),
      ),
    );
}

/** A parser of option values and arguments. */
export function checkpointId(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be the number of a checkpoint.');
  return Number(text);
}
