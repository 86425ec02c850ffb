import { Command, CommanderError } from 'commander';
import { writeFigures } from './figures.js';
import { type Report, reportOf, table } from './report.js';
import type { SuiteEntry } from './suites.js';

export interface BenchCommandOptions {
  readonly argv: readonly string[];
  readonly suites: readonly SuiteEntry[];
  /** Measures one suite; `all` calls it for each. */
  readonly run: (entry: SuiteEntry, quick: boolean, alone: boolean) => Promise<Report>;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** When, and how busy the machine was then: stands above the figures in a README. */
  readonly when: string;
}

const OK = 0;
const FAILURE = 1;
const USAGE = 2;

interface Flags {
  readonly json?: true;
  readonly quick?: true;
  readonly markdown?: true;
}

/** The command line of `npm run bench`. Resolves with the exit code: a missed goal is no failure. */
export async function benchCommand(options: BenchCommandOptions): Promise<number> {
  const { argv, suites, out, err } = options;
  const command = describeCommand(options);
  try {
    command.parse(argv, { from: 'user' });
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? OK : USAGE;
    throw thrown;
  }
  const name = command.args[0] as string;
  const chosen = name === 'all' ? suites : suites.filter((entry) => entry.name === name);
  if (chosen.length === 0) {
    err(`error: no suite named '${name}'; there are: all, ${suites.map((entry) => entry.name).join(', ')}\n`);
    return USAGE;
  }
  const flags = command.opts<Flags>();
  const reports: Report[] = [];
  for (const entry of chosen) {
    try {
      reports.push(await options.run(entry, flags.quick === true, name !== 'all'));
    } catch (thrown) {
      err(
        `error: suite ${entry.name} failed: ${(thrown instanceof Error ? thrown.message : String(thrown)).split('\n')[0]}\n`,
      );
      return FAILURE;
    }
  }
  if (flags.markdown === true) {
    const changed = writeFigures(reports, options.when);
    err(
      changed.length === 0 ? 'no README has figures of this suite\n' : `figures written into ${changed.join(', ')}\n`,
    );
  }
  if (flags.json === true) {
    const rows = reports.flatMap((report) => report.rows);
    out(`${JSON.stringify(name === 'all' ? reportOf('all', rows) : reports[0])}\n`);
  } else out(`${reports.map(table).join('\n\n')}\n`);
  return OK;
}

function describeCommand({ suites, out, err }: BenchCommandOptions): Command {
  const width = Math.max(...suites.map((entry) => entry.name.length));
  const lines = [{ name: 'all', describe: 'every suite, each in a process of its own' }, ...suites].map(
    (entry) => `  ${entry.name.padEnd(width)}  ${entry.describe}`,
  );
  return new Command('npm run bench --')
    .description(
      'Measures one suite, each row beside its limit where it has one. A missed goal is shown, and no error.',
    )
    .argument('<suite>', 'which suite, or all')
    .option('--json', 'print one JSON object on stdout instead of a table')
    .option('--quick', 'tiny sizes and one round: shows that everything runs; the figures mean nothing')
    .option('--markdown', 'also write the figures into the READMEs that show them (full sizes only)')
    .addHelpText('after', `\nSuites:\n${lines.join('\n')}`)
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: (text) => err(text) })
    .action((_suite: string, flags: Flags, self: Command) => {
      if (flags.quick === true && flags.markdown === true) {
        self.error('error: --quick gives no figures to write: leave it or --markdown out');
      }
    });
}
