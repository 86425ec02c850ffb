import type { Command } from 'commander';
import { EXIT_USAGE } from './exit.js';

/** Wrong options end in one clear line and exit code 2; `--help` and `--version` in 0. Set it before subcommands are added. */
export function strictUsage(command: Command): Command {
  return command
    .allowExcessArguments(false)
    .configureOutput({ outputError: (text, write) => write(`millrace: ${oneLine(text)}\n`) })
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE));
}

/** Commander puts its suggestion (`Did you mean --rows?`) on a line of its own. */
function oneLine(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*/g, ' ');
}
