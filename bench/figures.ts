import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { markdown, type Report } from './report.js';

/** READMEs that show figures, each between `<!-- figures SUITE -->` and `<!-- end of figures -->`. */
const READMES = ['bench/README.md', 'bench/suites/README.md', 'bench/suites/STATE.md', 'base/columnar/README.md'];
const END = '<!-- end of figures -->';

/**
 * Replaces the figures of a report's suite in a README. A text without the suite's markers comes back as it is.
 * The machine, the date and how busy it was stand above the table, because figures mean nothing without them.
 */
export function withFigures(text: string, report: Report, when: string): string {
  const begin = `<!-- figures ${report.suite} -->`;
  const from = text.indexOf(begin);
  const to = text.indexOf(END, from);
  if (from < 0 || to < 0) return text;
  const measured = `\`npm run bench -- ${report.suite}\`, ${when}, ${report.machine}, Node ${report.node}:`;
  return `${text.slice(0, from + begin.length)}\n${measured}\n\n${markdown(report.rows)}\n${text.slice(to)}`;
}

/** Writes the figures into every README of the source tree this runs from. Returns the files that changed. */
export function writeFigures(reports: readonly Report[], when: string): string[] {
  const root = findRoot();
  return READMES.filter((name) => {
    const path = join(root, name);
    const before = readFileSync(path, 'utf8');
    const after = reports.reduce((text, report) => withFigures(text, report, when), before);
    if (after !== before) writeFileSync(path, after);
    return after !== before;
  });
}

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!READMES.every((name) => existsSync(join(folder, name)))) {
    if (dirname(folder) === folder) throw new Error('the READMEs that show figures are not above this file');
    folder = dirname(folder);
  }
  return folder;
}
