import { tmpdir } from 'node:os';
import { claimRunFolder, memoryBackedFolder, releaseRunFolder, sweepDeadRuns, systemRandom } from '../base/index.js';
import { type Report, reportOf } from './report.js';
import type { Row } from './row.js';
import type { SuiteEntry } from './suites.js';

/** Runs one suite in folders of its own, which are gone afterwards (after SIGKILL: once the next run starts). */
export async function runSuite(
  entry: SuiteEntry,
  options: { readonly quick: boolean; readonly progress: (line: string) => void },
): Promise<Report> {
  const suite = await entry.load();
  const rows: Row[] = [];
  const runId = `bench-${systemRandom().nonce()}`;
  const memoryParent = memoryBackedFolder();
  const parents = memoryParent === undefined ? [tmpdir()] : [tmpdir(), memoryParent];
  for (const parent of parents) sweepDeadRuns(parent);
  const folders: string[] = [];
  const release = () => {
    for (const folder of folders) releaseRunFolder(folder);
  };
  process.once('exit', release);
  try {
    for (const parent of parents) folders.push(claimRunFolder(parent, runId));
    await suite.run({
      quick: options.quick,
      folder: folders[0] as string,
      memoryFolder: folders[1],
      progress: (text) => options.progress(`${entry.name}: ${text}`),
      row: (row) => rows.push(row),
    });
    return reportOf(entry.name, rows);
  } finally {
    release();
    process.off('exit', release);
  }
}
